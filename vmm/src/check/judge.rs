//! The one place where events are judged.
//!
//! ```text
//!  Run::next_event ──► Judge::judge ──► Judged ──┬─► terminal
//!                        │ looks at memory,      ├─► trace
//!                        │ asks the rules,       ├─► recorders
//!                        │ remembers, counts     └─► whatever comes later
//!                        └─► at the end: what the run as a whole has to answer for, and the verdict
//! ```
//! An event is judged once, and whoever wants to know of it is handed the event and the judgement by value. A
//! [`Sink`] cannot change either, nor the guest, so sinks can stand side by side in any number.

use super::diagnosis::{Aftermath, Diagnosis};
use super::history::LastReturn;
use super::verdict::{Grounds, Verdict, verdict};
use super::{Checker, CodePlace, Degree, Finding, History, Judgement, LookBack, Tally};
use crate::entry::{Crossing, Entry, Kind, Return, Returned, Sysenter, TaskSwitch, capture_return};
use crate::instruction::iret;
use crate::machine::{LinearMemory, Machine, MachineError};
use crate::probe::IretSite;
use crate::run::{End, Ending, Event, Run, StackLoad, Step};
use ia32::{Eflags, State, Vector, Word};
use std::sync::Arc;

/// What happened, with what the rules say of it.
#[derive(Clone, Debug)]
pub enum Judged {
    /// An entry.
    Entry(Arc<Entry>, Judgement),
    /// An entry by SYSENTER.
    Sysenter(Box<Sysenter>, Judgement),
    /// An entry by a call gate, or a far RET to an outer ring.
    Crossing(Box<Crossing>, Judgement),
    /// A return that is about to happen.
    Return(Box<Return>, Judgement),
    /// A return that has happened; in exact mode.
    Returned(Box<Returned>, Judgement),
    /// A task switch by hardware.
    Switch(Box<TaskSwitch>, Judgement),
    /// A stack was loaded before there were probes.
    StackLoad(Box<StackLoad>),
    /// The guest wrote to its console.
    Console(Vec<u8>),
    /// The guest stands at an address at which it was to stop.
    Reached(Box<State>),
    /// The guest is in ring 3, right after an IRET, and has executed nothing there.
    Resumed(Box<State>),
    /// The guest has computed for long, and is preempted where it stands.
    Preempted(Box<State>),
    /// One instruction of ring 0, where the kernel is followed.
    Step(Box<Step>),
    /// The guest ended.
    End(Box<End>),
}

/// Takes judged events, one after the other.
///
/// What it is handed cannot be changed:
/// ```compile_fail,E0596
/// use esp0::check::{Judged, Sink};
/// use esp0::machine::Machine;
///
/// struct Meddler;
///
/// impl Sink for Meddler {
///     fn take(&mut self, machine: &Machine, _: &Judged) {
///         machine.write_memory(0x1000, &[0xf4]);
///     }
/// }
/// ```
/// Memory by linear address can be read only, too:
/// ```compile_fail,E0599
/// fn look(machine: &esp0::machine::Machine) {
///     machine.linear().write(0x1000, &[0xf4]);
/// }
/// ```
/// ```compile_fail,E0596
/// fn look(machine: &esp0::machine::Machine) {
///     machine.linear_mut().write(0x1000, &[0xf4]);
/// }
/// ```
pub trait Sink {
    /// This happened, and the guest stands still: its memory can be read, and nothing be changed.
    fn take(&mut self, machine: &Machine, judged: &Judged);
}

/// Two of them, side by side.
impl<A: Sink, B: Sink> Sink for (A, B) {
    #[inline]
    fn take(&mut self, machine: &Machine, judged: &Judged) {
        self.0.take(machine, judged);
        self.1.take(machine, judged);
    }
}

impl<S: Sink> Sink for &mut S {
    #[inline]
    fn take(&mut self, machine: &Machine, judged: &Judged) {
        (**self).take(machine, judged);
    }
}

impl<S: Sink> Sink for Option<S> {
    #[inline]
    fn take(&mut self, machine: &Machine, judged: &Judged) {
        if let Some(sink) = self {
            sink.take(machine, judged);
        }
    }
}

/// A finding about the run as a whole, and where it belongs.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// Where, in words.
    pub place: String,
    /// What.
    pub finding: Finding,
}

/// Judges events, counts, and decides.
#[derive(Clone, Debug)]
pub struct Judge {
    checker: Checker,
    diagnosis: Diagnosis,
    tally: Tally,
    /// Notes count as findings.
    strict: bool,
    /// The run ends with so many findings.
    enough: Option<u64>,
    /// The guest ran without probes.
    unprobed: bool,
    /// What the console was expected to say and never did.
    unmet: Option<String>,
}

