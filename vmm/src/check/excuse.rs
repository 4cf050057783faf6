//! When nothing can be held against the processor.
//!
//! It is accused last. What it did rests on tables and code that the kernel can overwrite, a stop at a
//! handler's first instruction may come of a jump, and an exception within a task switch finds registers of both tasks.
//! In these cases the fault is the kernel's, and the finding says so, unless another rule has said it already.

use super::{Finding, Findings, History, Subject};
use crate::entry::{Entry, Kind};
use ia32::{Eflags, Word};

/// Why an entry says nothing of the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Excuse {
    /// A finding about the kernel says why.
    Told,
    /// What the processor has read was overwritten.
    Overwritten(String),
    /// The words on the stack are no frame's: the kernel has come there by itself.
    NoFrame(u32),
}

impl Excuse {
    /// Asked of an entry with which something is wrong.
    #[cold]
    pub(super) fn of(entry: &Entry, history: &History, findings: &Findings) -> Option<Excuse> {
        let told = ["stack_over_tables", "stack_in_data", "overflow"];
        if entry.within_switch
            || entry.kind == Kind::Unexplained
            || told.into_iter().any(|rule| findings.has(rule))
        {
            return Some(Excuse::Told);
        }
        if let Some(what) = &history.glance().overwritten {
            return Some(Excuse::Overwritten(what.clone()));
        }
        // At the end of the run it is told of the gate: what ran since was no handler.
        if history.glance().behind_blank_handler {
            return Some(Excuse::Told);
        }
        is_no_frame(entry).then_some(Excuse::NoFrame(entry.frame.address))
    }

    /// What is to be told instead.
    pub(super) fn finding(self) -> Option<Finding> {
        match self {
            Excuse::Told => None,
            Excuse::Overwritten(what) => Some(
                Finding::new(
                    "overwritten",
                    Subject::Kernel,
                    format!("{what} was overwritten"),
                    "what the processor used when it was last right",
                    "other bytes",
                )
                .because(
                    "the entry does not look as it should, and what it rests on has changed: the kernel \
                     wrote there, perhaps by a stack that ran past its end",
                ),
            ),
            Excuse::NoFrame(address) => Some(
                Finding::new(
                    "event_explained",
                    Subject::Kernel,
                    "the kernel came to a handler without an event",
                    "the words of a frame at ESP",
                    format!("words at {address:08x} that no event pushes"),
                )
                .because(
                    "the kernel has jumped to its handler, or runs where it should not; what else is odd \
                     here follows from that",
                ),
            ),
        }
    }
}

/// The state before was not seen, and several words are such as no processor pushes.
pub(super) fn is_no_frame(entry: &Entry) -> bool {
    if entry.before.is_some() || matches!(entry.kind, Kind::External | Kind::Nmi) {
        return false;
    }
    let reserved = entry.frame.get(Word::Eflags).is_some_and(|flags| {
        Eflags(flags).without(Eflags::RESERVED_ZERO).0 != flags || flags & Eflags::FIXED.0 == 0
    });
    let ring =
        entry.frame.selector(Word::Cs).is_some_and(|cs| cs & 3 != u16::from(entry.origin.ring));
    // CS names no descriptor.
    reserved && (ring || entry.code.linear.is_none())
}
