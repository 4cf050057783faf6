//! Which interrupt is delivered at the boundary at which the vCPU stands.

use super::Run;
use super::departure::Departure;
use crate::machine::{MachineError, Vcpu};
use ia32::{State, Vector};

impl Run {
    /// Injects what waits, if the vCPU takes it at this boundary.
    #[inline]
    pub(super) fn inject_what_waits(&mut self) -> Result<(), MachineError> {
        if self.devices.nmi_pending() && self.takes_interrupts_here() {
            self.try_nmi()?;
        }
        if self.devices.interrupt_pending() && self.takes_interrupts_here() {
            self.try_interrupt()?;
        }
        Ok(())
    }

    /// The NMI waits for none in whose handler the guest is.
    #[cold]
    fn try_nmi(&mut self) -> Result<(), MachineError> {
        if let Some(state) = self.boundary_for_event(Vcpu::ready_for_nmi)? {
            self.devices.take_nmi();
            self.machine.vcpu.inject_nmi()?;
            self.injected(Vector::NMI, state);
        }
        Ok(())
    }

    fn try_interrupt(&mut self) -> Result<(), MachineError> {
        if let Some(state) = self.boundary_for_event(Vcpu::ready_for_interrupt)? {
            let vector = self.devices.acknowledge_interrupt();
            self.due = self.devices.next_deadline();
            self.machine.vcpu.inject(vector)?;
            self.injected(Vector(vector), state);
        }
        Ok(())
    }

    /// The state here, if an event can be injected here and the vCPU is `ready` for it.
    fn boundary_for_event(
        &mut self,
        ready: impl FnOnce(&mut Vcpu) -> Result<bool, MachineError>,
    ) -> Result<Option<State>, MachineError> {
        let occupied = |departure: &Departure| departure.is_interrupt() || departure.watched;
        if self.seen.departure.as_ref().is_some_and(occupied) {
            return Ok(None);
        }
        self.finish()?;
        if !ready(&mut self.machine.vcpu)? || self.must_go_on_first() {
            return Ok(None);
        }
        Ok(Some(self.machine.vcpu.state()))
    }

    /// The vCPU departs from `state` by an event that has been injected.
    pub(super) fn injected(&mut self, vector: Vector, state: State) {
        self.counters.injected += 1;
        self.seen.departure = Some(Departure::by_interrupt(vector, state));
    }

    /// An interrupt waits that could be taken at the next boundary at which interrupts are open.
    #[inline]
    pub(super) fn wants_window(&mut self) -> bool {
        self.devices.interrupt_pending()
            && self.seen.departure.as_ref().is_none_or(|departure| !departure.is_interrupt())
            && !self.must_go_on_first()
    }

    /// No event is to come between here and the next boundary: the probe here has been taken out for its instruction, or
    /// what has arrived here has not been told.
    #[inline]
    fn must_go_on_first(&mut self) -> bool {
        self.probes.is_exposed(self.machine.vcpu.instruction_address()) || self.entry_is_untold()
    }

    /// An event has arrived at the handler at which the vCPU stands, and its probe has not told it. Where the code only came
    /// round to its first instruction again, nothing has been pushed since the last stop.
    #[inline]
    fn entry_is_untold(&mut self) -> bool {
        let at = self.machine.vcpu.instruction_address();
        if !self.probes.awaits_entry(at) {
            return false;
        }
        let (state, last) = (self.machine.vcpu.state(), &self.seen.last_state);
        last.instruction_address() != at || last.general.esp != state.general.esp
    }
}
