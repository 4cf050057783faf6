//! What is printed when the run is over, before anything is run again: how the guest failed, what was counted, and the
//! summary.

use super::super::boxed::Boxed;
use super::concluded::Concluded;
use super::outcome::{Outcome, Repeats};
use super::watch::Watch;
use esp0::check::Verdict;
use esp0::run::{Counters, End, Ending};
use esp0::trace::registers;
use std::fmt::Write as _;

/// Prints it.
pub(super) fn print(
    watch: &mut Watch,
    outcome: &Outcome,
    concluded: &Concluded<'_>,
    sandbox: Boxed,
) {
    let options = concluded.guest.options;
    let verbose = options.verbose > 0;
    if concluded.verdict == Verdict::GuestFailed {
        let text = failure(watch, &outcome.end, concluded);
        watch.report.print(&text);
    }
    if verbose {
        watch.report.print(&counted(outcome.counters));
    }
    if !options.quiet && !options.interactive {
        let mut text = format!("{}\n{}", concluded.view.screen, watch.report.summary());
        text += sandbox.in_summary(verbose);
        if let Repeats::Preempted { times, recorded: false } = outcome.repeats {
            let _ = writeln!(
                text,
                "repeats      no: preempted {times} times while it computed (--record FILE keeps where)"
            );
        }
        text += &concluded.view.unanswered;
        watch.report.print(&text);
    }
}

/// What happened to a guest that failed: the ending, the last entries, the registers.
fn failure(watch: &Watch, end: &End, concluded: &Concluded<'_>) -> String {
    let when = match (&end.ending, &end.last_event) {
        (Ending::TripleFault, Some(_)) => "the registers just before",
        (Ending::TripleFault, None) => "the registers at the last stop before",
        _ => "the registers",
    };
    format!(
        "\n{}\n\nthe last entries:\n{}\n{when}:\n{}",
        watch.colour.bad(&watch.report.ending()),
        watch.report.recent(),
        registers(&end.state, &concluded.loaded.symbols),
    )
}

/// What was counted, for `-v`.
fn counted(counters: Counters) -> String {
    format!(
        "\nexits        {}: {} stops at probes, {} device accesses, {} instructions stepped; \
         {} interrupts injected\n",
        counters.exits,
        counters.stops,
        counters.device_accesses,
        counters.stepped,
        counters.injected,
    )
}
