//! Entries by call gates that have not been left yet.
//!
//! They are no frames of an interrupt's, and no return is paired with them but a far RET that pops where one was pushed.
//! It goes back to whoever was running before, on the same stack: so what the last IRET has told of that task holds again.

use super::stacks::TaskId;
use super::{Esp0Change, History, LastReturn};
use crate::entry::{CallFrame, Crossing, CrossingWay, Entry, Kind, Return};
use crate::probe::CallGate;
use ia32::Word;

/// So many are remembered, the latest.
const MOST: usize = 64;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Called {
    frame: CallFrame,
    gate: CallGate,
    /// The return that had led to whoever has called.
    last: Option<LastReturn>,
    task: Option<TaskId>,
}

impl History {
    /// The words that an entry by a call gate has pushed at this linear address, with its gate, if it has not been left.
    pub(in crate::check) fn called_at(&self, address: u32) -> Option<(&CallFrame, CallGate)> {
        let found = self.called.iter().rev().find(|called| called.frame.address == address)?;
        Some((&found.frame, found.gate))
    }

    /// Takes a crossing in; the task that was running, or goes on.
    pub(in crate::check) fn cross(&mut self, crossing: &Crossing, wrong: bool) -> Option<TaskId> {
        match crossing.way {
            CrossingWay::Call(gate) => self.call(crossing, gate, wrong),
            CrossingWay::Return { .. } => self.leave_far(crossing, wrong),
        }
    }

    fn call(&mut self, crossing: &Crossing, gate: CallGate, wrong: bool) -> Option<TaskId> {
        let frame = &crossing.frame;
        let from_outside =
            self.last_return.as_ref().is_some_and(|last| last.ring > crossing.state.cpl());
        if !from_outside && !self.switched {
            match self.sysentered {
                true => self.sysexits += 1,
                false => self.missed += 1,
            }
        }
        self.sysentered = false;
        self.switched = false;
        self.refusal = None;
        self.refused_at = None;
        self.refused_far = None;
        self.fresh_stack = None;
        self.edge = None;
        if let Some(stack) = crossing.inner_stack
            && self.esp0.is_none_or(|change| change.esp0 != stack.esp)
        {
            // Seen from the next entry of the IDT on.
            self.esp0 = Some(Esp0Change { esp0: stack.esp, sequence: crossing.after_sequence + 1 });
        }
        let last = self.last_return.take().filter(|_| from_outside);
        let end = frame.end();
        let own = self.stacks.ending_at(end).map(|stack| stack.task);
        let task = last.as_ref().and_then(|last| last.task).or(own);
        if let Some(index) = self.stacks.at(frame.address) {
            self.stacks.reached(index, frame.address);
        }
        self.running = own.is_some().then_some(end);
        self.forget_called(frame.address, end);
        let (start, past) = (frame.physical, frame.physical + u64::from(frame.size()));
        let gone: Vec<_> = self.frames.overlapping(start, past).map(|(slot, _)| slot).collect();
        for slot in gone {
            let victim = self.frames.at(slot).frame;
            self.frames.remove(slot);
            if wrong && self.overwritten_by_calls.len() < MOST {
                self.overwritten_by_calls.push((victim.address, victim.end()));
            }
        }
        if self.called.len() == MOST {
            self.called.remove(0);
        }
        let task = task.filter(|_| !self.copies_frames);
        self.called.push(Called { frame: frame.clone(), gate, last, task });
        task
    }

    fn leave_far(&mut self, crossing: &Crossing, wrong: bool) -> Option<TaskId> {
        let at = crossing.frame.address;
        let found = self.called.iter().rposition(|called| called.frame.address == at);
        let called = found.map(|index| self.called.remove(index));
        self.refused_far = wrong.then_some(crossing.state.eip);
        self.running = None;
        self.sysentered = false;
        self.refusal = None;
        self.refused_at = None;
        let task = called.as_ref().and_then(|called| called.task);
        self.last_return = called.filter(|_| !wrong).and_then(|called| called.last);
        // Where it goes to is not known for a task's: nothing is held against what comes from there.
        self.switched = self.last_return.is_none();
        task
    }

    /// An IRET is gone through, or an entry has come, with these linear addresses for its words: nobody goes back by what a
    /// call gate has pushed there.
    fn forget_called(&mut self, start: u32, end: u32) {
        if !self.called.is_empty() {
            self.called.retain(|called| called.frame.end() <= start || end <= called.frame.address);
        }
    }

    /// The same of an entry.
    #[inline]
    pub(super) fn overwrites_called(&mut self, entry: &Entry) {
        if !self.called.is_empty() {
            self.forget_called(entry.frame.address, entry.frame.end());
        }
    }

    /// The same of a return.
    #[inline]
    pub(super) fn abandons_called(&mut self, returning: &Return) {
        if !self.called.is_empty() && returning.ring() > returning.state.cpl() {
            self.forget_called(returning.frame.address, returning.frame.end());
        }
    }

    /// `returning` pops words where a suspended task's frame was overwritten by a call, which has been told.
    #[inline]
    pub(super) fn is_overwritten_by_call(&self, returning: &Return) -> bool {
        let (start, end) = (returning.frame.address, returning.frame.end());
        self.overwritten_by_calls.iter().any(|(from, to)| start < *to && *from < end)
    }

    /// What was said of the last return says why it was refused, if it is.
    pub(in crate::check) fn told_of_last_return(&mut self) {
        if let Some(last) = &mut self.last_return {
            last.overwrites_itself = true;
        }
    }

    /// `entry` is the fault of a far RET of which it has been told what is wrong.
    pub(in crate::check) fn is_refused_far(&self, entry: &Entry) -> bool {
        entry.kind == Kind::Fault
            && !entry.from_outer_ring()
            && self.refused_far.is_some_and(|eip| entry.frame.get(Word::Eip) == Some(eip))
    }
}
