//! What is printed when the run is over, before anything is run again: how the guest failed, what was counted, and the
//! summary.

use super::super::boxed::Boxed;
use super::concluded::Concluded;
use super::outcome::{Outcome, Repeats};
use super::watch::Watch;
use esp0::run::{Counters, TimeStampRead};
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
    let failure = watch.report.failure();
    watch.report.print(&failure);
    if verbose {
        watch.report.print(&counted(outcome.counters));
    }
    if !options.quiet && !options.interactive {
        let mut text = format!("{}\n{}", concluded.view.text(), watch.report.summary());
        text += sandbox.in_summary(verbose);
        if let Repeats::Preempted { times, recorded: false } = outcome.repeats {
            let _ = writeln!(
                text,
                "repeats      no: preempted {times} times while it computed (--record FILE keeps where)"
            );
        }
        if let Some(read) = outcome.time_stamp {
            let _ = writeln!(text, "{}", does_not_repeat(read, concluded));
        }
        for line in &concluded.view.unanswered {
            let _ = writeln!(text, "{line}");
        }
        watch.report.print(&text);
    }
}

/// That the guest reads a counter which is not the guest's.
fn does_not_repeat(read: TimeStampRead, concluded: &Concluded<'_>) -> String {
    let name = concluded.loaded.name(read.at).map_or_else(String::new, |name| format!(" <{name}>"));
    let (whether, stands) = match read.executed {
        true => ("no", "was executed"),
        false => ("perhaps not", "stands in the code"),
    };
    format!(
        "repeats      {whether}: RDTSC {stands} at {:08x}{name}, and what it reads goes by this machine's time",
        read.at
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
