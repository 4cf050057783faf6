//! A run that is over and judged as a whole.

use super::guest::Guest;
use super::last_view::LastView;
use super::loaded::Loaded;
use super::outcome::Outcome;
use super::watch::Watch;
use esp0::check::diagnosis::Aftermath;
use esp0::check::{CodePlace, Verdict};
use esp0::report::{Recorder, Standing};
use esp0::run::Dialogue;
use esp0::trace::Told;
use esp0::trace::schema::CodeRecord;

/// What is told of it, beside what its report has.
pub(super) struct Concluded<'a> {
    pub(super) guest: &'a Guest<'a>,
    pub(super) loaded: &'a Loaded,
    pub(super) view: LastView,
    pub(super) verdict: Verdict,
    /// The code that findings are about, for the page.
    pub(super) places: Vec<(CodePlace, Vec<CodeRecord>)>,
}

impl<'a> Concluded<'a> {
    /// Asks what the run as a whole has to answer for; trace and console end with that.
    pub(super) fn of(
        outcome: &Outcome,
        guest: &'a Guest<'a>,
        loaded: &'a Loaded,
        watch: &mut Watch,
    ) -> Self {
        let Outcome { run, end, .. } = outcome;
        let Watch { report, judge, .. } = watch;
        report.record_last(run.machine(), run.probes());
        judge.awaited_in_vain(run.dialogue().and_then(Dialogue::awaits).map(str::to_owned));
        let name = |address| loaded.name(address);
        let arrays = || loaded.symbols.arrays();
        let aftermath = Aftermath::of(run, end, &name).with_arrays(&arrays);
        report.conclude(judge, &aftermath, &run.probes().census());
        report.finish();
        let view = LastView::of(run, loaded);
        let guest_now =
            Standing { machine: run.machine(), probes: run.probes(), state: &end.state };
        let places = report
            .recorder()
            .map_or_else(Vec::new, |recorder| shown(recorder, report.told(), guest_now));
        Concluded { guest, loaded, view, verdict: judge.verdict(&end.ending), places }
    }
}

/// The code of all places, each once.
fn shown(
    recorder: &Recorder,
    told: &Told,
    guest: Standing<'_>,
) -> Vec<(CodePlace, Vec<CodeRecord>)> {
    let mut all: Vec<(CodePlace, Vec<CodeRecord>)> = Vec::new();
    for place in told.kinds().iter().flat_map(|kind| &kind.finding.places) {
        if all.iter().all(|(known, _)| known != place) {
            all.push((*place, recorder.show(*place, guest)));
        }
    }
    all
}
