//! A handler that meets in itself the fault that it was entered for.
//!
//! ```text
//!  #2 #PF at vputs, CR2 b8000 ─► handler ─► vputs ─► #3 #PF at vputs, CR2 b8000 ─► handler ─► … until the stack is gone
//! ```
//! What comes then, a shutdown or code that the stack has grown over, is a consequence.

use super::{Aftermath, Placed, fault, fault_text};
use crate::check::{CodePlace, Finding, Subject};
use crate::entry::{Fault, Kind, Return};
use crate::run::Ending;
use ia32::Vector;

pub(super) const RULE: &str = "recursion";

/// So many of them upon each other are no chance.
const MANY: u64 = 16;
/// What a handler and what it calls take of the stack. Threads that end by the same fault are farther apart.
const DEEP: u32 = 4096;
/// How far below the last of them the kernel may have come.
const BELOW: u32 = 0x1_0000;

/// Exceptions of ring 0 that are alike, each below the one before, none of them returned from.
#[derive(Clone, Debug, Default)]
pub(super) struct Recursion {
    /// Vector, EIP, error code, CR2.
    what: Option<(Vector, u32, u32, u32)>,
    count: u64,
    /// The first entry, and the end of its frame.
    first: u64,
    top: u32,
    /// The second: by then there is something to be told.
    second: Option<Box<Fault>>,
    /// The last entry, and its frame.
    last: u64,
    lowest: u32,
}

impl Recursion {
    /// An exception was delivered.
    pub(super) fn count(&mut self, fault: &Fault) {
        if fault.ring != 0 || fault.kind != Kind::Fault {
            return;
        }
        let what = (fault.vector, fault.eip(), fault.error_code().unwrap_or(0), fault.after.cr2);
        let address = fault.frame.address;
        if self.what == Some(what) && address < self.lowest && self.lowest - address < DEEP {
            self.count += 1;
            if self.count == 2 {
                self.second = Some(Box::new(fault.clone()));
            }
        } else if self.count < MANY {
            (self.what, self.count, self.second) = (Some(what), 1, None);
            (self.first, self.top) = (fault.sequence, fault.frame.end());
        } else {
            // What has overwritten itself goes on in some other way.
            return;
        }
        (self.last, self.lowest) = (fault.sequence, address);
    }

    /// A frame is popped: that of one of them, or one above.
    pub(super) fn leave(&mut self, returning: &Return) {
        if self.count > 0 && (returning.ring() > 0 || returning.frame.address >= self.lowest) {
            *self = Recursion::default();
        }
    }

    /// No handler meets the fault that it handles until its stack is gone.
    pub(super) fn finding(&self, aftermath: &Aftermath<'_>) -> Option<Placed> {
        let ending = &aftermath.end.ending;
        let depth = self.lowest.wrapping_sub(aftermath.end.state.stack_address());
        let still = *ending == Ending::TripleFault || depth <= BELOW;
        let certain = self.count >= MANY && !ending.is_good() && still;
        let fault = self.second.as_ref().filter(|_| certain)?;
        let explained = fault::explain(fault, aftermath);
        let finding = Finding::new(
            RULE,
            Subject::Kernel,
            format!(
                "the handler of {} meets the same fault itself, at {}, {} times upon each other",
                fault.vector,
                fault_text::instruction(fault),
                self.count - 1
            ),
            "a handler that touches nothing that may fault",
            format!(
                "frames of #{} to #{} upon each other, {} bytes of stack, down to {}",
                self.first,
                self.last,
                self.top.wrapping_sub(self.lowest),
                aftermath.place(self.lowest)
            ),
        )
        .advise("let the handler use only what is mapped in each page directory, or map it")
        .about_some(fault.code_address())
        .about(CodePlace::Handler(fault.after.instruction_address()));
        Some((fault_text::place(fault, aftermath), explained.add_to(finding)))
    }
}
