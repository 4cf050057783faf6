//! Going on and going back, and why the guest stopped.

use super::along::{Along, known};
use super::known::{Known, Remembered};
use super::origin::origin;
use super::socket::Line;
use super::watching::{Used, Watching, Word};
use super::{Beside, LOOK_UP};
use crate::check::Judge;
use crate::machine::MachineError;
use crate::run::Run;
use crate::symbols::Symbols;
use crate::timeline::{Came, Hit, Noted, Past, Place, Sought, Timeline, Watched, touches};
use crate::trace::Report;
use gdbstub::common::Signal;
use gdbstub::stub::SingleThreadStopReason;
use gdbstub::target::ext::base::reverse_exec::ReplayLogPosition;
use gdbstub::target::ext::breakpoints::WatchKind;
use ia32::Vector;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

pub(super) type Reason = SingleThreadStopReason<u32>;

/// Instructions that are stepped where a watched word's page is written, before the guest is let go freely again: so many at
/// first, then twice as many each time.
const FEWEST: u64 = 64;
const MOST: u64 = 1 << 20;
/// How long a guest runs freely at least that has just been put back.
const SHORTEST: Duration = Duration::from_micros(200);

/// What gdb asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Continue,
    Step,
    ContinueBack,
    StepBack,
}

/// Events at which the guest is to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StopOn {
    pub(super) findings: bool,
    /// Entries; of one vector, if it is named.
    pub(super) entries: Option<Option<Vector>>,
    pub(super) switches: bool,
}

impl StopOn {
    fn wants(&self, noted: &Noted) -> bool {
        let entry = self
            .entries
            .zip(noted.entry)
            .is_some_and(|(wanted, (_, vector))| wanted.is_none_or(|wanted| wanted == vector));
        entry || (self.findings && noted.remark.found) || (self.switches && noted.remark.switched)
    }
}

/// A debugged run.
pub(super) struct Session<'a, W: Write> {
    run: &'a mut Run,
    judge: &'a mut Judge,
    report: &'a mut Report<W>,
    timeline: Timeline<Remembered>,
    pub(super) symbols: &'a Symbols,
    pub(super) breakpoints: BTreeSet<u32>,
    watching: Watching,
    used: Used,
    pub(super) stop_on: StopOn,
    wish: Wish,
    /// The wish has not been begun.
    fresh: bool,
    /// Why the guest stopped last, in words.
    why: String,
}

impl<'a, W: Write> Session<'a, W> {
    pub(super) fn new(run: &'a mut Run, beside: Beside<'a, W>) -> Result<Self, MachineError> {
        let Beside { judge, report, symbols } = beside;
        let along = Along {
            judge: &mut *judge,
            report: &mut *report,
            line: None,
            at_farthest: true,
            entry: None,
        };
        let timeline = Timeline::new(run, &along, super::MEMORY)?;
        Ok(Session {
            run,
            judge,
            report,
            timeline,
            symbols,
            breakpoints: BTreeSet::new(),
            watching: Watching::default(),
            used: Used::default(),
            stop_on: StopOn::default(),
            wish: Wish::Continue,
            fresh: false,
            why: "the guest has not begun".into(),
        })
    }

    /// Another gdb has come: what the last one had set is gone.
    pub(super) fn begin(&mut self) {
        self.breakpoints.clear();
        self.watching = Watching::default();
        self.used = Used::default();
        self.stop_on = StopOn::default();
    }

    pub(super) fn run(&mut self) -> &mut Run {
        self.run
    }

    pub(super) fn run_now(&self) -> &Run {
        self.run
    }

    /// What has been seen up to the farthest place.
    pub(super) fn known(&self) -> Known {
        known(self.judge, self.report)
    }

    /// Somebody who judges as is done here, and has seen nothing.
    pub(super) fn judge_afresh(&self) -> Judge {
        self.judge.afresh()
    }

    pub(super) fn timeline(&self) -> &Timeline<Remembered> {
        &self.timeline
    }

    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// A command has put the guest elsewhere.
    pub(super) fn was_put(&mut self, why: String) {
        self.why = why;
    }

