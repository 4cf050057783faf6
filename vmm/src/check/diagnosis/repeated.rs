//! An instruction that faults for ever: its handler changes nothing, and it faults again.

use super::{Aftermath, Placed, fault, fault_text};
use crate::check::{Finding, Subject};
use crate::entry::Fault;
use crate::run::Ending;
use ia32::Vector;

/// How often is for ever.
const MANY: u64 = 32;

/// The same exception at the same instruction, again and again, while nothing else but interrupts came.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeated {
    /// Vector, EIP, error code, CR2, ring.
    what: Option<(Vector, u32, u32, u32, u8)>,
    count: u64,
    first: Option<Box<Fault>>,
}

impl Repeated {
    /// An exception was delivered.
    pub(super) fn count(&mut self, fault: &Fault) {
        let code = fault.error_code().unwrap_or(0);
        let what = (fault.vector, fault.eip(), code, fault.after.cr2, fault.ring);
        if self.what == Some(what) {
            self.count += 1;
            return;
        }
        self.what = Some(what);
        self.count = 1;
        self.first = Some(Box::new(fault.clone()));
    }

    /// Something else than an exception or an interrupt came.
    pub(super) fn end(&mut self) {
        self.what = None;
        self.count = 0;
    }

    /// A run that did not come to an end of its own did nothing but fault.
    pub(super) fn finding(&self, aftermath: &Aftermath<'_>) -> Option<Placed> {
        let unfinished = matches!(aftermath.end.ending, Ending::TimedOut | Ending::Stopped);
        let first = self.first.as_ref().filter(|_| unfinished && self.count >= MANY)?;
        let explained = fault::explain(first, aftermath);
        let finding = Finding::new(
            "repeated_fault",
            Subject::Kernel,
            format!(
                "{}: {} {} times, and nothing else ran",
                fault_text::instruction(first),
                first.vector,
                self.count
            ),
            "a handler that mends the cause, skips the instruction, or ends the task",
            "an IRET to the same instruction, with everything as it was",
        )
        .about_some(first.code_address());
        Some((fault_text::place(first, aftermath), explained.add_to(finding)))
    }
}
