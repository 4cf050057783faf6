//! A local APIC that is read again and again is read as memory.
//!
//! A kernel that asks for its processor's number at each lock that it takes (xv6 does so a thousand times for a line
//! on its console) costs an exit each time, and where exits are dear it gets nowhere. To read a register of the local
//! APIC changes none, and all but one change only by what esp0 does between two exits. So once a kernel has read
//! it often, and since then not the timer's current count, KVM is given its page as memory that cannot be
//! written: reads cost nothing, writes are exits as before. The current count is brought up to date at each exit and
//! at least every [`REFRESH`]: a kernel that turns to it later sees it move in steps, and never stand.
//!
//! It is for the real clock. On the deterministic one an access takes time, and a run has to repeat.

use super::{Pace, Run};
use crate::devices::local_apic;
use crate::machine::MachineError;
use std::time::Duration;

/// How old what is shown of the current count may be.
pub(super) const REFRESH: Duration = Duration::from_millis(20);

impl Run {
    /// A device's memory has been read.
    pub(super) fn consider_local_apic(&mut self) -> Result<(), MachineError> {
        if matches!(self.pace, Pace::Free)
            && !self.machine.answers_reads()
            && self.devices.local_apic().is_read_like_memory()
        {
            self.machine.answer_reads(local_apic::BASE)?;
        }
        Ok(())
    }

    /// The guest goes on: what it reads is what the registers hold now.
    pub(super) fn show_local_apic(&mut self) {
        self.devices.advance_to(self.clock.now());
        self.due = self.devices.next_deadline();
        self.machine.set_answers(self.devices.local_apic().page());
    }
}
