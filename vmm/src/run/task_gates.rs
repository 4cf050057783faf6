//! Entries by task gates, and the IRETs that go back.
//!
//! The task of a gate may come to the place where it begins by a jump of its own as well, while it runs. It is entered once until
//! TR names another TSS.

use super::departure::Departure;
use super::probed::AtProbe;
use super::{Event, Outward, Run};
use crate::entry::{capture_task_gate, capture_task_return};
use crate::machine::MachineError;
use crate::probe::{IretSite, TaskGate};
use ia32::State;

impl Run {
    /// The entry by one of `gates` that a stop shows, if it is one.
    #[cold]
    pub(super) fn task_gate_at(
        &mut self,
        gates: &[TaskGate],
        departure: Option<&Departure>,
        stop: &AtProbe,
    ) -> Option<Event> {
        let state = stop.state();
        let tr = state.tr.selector();
        self.seen.gate_task = self.seen.gate_task.filter(|tss| *tss == tr.0);
        if self.seen.gate_task.is_some() {
            return None;
        }
        let injected = departure.and_then(Departure::interrupt);
        let when = (self.seen.sequence, self.clock.counted());
        let switch = capture_task_gate(&self.machine, &self.probes, gates, &state, injected, when)?;
        self.seen.gate_task = Some(tr.0);
        self.probes.entered_by_task_gate(tr);
        self.seen.outward = Outward::default();
        Some(Event::Switch(Box::new(switch)))
    }

    /// The vCPU stands in `state` at or in front of an IRET that goes back to another task.
    #[cold]
    pub(super) fn leaves_by_link(
        &mut self,
        iret: &IretSite,
        state: &State,
    ) -> Result<(), MachineError> {
        self.seen.outward = Outward::default();
        if !self.probes.is_task_gates(state.tr.selector()) {
            return Ok(());
        }
        let when = (self.seen.sequence, self.clock.counted());
        let processor = self.machine.processor();
        if let Some(leaving) = capture_task_return(&self.machine, &processor, iret, *state, when) {
            self.probes.task_leaves(&mut self.machine, leaving.leaves())?;
            self.seen.switching = Some(leaving);
        }
        Ok(())
    }
}
