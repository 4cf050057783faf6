//! The guest has stopped at a probe: entry, return, or task switch.

use super::{Observer, Run, Stop};
use crate::entry::{
    PendingSwitch, Scene, capture_entry, capture_return, capture_switch, event_arrived,
};
use crate::machine::{Exit, MachineError};
use crate::probe::Passed;

impl Run {
    /// Tells of the task switch that was to come, if it has.
    #[cold]
    pub(super) fn complete_switch(&mut self, observer: &mut impl Observer) {
        let state = self.machine.vcpu.state();
        let Some(pending) = self.switching.take() else { return };
        match pending.complete(&self.machine, &state) {
            Ok(switch) => {
                // A task that goes on in an outer ring does so as after a return.
                self.ring = Some(switch.ring()).filter(|ring| *ring > switch.before.cpl());
                observer.look(&self.machine, &state, Stop::Switch(&switch));
                observer.switch(&switch);
            }
            Err(pending) => self.switching = Some(pending),
        }
    }

    /// The guest stopped at a probe.
    #[inline]
    pub(super) fn stop(
        &mut self,
        address: u32,
        exit: &Exit,
        observer: &mut impl Observer,
    ) -> Result<(), MachineError> {
        self.counters.stops += 1;
        self.unfinished = matches!(exit, Exit::PortWrite { .. });
        let mut state = self.machine.vcpu.state();
        if *exit == Exit::Halt {
            // HLT left EIP behind itself; the site is where it stands.
            state.eip = state.eip.wrapping_sub(1);
        }
        let witness = if self.exact.is_some() { self.witness()? } else { None };
        // Since a return to an outer ring no kernel code has run that could have changed its IDT.
        if self.ring.is_none_or(|ring| ring == 0) {
            self.probes.follow(&mut self.machine, &state)?;
        }
        let time = self.clock.instructions();
        let scene = Scene {
            sequence: self.sequence + 1,
            time,
            injected: self.injected.take(),
            before: self.before.take(),
            ring: self.ring,
        };
        let exact = self.is_exact();
        let (mut loads_idt, mut passes_itself) = (false, false);
        if let Some(site) = self.probes.site_at(address) {
            if site.resumes {
                self.step_again = true;
                return self.probes.resumed(&mut self.machine, address, state.eip);
            }
            // In exact mode it is reported when it has been executed.
            let (iret, far_jump) = (site.iret.filter(|_| !exact), site.far_jump);
            loads_idt = site.loads_idt;
            passes_itself = self.probes.passes_itself(site);
            let arrived = !site.vectors.is_empty()
                && (site.iret.is_none()
                    || event_arrived(&self.probes, &self.machine, &site.vectors, &state, &scene));
            if arrived {
                let entry = capture_entry(&self.machine, &self.probes, &site.vectors, state, scene);
                if let Some(mut entry) = entry {
                    if let Some(witness) = witness {
                        self.complete(&mut entry, *witness);
                    }
                    self.sequence += 1;
                    self.last_state = state;
                    self.ring = None;
                    self.resuming = false;
                    observer.look(&self.machine, &entry.after, Stop::Entry(&entry));
                    observer.entry(&entry);
                }
            }
            if let Some(iret) = iret {
                let returning = &capture_return(&self.machine, &iret, state, self.sequence, time);
                self.ring = Some(returning.ring());
                self.resuming = self.clock.is_deterministic() && returning.ring() != 0;
                observer.look(&self.machine, &returning.state, Stop::Return(returning));
                observer.leave(returning);
            }
            if let Some(jump) = far_jump {
                let after = self.sequence;
                self.switching =
                    capture_switch(&self.machine, &self.probes, jump, state, after, time);
            }
        }
        let passed = if passes_itself {
            Passed::WithNextRun
        } else if exact {
            self.step_again = true;
            return self.probes.expose(&mut self.machine, address, state.eip);
        } else {
            self.probes.pass(&mut self.machine, address, state.eip)?
        };
        match passed {
            Passed::WithNextRun => {
                if self.unfinished && self.clock.is_deterministic() && state.interruptible() {
                    self.finish()?;
                    self.clock.tick();
                }
            }
            Passed::Stepped | Passed::Done => {
                if passed == Passed::Stepped {
                    self.counters.exits += 1;
                    self.counters.stepped += 1;
                }
                self.step_again = true;
                if state.interruptible() {
                    self.clock.tick();
                }
            }
            Passed::Exposed => {
                self.counters.exits += 1;
                self.step_again = true;
                // What it raises is an event from this very state.
                self.before = self.switching.is_none().then(|| Box::new(state));
                if let Some(at) = self.switching.as_ref().and_then(PendingSwitch::goes_on_in_ring_0)
                {
                    self.probes.await_resumption(&mut self.machine, at)?;
                }
            }
        }
        if loads_idt {
            let state = self.machine.vcpu.state();
            self.probes.follow(&mut self.machine, &state)?;
        }
        Ok(())
    }
}