impl Judge {
    /// With these rules.
    pub fn new(checker: Checker) -> Self {
        Judge {
            checker,
            diagnosis: Diagnosis::default(),
            tally: Tally::default(),
            strict: false,
            enough: None,
            unprobed: false,
            unmet: None,
        }
    }

    /// One with the same rules that has seen nothing.
    #[cfg(feature = "program")]
    #[must_use]
    pub(crate) fn afresh(&self) -> Self {
        Judge::new(self.checker.afresh())
    }

    /// Notes count as findings.
    #[must_use]
    pub fn with_strictness(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// The run ends when there are so many findings.
    #[must_use]
    pub fn with_enough(mut self, findings: Option<u64>) -> Self {
        self.enough = findings;
        self
    }

    /// The guest is run without probes: nothing is going to be seen.
    #[must_use]
    pub fn without_probes(mut self, unprobed: bool) -> Self {
        self.unprobed = unprobed;
        self
    }

    /// Judges an event, the guest standing still after it.
    #[inline]
    pub fn judge(&mut self, machine: &Machine, event: Event) -> Judged {
        match event {
            Event::Entry(entry) => {
                let judgement = self.entry(machine, &entry);
                Judged::Entry(entry, judgement)
            }
            Event::Sysenter(entry) => {
                let mut judgement = self.checker.sysenter(&entry);
                self.weigh(&mut judgement);
                self.tally.sysenter(&judgement);
                Judged::Sysenter(entry, judgement)
            }
            Event::Crossing(crossing) => {
                let mut judgement = self.checker.crossing(&crossing);
                self.weigh(&mut judgement);
                self.tally.crossing(&crossing, &judgement);
                Judged::Crossing(crossing, judgement)
            }
            Event::Return(returning) => {
                let judgement = self.leave(machine, &returning);
                Judged::Return(returning, judgement)
            }
            Event::Returned(returned) => {
                let mut judgement = self.checker.returned(&returned);
                self.weigh(&mut judgement);
                self.tally.returned(&returned, &judgement);
                Judged::Returned(returned, judgement)
            }
            Event::Switch(switch) => {
                let mut judgement = self.checker.switch(&switch);
                self.weigh(&mut judgement);
                self.tally.switch(&switch, &judgement);
                Judged::Switch(switch, judgement)
            }
            Event::StackLoad(load) => Judged::StackLoad(load),
            Event::Console(bytes) => {
                self.diagnosis.say(&bytes);
                Judged::Console(bytes)
            }
            Event::Reached(state) => Judged::Reached(state),
            Event::Resumed(state) => Judged::Resumed(state),
            Event::Preempted(state) => Judged::Preempted(state),
            Event::Step(step) => Judged::Step(step),
            Event::End(end) => Judged::End(end),
        }
    }

    #[inline]
    fn entry(&mut self, machine: &Machine, entry: &Entry) -> Judgement {
        let linear = LinearMemory { memory: machine.memory(), paging: (&entry.after).into() };
        if let Some(returning) = refused_unseen(machine, entry, self.checker.history()) {
            self.checker.look_at_return(&linear, &returning);
            // It has not happened, so it breaks no rule but that it was refused.
            self.checker.leave(&returning);
        }
        let refuses_far_return = self.checker.history().is_refused_far(entry);
        self.checker.look_at_entry(&linear, entry);
        self.diagnosis.enter(machine, entry);
        let mut judgement = self.checker.entry(entry);
        if !judgement.is_unremarkable() {
            locate(&linear, &mut judgement);
        }
        self.weigh(&mut judgement);
        self.tally.entry(entry, &judgement);
        if (judgement.refuses_return || refuses_far_return) && self.tally.findings > 0 {
            self.diagnosis.told_why(entry.sequence);
        }
        judgement
    }

    #[inline]
    fn leave(&mut self, machine: &Machine, returning: &Return) -> Judgement {
        let state = &returning.state;
        let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
        self.checker.look_at_return(&linear, returning);
        self.diagnosis.leave(machine, returning);
        let mut judgement = self.checker.leave(returning);
        if self.checker.history().last_return().is_some_and(LastReturn::begins_program) {
            self.diagnosis.begin(returning);
        }
        if !judgement.is_unremarkable() {
            at_least_about(&mut judgement, state.instruction_address());
        }
        self.weigh(&mut judgement);
        self.tally.leave(&judgement);
        judgement
    }

    /// Lets the guest run to its end; `sink` takes each event.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn follow(&mut self, run: &mut Run, sink: &mut impl Sink) -> Result<End, MachineError> {
        loop {
            if let Some(end) = self.advance(run, sink)? {
                return Ok(end);
            }
        }
    }

