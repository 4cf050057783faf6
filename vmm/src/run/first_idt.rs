//! The first IDT of a kernel that a BIOS has booted: it is to be seen before it is used.
//!
//! It is looked for at each exit, and every 5 ms until there is one. Entries of a kernel that enters sooner would be missed, so
//! the guest is stopped where a LIDT is ahead ([`crate::probe`], `ahead.rs`), and the table is looked at once that has been executed.

use super::unjudged::FirstIdt;
use super::{Run, Turn};
use crate::boot::sector::sightings;
use crate::machine::{Exit, MachineError};
use crate::probe::{Ahead, is_32_bit};
use ia32::{Eflags, State};

/// Bytes of a sector: who reads fewer at a time is not read along.
const SECTOR: usize = 512;

impl Run {
    /// Lets the probes follow; behind a BIOS, keeps where the first IDT was found.
    #[inline]
    pub(super) fn follow_tables(&mut self, state: &State) -> Result<(), MachineError> {
        let looks = self.looks_for_idt();
        self.probes.follow(&mut self.machine, state)?;
        if looks { self.look_for_idt(state) } else { Ok(()) }
    }

    #[cold]
    fn look_for_idt(&mut self, state: &State) -> Result<(), MachineError> {
        if self.probes.idt().leads_to_code(&self.machine, state) {
            let (base, exits, eip) = (state.idtr.base, self.counters.exits, state.eip);
            let witnessed = self.seen.lidt_base == Some(base);
            self.seen.first_idt = Some(FirstIdt { base, exits, eip, witnessed });
            self.devices.kernel_begins();
            return self.probes.has_arrived(&mut self.machine);
        }
        let sightings = std::mem::take(&mut self.seen.sightings);
        if !sightings.is_empty() {
            self.probes.expect(&mut self.machine, &sightings)?;
        }
        self.probes.look_ahead(&mut self.machine, state)
    }

    /// The guest has read from a port, as many bytes as the answer has.
    #[inline]
    pub(super) fn look_at_what_is_read(&mut self) {
        if self.looks_for_idt() && self.machine.vcpu.port_data().len() >= SECTOR {
            let bytes = self.machine.vcpu.port_data().to_vec();
            self.sight(&bytes);
        }
    }

    /// These bytes come from a disk, or may do so.
    pub(super) fn sight(&mut self, bytes: &[u8]) {
        if self.looks_for_idt() {
            self.seen.sightings.extend(sightings(bytes));
        }
    }

    /// The guest has stopped where a kernel may begin, or at a LIDT.
    #[cold]
    pub(super) fn came_ahead(&mut self, what: Ahead) -> Turn {
        let state = self.machine.vcpu.state();
        self.seen.last_state = state;
        if !is_32_bit(&state) {
            // It is other code that comes by here, and the place is still ahead.
            self.machine.vcpu.set_eflags((state.eflags | Eflags::RF).0);
            return Ok(None);
        }
        self.probes.came_to(&mut self.machine, &state)?;
        self.owed.step_again = true;
        if what == Ahead::Lidt {
            // An open window would be reported in place of the step.
            self.machine.vcpu.request_interrupt_window(false);
            let mut exit = self.machine.vcpu.step(true)?;
            while exit == Exit::Interrupted {
                exit = self.machine.vcpu.step(true)?;
            }
            self.counters.exits += 1;
            let after = self.machine.vcpu.state();
            if exit != Exit::Step {
                return self.exited(exit);
            }
            self.counters.stepped += 1;
            self.seen.lidt_base = Some(after.idtr.base);
            self.follow_tables(&after)?;
        }
        Ok(None)
    }
}
