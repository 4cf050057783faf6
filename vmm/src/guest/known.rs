//! What has been seen of a guest so far.

use crate::check::diagnosis::Aftermath;
use crate::check::{Degree, Finding, Judge, Judged, Judgement, Verdict};
use crate::run::{End, Event, Run};
use crate::symbols::Symbols;
use crate::trace::{event_name, task_name};
use ia32::Word;

/// A finding, and where it was made.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where: `#214 int 0x80 in task 3`.
    pub place: String,
    /// What.
    pub finding: Finding,
}

/// What has been seen so far; part of a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Known {
    judge: Judge,
    names: Symbols,
    pub(super) findings: Vec<Found>,
    pub(super) notes: Vec<Found>,
    pub(super) console: Vec<u8>,
    pub(super) end: Option<End>,
}

impl Known {
    /// Nothing yet, by this judge and in these names.
    pub(super) fn new(judge: Judge, names: Symbols) -> Self {
        let (findings, notes, console, end) = Default::default();
        Known { judge, names, findings, notes, console, end }
    }

    /// What names the guest's addresses.
    pub(super) fn names(&self) -> &Symbols {
        &self.names
    }

    /// The verdict on the run, once it is over.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.end.as_ref().map(|end| self.judge.verdict(&end.ending))
    }

    /// What the run as a whole has to answer for.
    fn conclude(&mut self, run: &Run, end: &End) {
        let name = |address| Some(self.names.describe(address)?.to_string());
        let arrays = || self.names.arrays();
        let aftermath = Aftermath::of(run, end, &name).with_arrays(&arrays);
        for conclusion in self.judge.conclude(&aftermath) {
            let degree = conclusion.finding.degree;
            let found = Found { place: conclusion.place, finding: conclusion.finding };
            match degree {
                Degree::Fault => self.findings.push(found),
                Degree::Note => self.notes.push(found),
            }
        }
    }

    /// An event, with what the rules say of it, which is kept.
    pub(super) fn take(&mut self, run: &Run, event: Event) -> Judged {
        let judged = self.judge.judge(run.machine(), event);
        match &judged {
            Judged::Entry(entry, judgement) => {
                let place = format!(
                    "#{} {} in {} (EIP {:08x})",
                    entry.sequence,
                    event_name(entry.kind, entry.vector),
                    task_name(judgement.task),
                    entry.frame.get(Word::Eip).unwrap_or(0),
                );
                self.keep(&place, judgement);
            }
            Judged::Return(returning, judgement) => {
                self.keep(&format!("IRET after #{}", returning.after_sequence), judgement);
            }
            Judged::Returned(returned, judgement) => {
                self.keep(&format!("IRET after #{}", returned.after_sequence), judgement);
            }
            Judged::Sysenter(entry, judgement) => {
                self.keep(&format!("SYSENTER after #{}", entry.after_sequence), judgement);
            }
            Judged::Crossing(crossing, judgement) => {
                let what = if crossing.is_call() { "entry by a call gate" } else { "far RET" };
                self.keep(&format!("the {what} after #{}", crossing.after_sequence), judgement);
            }
            Judged::Switch(switch, judgement) => {
                self.keep(&format!("the switch after #{}", switch.after_sequence), judgement);
            }
            Judged::Console(bytes) => self.console.extend_from_slice(bytes),
            Judged::Reached(_)
            | Judged::StackLoad(_)
            | Judged::Resumed(_)
            | Judged::Preempted(_)
            | Judged::Step(_) => {}
            Judged::End(end) => {
                if self.end.is_none() {
                    self.conclude(run, end);
                }
                self.end = Some(End::clone(end));
            }
        }
        judged
    }

    /// What a test is told of by itself; a sink takes the rest as well.
    pub(super) fn is_told(judged: &Judged) -> bool {
        !matches!(
            judged,
            Judged::Returned(..)
                | Judged::StackLoad(_)
                | Judged::Resumed(_)
                | Judged::Preempted(_)
                | Judged::Step(_)
        )
    }

    fn keep(&mut self, place: &str, judgement: &Judgement) {
        if judgement.is_unremarkable() {
            return;
        }
        let found = |finding: &Finding| Found { place: place.to_owned(), finding: finding.clone() };
        self.findings.extend(judgement.findings.iter().map(found));
        self.notes.extend(judgement.notes.iter().map(found));
    }
}