    /// The run and its places, and what goes along.
    pub(super) fn parts<'s>(
        &'s mut self,
        line: Option<&'s Line<'s>>,
    ) -> (&'s mut Run, &'s mut Timeline<Remembered>, Along<'s, W>) {
        let at_farthest = !self.timeline.is_in_the_past();
        let along =
            Along { judge: self.judge, report: self.report, line, at_farthest, entry: None };
        (self.run, &mut self.timeline, along)
    }

    /// The farthest place that was come to.
    pub(super) fn reach_the_end(&mut self) -> Result<(), MachineError> {
        let (run, timeline, mut along) = self.parts(None);
        timeline.go_to_the_end(run, &mut along)
    }

    /// The guest has been changed at the farthest place.
    pub(super) fn changed(&mut self) -> Result<(), MachineError> {
        let (run, timeline, along) = self.parts(None);
        run.note_change();
        timeline.begin_anew(run, &along)
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        self.wish = wish;
        self.fresh = true;
    }

    /// gdb called while the guest ran.
    pub(super) fn interrupt(&mut self) {
        self.why = "gdb asked for it".into();
    }

    /// Goes on with what gdb wished for; none if gdb calls before it is done.
    pub(super) fn go_on(&mut self, line: &Line<'_>) -> Result<Option<Reason>, MachineError> {
        let fresh = std::mem::take(&mut self.fresh);
        match self.wish {
            Wish::Step => self.step(line),
            Wish::Continue => self.go(line, fresh),
            Wish::StepBack => self.step_back(line),
            Wish::ContinueBack => self.go_back(line),
        }
    }

    fn at_end(&mut self) -> Reason {
        self.why = "the guest has ended".into();
        SingleThreadStopReason::ReplayLog { tid: None, pos: ReplayLogPosition::End }
    }

    fn at_beginning(&mut self) -> Reason {
        self.why = "going back ends here".into();
        SingleThreadStopReason::ReplayLog { tid: None, pos: ReplayLogPosition::Begin }
    }

    /// There is no way back, unless gdb has only called.
    fn gives_up(&mut self, line: &Line<'_>) -> Option<Reason> {
        if line.calls() {
            return None;
        }
        let reason = self.at_beginning();
        if let Some(how) = self.timeline.parted() {
            self.why = format!("the run did not repeat: {how}");
        }
        Some(reason)
    }

    /// The guest stands where it is to stop, by an event that has just come or by where it is.
    fn stops_for(&mut self, came: &Came) -> Option<Reason> {
        match came {
            Came::Event(noted) if self.stop_on.wants(noted) => {
                self.why = describe(noted);
                Some(SingleThreadStopReason::Signal(Signal::SIGTRAP))
            }
            Came::Switch if self.stop_on.switches => {
                self.why = "a task switch by hardware".into();
                Some(SingleThreadStopReason::Signal(Signal::SIGTRAP))
            }
            Came::End => Some(self.at_end()),
            _ => None,
        }
    }

    fn at_breakpoint(&mut self) -> Option<Reason> {
        let at = self.run.state().instruction_address();
        self.breakpoints.contains(&at).then(|| {
            self.why = "a breakpoint".into();
            SingleThreadStopReason::HwBreak(())
        })
    }

    /// This word is watched from now on.
    pub(super) fn watch(&mut self, word: Word, kind: WatchKind) {
        self.used.whose(&mut self.watching, kind).add(word, self.run);
    }

    pub(super) fn watch_no_more(&mut self, word: Word, kind: WatchKind) {
        self.used.whose(&mut self.watching, kind).remove(word);
    }

    /// The words that are watched for changes, those that are mapped.
    fn words(&mut self) -> Vec<Watched> {
        self.watching.look(self.run);
        self.used.look(self.run);
        self.watching.words().iter().chain(self.used.accesses.words()).copied().collect()
    }

    /// What is watched now.
    fn values(&mut self) -> Vec<(Watched, u64)> {
        self.words().into_iter().map(|word| (word, word.value(self.run))).collect()
    }

    /// What has changed since its values were these.
    fn changed_since(&mut self, before: &[(Watched, u64)]) -> Option<Reason> {
        let mut words = before.iter();
        let word = words.find(|(word, before)| word.value(self.run) != *before)?.0;
        Some(self.watched(word))
    }

    fn watched(&mut self, word: Watched) -> Reason {
        self.why = format!("a watched word, {:08x}", word.address);
        SingleThreadStopReason::Watch { tid: (), kind: WatchKind::Write, addr: word.address }
    }

    /// One instruction; none if gdb called before.
    fn one(&mut self, line: &Line<'_>) -> Result<Option<Came>, MachineError> {
        let before = self.run.boundary();
        loop {
            let (run, timeline, mut along) = self.parts(None);
            let came = timeline.step(run, &mut along)?;
            match came {
                Came::Executed | Came::End => return Ok(Some(came)),
                Came::Nothing => {}
                _ if !self.run.boundary().is_beside(&before) => return Ok(Some(came)),
                _ => {}
            }
            if let Came::Event(noted) = &came
                && self.stop_on.wants(noted)
            {
                return Ok(Some(came));
            }
            if line.calls() {
                return Ok(None);
            }
        }
    }

    /// A watched word that the next instruction uses.
    fn used_next(&mut self) -> Option<Watched> {
        touches(self.run, &self.used.words())
    }

    fn was_used(&mut self, word: Option<Watched>, came: &Came) -> Option<Reason> {
        let word = word.filter(|_| matches!(came, Came::Executed))?;
        Some(self.watched(word))
    }

    fn step(&mut self, line: &Line<'_>) -> Result<Option<Reason>, MachineError> {
        let before = self.values();
        let used = self.used_next();
        let Some(came) = self.one(line)? else { return Ok(None) };
        if let Some(reason) = self.stops_for(&came) {
            return Ok(Some(reason));
        }
        let watched = self.changed_since(&before).or_else(|| self.was_used(used, &came));
        Ok(Some(watched.unwrap_or_else(|| {
            self.why = "one instruction was executed".into();
            SingleThreadStopReason::DoneStep
        })))
    }

    /// Goes on: by one instruction first, so that a breakpoint here is left, then freely; by single instructions where the
    /// page of a watched word is written, where somebody wants to see a word read, and where the run cannot stop at all
    /// breakpoints.
    fn go(&mut self, line: &Line<'_>, fresh: bool) -> Result<Option<Reason>, MachineError> {
        let mut steps = u64::from(fresh);
        let mut next = FEWEST;
        let mut look_up = LOOK_UP;
        let mut to_its_end = false;
        let mut asked = false;
        let steps_all = !self.used.is_empty();
        let reason = loop {
            to_its_end &= self.run.happens_again_to_a_state();
            if steps == 0 && !to_its_end && !steps_all && !asked {
                asked = self.ask(true)?;
                steps = if asked { 0 } else { MOST };
            }
            let reason = if steps > 0 || to_its_end || steps_all {
                if std::mem::take(&mut asked) {
                    self.ask(false)?;
                }
                steps = steps.saturating_sub(1);
                let before = self.values();
                let used = self.used_next();
                let Some(came) = self.one(line)? else { break None };
                let event = self.stops_for(&came);
                let watched = event.or_else(|| self.changed_since(&before));
                let watched = watched.or_else(|| self.was_used(used, &came));
                watched.or_else(|| self.at_breakpoint())
            } else {
                self.run.look_up_every(Some(look_up));
                match self.turn()? {
                    Past::Came(came) => {
                        next = FEWEST;
                        look_up = (look_up * 2).min(LOOK_UP);
                        match came {
                            Came::Reached => self.at_breakpoint(),
                            came => self.stops_for(&came),
                        }
                    }
                    Past::Not { to_its_end: all } => {
                        to_its_end = all;
                        steps = next;
                        // First what is run freely becomes less, then what is stepped more.
                        if look_up > SHORTEST {
                            look_up = (look_up / 8).max(SHORTEST);
                        } else {
                            next = (next * 2).min(MOST);
                        }
                        None
                    }
                }
            };
            if reason.is_some() || line.calls() {
                break reason;
            }
        };
        self.run.look_up_every(Some(LOOK_UP));
        self.ask(false)?;
        Ok(reason)
    }

    /// Goes on freely to the next exit; not where that writes to a watched word's page.
    fn turn(&mut self) -> Result<Past, MachineError> {
        self.watching.look(self.run);
        let watching = std::mem::take(&mut self.watching);
        let (run, timeline, mut along) = self.parts(None);
        let past = if watching.is_empty() {
            timeline.turn(run, &mut along).map(Past::Came)
        } else {
            timeline.turn_past(run, &mut along, |run, pages| watching.concerns(run, pages))
        };
        self.watching = watching;
        past
    }

    /// Has the run stop at the breakpoints, or no more. False if it cannot stop at all of them.
    fn ask(&mut self, on: bool) -> Result<bool, MachineError> {
        for address in &self.breakpoints {
            match self.run.stop_at(*address, on) {
                Ok(()) => {}
                Err(MachineError::Missing(_)) if on => {
                    self.ask(false)?;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn step_back(&mut self, line: &Line<'_>) -> Result<Option<Reason>, MachineError> {
        let Some(origin) = origin(self, line)? else { return Ok(self.gives_up(line)) };
        let (run, timeline, mut along) = self.parts(Some(line));
        if timeline.step_back(run, &mut along)? {
            self.why = "one instruction was taken back".into();
            return Ok(Some(SingleThreadStopReason::DoneStep));
        }
        if line.calls() {
            origin.back(self)?;
            return Ok(None);
        }
        Ok(Some(self.at_beginning()))
    }

    /// Goes back to something that is to stop the guest. Where gdb calls first it is where it was.
    fn go_back(&mut self, line: &Line<'_>) -> Result<Option<Reason>, MachineError> {
        let Some(origin) = origin(self, line)? else { return Ok(self.gives_up(line)) };
        let addresses: Vec<u32> = self.breakpoints.iter().copied().collect();
        let (watched, used) = (self.words(), self.used.words());
        let stop_on = self.stop_on;
        let events = move |noted: &Noted| stop_on.wants(noted);
        let sought =
            Sought { addresses: &addresses, watched: &watched, touched: &used, events: &events };
        let (run, timeline, mut along) = self.parts(Some(line));
        Ok(match timeline.back_to(run, &mut along, &sought)? {
            Hit::Address => self.at_breakpoint(),
            Hit::Watched(word) => {
                let reason = self.watched(word);
                let passed_over = self.timeline.passed_over();
                if passed_over > 0 {
                    self.why += &format!(
                        "; its page was written {passed_over} times more, and a change there and back was not looked for"
                    );
                }
                Some(reason)
            }
            Hit::Event => {
                let number = self.timeline.event() - self.timeline.first_event();
                let noted = self.timeline.log().get((number as usize).wrapping_sub(1));
                self.why = noted.map_or(String::new(), |noted| describe(&noted));
                Some(SingleThreadStopReason::Signal(Signal::SIGTRAP))
            }
            Hit::Beginning => Some(self.at_beginning()),
            Hit::GivenUp => {
                let reason = self.gives_up(line);
                origin.back(self)?;
                reason
            }
        })
    }

    /// Goes to a place that has been.
    pub(super) fn go_to(&mut self, line: &Line<'_>, place: Place) -> Result<bool, MachineError> {
        let (run, timeline, mut along) = self.parts(Some(line));
        timeline.go_to(run, &mut along, place)
    }
}

/// An event, in words.
fn describe(noted: &Noted) -> String {
    let mut text = match noted.entry {
        Some((sequence, vector)) => format!("entry #{sequence} by {vector}"),
        None => "an event".into(),
    };
    if noted.remark.found {
        text += ", of which something was found";
    }
    if noted.remark.switched {
        text += ", another task runs";
    }
    text
}
