//! Between two exits, for whoever wants to see what lies there: the guest is stepped, and so reaches the place of its
//! preemption.

use super::awaited::Awaited;
use super::{MOST_STEPS, Slice};
use crate::machine::{Exit, MachineError, time_on_processor};
use crate::recording::RecordedState;
use crate::run::departure::Departure;
use crate::run::{Run, Turn};

/// Instructions between two looks for what would preempt a guest that is stepped for long: one costs more than a step.
const STEPS_BETWEEN_LOOKS: u64 = 256;

impl Run {
    /// Somebody wants to see what lies between two exits: the guest is stepped, and comes to where it was preempted
    /// by itself. Where it was in ring 3 all the time, nothing of the kernel's can have been executed.
    pub(super) fn looks_inside(&mut self) -> bool {
        if self.follows_everything() {
            return true;
        }
        if self.by_exits.next_state().is_none() || !self.probes.has_asked() {
            return false;
        }
        let in_ring_3 = self.seen.outward.ring == Some(3) && self.machine.vcpu.state().cpl() == 3;
        !in_ring_3 || self.probes.asks_ring_3(&self.machine)
    }

    /// Goes on by one instruction. All that counts is what would count if the guest ran.
    pub(super) fn step_by_exits(&mut self) -> Turn {
        self.by_exits.slice.over = false;
        self.by_exits.slice.since = time_on_processor();
        if self.seen.departure.as_ref().is_some_and(Departure::is_interrupt) {
            self.by_exits.position.at_exit = false;
            return self.run_on(false);
        }
        if let Some(disturbed) = self.owed.disturbed.take()
            && let Some(turn) = self.go_on_after_signal(disturbed)
        {
            return turn;
        }
        self.finish()?;
        let state = self.machine.vcpu.state();
        if self.by_exits.position.window
            && !self.by_exits.position.at_exit
            && state.interruptible()
            && self.machine.vcpu.ready_for_interrupt()?
        {
            return self.exited(Exit::InterruptWindow);
        }
        self.by_exits.slice.stepped += 1;
        let Slice { stepped, awaits_window, .. } = self.by_exits.slice;
        let looks = awaits_window || stepped.is_multiple_of(STEPS_BETWEEN_LOOKS);
        if stepped > MOST_STEPS && looks && self.preempt()? {
            return Ok(self.told_preempted());
        }
        self.by_exits.position.at_exit = false;
        self.step(state, false)
    }

    /// The vCPU and memory are as they were then.
    pub(super) fn stands_at(&mut self, then: &RecordedState) -> Result<bool, MachineError> {
        if self.by_exits.slice.awaited.as_ref().is_none_or(|awaited| !awaited.is(then)) {
            let base = self.by_exits.position.base.image();
            self.by_exits.slice.awaited = Awaited::new(then, base, self.machine.memory());
        }
        let now = self.machine.vcpu.state();
        let awaited = self.by_exits.slice.awaited.as_ref();
        if awaited.is_some_and(|awaited| !awaited.has_registers_of(&now)) {
            return Ok(false);
        }
        let written = self.machine.written_pages()?;
        let Some(awaited) = &mut self.by_exits.slice.awaited else { return Ok(true) };
        let (memory, patched) = (self.machine.memory(), self.probes.patched_pages());
        Ok(awaited.has_memory_of(memory, &patched, written))
    }
}
