//! What a run has not judged: ways into the kernel that nobody watched, and the time in which nobody did.
//!
//! What is known to have been missed is counted elsewhere ([`Census::missed_entries`]). Here is what nobody can count:
//! a verdict on the rest is no verdict on it.
//!
//! [`Census::missed_entries`]: crate::probe::Census::missed_entries

use super::Run;
use crate::probe::{CallGate, Choice, Entered, Seen, TaskGate};
use std::fmt;

/// The first IDT of whoever a BIOS has booted, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstIdt {
    /// Its linear address.
    pub base: u32,
    /// Exits up to then.
    pub exits: u64,
    /// EIP where it was found.
    pub eip: u32,
    /// It was found as soon as its LIDT had been executed: nothing can have come before.
    pub witnessed: bool,
}

/// What is not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unjudged {
    /// Entries by a call gate, all or some of them.
    CallGate {
        /// Which.
        gate: CallGate,
        /// What is known of it.
        seen: Seen,
    },
    /// Entries by a task gate of the IDT that were not seen, all or some of them.
    TaskGate {
        /// Which.
        gate: TaskGate,
        /// What is known of what has come by it.
        entered: Entered,
    },
    /// Entries before the first IDT behind a BIOS was found.
    BeforeIdt(FirstIdt),
}

impl Unjudged {
    /// Its name in the verdict line and in a trace.
    pub const fn name(&self) -> &'static str {
        match self {
            Unjudged::CallGate { .. } => "call_gate",
            Unjudged::TaskGate { .. } => "task_gate",
            Unjudged::BeforeIdt(_) => "before_idt",
        }
    }

    /// Nothing has come by it: it is there, and nothing was left unjudged.
    pub const fn is_unused(&self) -> bool {
        matches!(self, Unjudged::TaskGate { entered: Entered { linked: false, .. }, .. })
    }
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unjudged::CallGate { gate: CallGate { selector, dpl, cs, offset, .. }, seen } => {
                let which = match seen {
                    Seen { watched: false, .. } => "entries",
                    Seen { late: true, .. } => "entries, before it was found,",
                    Seen { .. } => "some entries, perhaps,",
                };
                write!(
                    f,
                    "{which} by the call gate {selector:04x}, from rings up to {dpl} to {cs:04x}:{offset:08x}"
                )
            }
            Unjudged::TaskGate { gate: TaskGate { vector, tss }, entered } if entered.linked => {
                let before = if entered.late { ", before it was found" } else { "" };
                write!(
                    f,
                    "entries by the task gate of vector {vector:#04x}{before}: TSS {tss:04x}, to which it leads, was entered"
                )
            }
            Unjudged::TaskGate { gate: TaskGate { vector, tss }, .. } => write!(
                f,
                "the task gate of vector {vector:#04x}, by which nothing came: TSS {tss:04x} has no link"
            ),
            Unjudged::BeforeIdt(FirstIdt { base, exits, eip, .. }) => write!(
                f,
                "entries before the first IDT behind the BIOS was seen, at {base:08x}: at exit {exits}, EIP {eip:08x}"
            ),
        }
    }
}

impl Run {
    /// What was not judged so far; nothing where nothing was to be.
    pub fn unjudged(&self) -> Vec<Unjudged> {
        if self.probes.choice() == Choice::None {
            return Vec::new();
        }
        let task_gates = self.probes.unwatched().task_gates().filter_map(|(gate, entered)| {
            let missed = entered.late || entered.linked && !entered.seen;
            let unwatched = !entered.linked && !self.probes.stops_task_gate(gate);
            (missed || unwatched).then_some(Unjudged::TaskGate { gate, entered })
        });
        let call_gates = self.probes.call_gates();
        let missed = call_gates.filter(|(_, seen)| !seen.watched || seen.late || seen.doubtful);
        let first_idt = self.seen.first_idt.filter(|first| !first.witnessed);
        (first_idt.map(Unjudged::BeforeIdt).into_iter())
            .chain(missed.map(|(gate, seen)| Unjudged::CallGate { gate, seen }))
            .chain(task_gates)
            .collect()
    }
}
