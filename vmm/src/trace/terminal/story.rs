//! Two moments told in words: the first system call that comes back, and the first switch from one task to another.
//!
//! The lines of entries say where each arrives. What a kernel stack per task is good for shows between them: a
//! return pops what some entry pushed, and where that was another task's entry, tasks were switched.

use super::super::event_name;
use super::super::schema::{EntryRecord, ReturnRecord};
use crate::entry::Kind;
use ia32::Word;
use std::collections::BTreeMap;

/// How many tasks are watched. Who has more is past being told of the first switch.
const TASKS: usize = 64;

/// What a task pushed when it last came from ring 3.
#[derive(Clone, Copy, Debug)]
struct Pushed {
    sequence: u64,
    /// Linear address behind the frame.
    end: u32,
    esp0: u32,
    eip: Option<u32>,
    call: Option<u8>,
}

/// What is still to be told.
#[derive(Debug)]
pub(super) struct Story {
    pushed: BTreeMap<u32, Pushed>,
    /// The task of the last entry.
    last: u32,
    call: bool,
    switch: bool,
}

impl Default for Story {
    fn default() -> Self {
        Story { pushed: BTreeMap::new(), last: 0, call: true, switch: true }
    }
}

impl Story {
    /// There is something left to tell.
    pub(super) fn goes_on(&self) -> bool {
        self.call || self.switch
    }

    /// An entry.
    pub(super) fn entry(&mut self, entry: &EntryRecord) {
        self.last = entry.task;
        if !self.goes_on() || entry.task == 0 || !entry.from_outer_ring() {
            return;
        }
        if self.pushed.len() == TASKS && !self.pushed.contains_key(&entry.task) {
            (self.call, self.switch) = (false, false);
            return;
        }
        let call = (entry.kind == Kind::Software).then_some(entry.vector);
        let (sequence, end, esp0) = (entry.sequence, entry.frame.end(), entry.esp0);
        let pushed = Pushed { sequence, end, esp0, eip: entry.eip(), call };
        self.pushed.insert(entry.task, pushed);
    }

    /// A return; what is to be told of it.
    pub(super) fn leave(&mut self, returning: &ReturnRecord) -> Option<String> {
        if !self.goes_on() || returning.task == 0 || returning.to_ring == 0 {
            return None;
        }
        let task = returning.task;
        let pushed = *self.pushed.get(&task)?;
        if pushed.end != returning.frame.end() || pushed.eip != returning.frame.get(Word::Eip) {
            return None;
        }
        let last = self.last;
        self.last = task;
        let head = format!(
            "        task {task:<2} iret           {}→{}",
            returning.from_ring, returning.to_ring
        );
        if last != task
            && self.switch
            && let Some(from) = self.pushed.get(&last)
        {
            self.switch = false;
            return Some(format!(
                "{head}   a switch: #{} came in on task {last}'s kernel stack (ESP0 {:08x}), and this pops what #{} \
                 pushed on task {task}'s (ESP0 {:08x})",
                from.sequence, from.esp0, pushed.sequence, pushed.esp0,
            ));
        }
        let call = pushed.call.filter(|_| self.call && last == task)?;
        self.call = false;
        Some(format!(
            "{head}   back behind {}: pops at {:08x} what #{} pushed there, and the kernel stack is empty again",
            event_name(Kind::Software, ia32::Vector(call)),
            returning.frame.address,
            pushed.sequence,
        ))
    }
}
