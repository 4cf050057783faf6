//! A run that is over and judged as a whole.

use super::causes::Places;
use super::guest::RequestedGuest;
use super::last_view::LastView;
use super::loaded::Loaded;
use super::outcome::Outcome;
use super::watch::Watch;
use esp0::check::Verdict;
use esp0::check::diagnosis::Aftermath;
use esp0::report::Standing;
use esp0::run::Dialogue;

/// What is told of it, beside what its report has.
pub(super) struct Concluded<'a> {
    pub(super) guest: &'a RequestedGuest<'a>,
    pub(super) loaded: &'a Loaded,
    pub(super) view: LastView,
    pub(super) verdict: Verdict,
    /// The code that findings are about, for the trace.
    pub(super) places: Places,
}

impl<'a> Concluded<'a> {
    /// Asks what the run as a whole has to answer for; the console ends with that.
    pub(super) fn of(
        outcome: &Outcome,
        guest: &'a RequestedGuest<'a>,
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
        report.conclude(judge, &aftermath, &run.probes().census(), &run.unjudged());
        let view = LastView::of(run, loaded);
        report.shows(view.screen.clone(), view.unanswered.clone());
        let standing = Standing { machine: run.machine(), probes: run.probes(), state: &end.state };
        let code = report.code();
        let places =
            code.map_or_else(Places::default, |code| Places::read(code, report.told(), standing));
        Concluded { guest, loaded, view, verdict: judge.verdict(&end.ending), places }
    }
}
