//! What a run can be asked, and told, between two events.

use super::departure::Departure;
use super::{Phase, Run};
use crate::machine::MachineError;
use ia32::{State, Vector};

impl Run {
    /// The registers, as they are now.
    pub fn state(&mut self) -> State {
        match &self.phase {
            Phase::AtProbe(stop) => stop.state(),
            Phase::Ended(end) => end.state,
            _ => self.state_without_own_shadow(),
        }
    }

    /// The registers without the interrupt shadow under which an instruction is let happen, if it has not happened yet:
    /// an access to a device is told while it is under way.
    fn state_without_own_shadow(&mut self) -> State {
        let mut state = self.machine.vcpu.state();
        let under_way = |departure: &Departure| {
            departure.before.interruptible() && departure.stands_still(&state)
        };
        if self.seen.departure.as_ref().is_some_and(under_way) {
            state.interrupt_shadow = 0;
        }
        state
    }

    /// Changes general registers, EIP and EFLAGS to those of `state`. A guest that is moved away from an
    /// instruction does not execute it.
    ///
    /// # Errors
    /// [`MachineError`] if KVM cannot finish the access that the last event was told at.
    pub fn set_registers(&mut self, state: &State) -> Result<(), MachineError> {
        self.leave_stop()?;
        self.machine.vcpu.set_registers(state);
        self.owed.step_again = true;
        Ok(())
    }

    /// Replaces bytes of memory by linear address; none if any of them is not mapped.
    pub fn write_linear(&mut self, address: u32, bytes: &[u8]) -> Option<()> {
        self.machine.linear_mut().write(address, bytes)
    }

    /// Replaces bytes of memory by physical address; none if any of them is no RAM.
    pub fn write_physical(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        self.machine.write_memory(address, bytes)
    }

    /// Delivers an external interrupt at this boundary. False if the guest takes none here: IF is clear, or
    /// an instruction holds interrupts off.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses it.
    pub fn inject(&mut self, vector: u8) -> Result<bool, MachineError> {
        self.leave_stop()?;
        self.finish()?;
        if self.seen.departure.is_some() {
            return Ok(false);
        }
        let state = self.machine.vcpu.state();
        if !state.interruptible() {
            return Ok(false);
        }
        if !self.machine.vcpu.ready_for_interrupt()? {
            return Ok(false);
        }
        self.machine.vcpu.inject(vector)?;
        self.injected(Vector(vector), state);
        Ok(true)
    }

    /// Tells [`Event::Reached`](super::Event::Reached) at the linear address `address` from now on, each time
    /// before the instruction there; or no more.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    pub fn stop_at(&mut self, address: u32, on: bool) -> Result<(), MachineError> {
        self.probes.ask(&mut self.machine, address, on)
    }

    /// Stops nowhere that somebody asked for: a checkpoint has what was asked for when it was taken.
    pub(crate) fn stop_nowhere(&mut self) -> Result<(), MachineError> {
        for address in self.probes.asked() {
            self.stop_at(address, false)?;
        }
        Ok(())
    }

    /// The vCPU stands at its probe as if nothing were there: the instruction is taken up again when it goes
    /// on, and the stop is not told a second time.
    fn leave_stop(&mut self) -> Result<(), MachineError> {
        if let Phase::AtProbe(stop) = &self.phase {
            let state = stop.state();
            let address = state.instruction_address();
            self.owed.unfinished = false;
            self.phase = Phase::Ready;
            self.probes.expose(&mut self.machine, address, state.eip)?;
        }
        Ok(())
    }
}