    /// Lets the guest run to what is told next, which `sink` takes; the end, if it is that.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    #[inline]
    pub fn advance(
        &mut self,
        run: &mut Run,
        sink: &mut impl Sink,
    ) -> Result<Option<End>, MachineError> {
        if self.has_enough() {
            run.end_with_enough();
        }
        let event = run.next_event()?;
        let judged = self.judge(run.machine(), event);
        sink.take(run.machine(), &judged);
        Ok(if let Judged::End(end) = judged { Some(*end) } else { None })
    }

    /// What the run as a whole has to answer for, now that it is over.
    pub fn conclude(&mut self, aftermath: &Aftermath<'_>) -> Vec<Conclusion> {
        let placed = self.diagnosis.conclude(aftermath, self.checker.history());
        let mut conclusions = Vec::with_capacity(placed.len());
        for (place, mut finding) in placed {
            if self.strict {
                finding.degree = Degree::Fault;
            }
            let mut judgement = Judgement::default();
            match finding.degree {
                Degree::Fault => judgement.findings.push(finding.clone()),
                Degree::Note => judgement.notes.push(finding.clone()),
            }
            self.tally.judged(&judgement);
            conclusions.push(Conclusion { place, finding });
        }
        conclusions
    }

    /// Notes are findings to whoever is strict.
    #[inline]
    fn weigh(&self, judgement: &mut Judgement) {
        if self.strict && !judgement.notes.is_empty() {
            let notes = judgement.notes.drain(..);
            judgement.findings.extend(notes.map(|mut note| {
                note.degree = Degree::Fault;
                note
            }));
        }
    }

    /// There are as many findings as were asked for.
    #[inline]
    pub fn has_enough(&self) -> bool {
        self.enough.is_some_and(|enough| self.tally.findings >= enough)
    }

    /// The console was expected to say this, and never did.
    pub fn awaited_in_vain(&mut self, text: Option<String>) {
        self.unmet = text;
    }

    /// What the console never said.
    pub fn unmet(&self) -> Option<&str> {
        self.unmet.as_deref()
    }

    /// The verdict on a run that ended so.
    pub fn verdict(&self, ending: &Ending) -> Verdict {
        let Tally { findings, .. } = self.tally;
        let entries = self.tally.in_all();
        let (unmet, unprobed) = (self.unmet.is_some(), self.unprobed);
        verdict(ending, Grounds { entries, findings, unmet, unprobed })
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The rules.
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// What has been seen so far.
    pub fn history(&self) -> &History {
        self.checker.history()
    }
}

/// Says where words that were stored lie in physical memory; one that lies in none is not asked for.
#[cold]
fn locate(linear: &LinearMemory<'_>, judgement: &mut Judgement) {
    for finding in judgement.findings.iter_mut().chain(&mut judgement.notes) {
        let Some(LookBack::Stored(word)) = &mut finding.look_back else { continue };
        match linear.paging.translate(linear.memory, word.address) {
            Some(physical) => word.physical = physical,
            None => finding.look_back = None,
        }
    }
}

/// Whatever names no code of a return is about its IRET.
#[cold]
fn at_least_about(judgement: &mut Judgement, iret: u32) {
    for finding in judgement.findings.iter_mut().chain(&mut judgement.notes) {
        if finding.places.is_empty() {
            finding.places.push(CodePlace::Instruction(iret));
        }
    }
}

/// The return that `entry` says was refused, where nobody has seen it: its IRET is reached by a computed jump alone, so it
/// has no probe. The fault points at it, and its words still lie right above those that the fault has pushed.
fn refused_unseen(machine: &Machine, entry: &Entry, history: &History) -> Option<Return> {
    let may_be = entry.kind == Kind::Fault
        && matches!(entry.vector, Vector::GP | Vector::SS | Vector::NP)
        && !entry.from_outer_ring()
        && !entry.frame.shape.from_virtual_8086;
    if !may_be {
        return None;
    }
    let found = iret(entry.code.instruction(), &entry.after)?;
    if history.refused_by(entry).is_some() {
        return None;
    }
    let mut state = entry.after;
    state.eip = entry.frame.get(Word::Eip)?;
    state.eflags = Eflags(entry.frame.get(Word::Eflags)?);
    state.general.esp = state.general.esp.wrapping_add(entry.frame.shape.size());
    let address = state.instruction_address();
    let (word_size, length) = (found.size.bytes(), found.length);
    let site = IretSite { address, probe_address: address, word_size, length };
    Some(capture_return(machine, &site, state, entry.sequence - 1, entry.time))
}
