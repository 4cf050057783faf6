//! From boundary to boundary by the deterministic clock: where an interrupt could be taken the guest is
//! stepped, elsewhere it runs.

use super::step::{Stepping, classify};
use super::{Observer, Run, Stop};
use crate::machine::{Exit, MachineError};
use crate::probe::{loads_trap_flag, raised_event};
use ia32::{Eflags, State};
use std::time::Instant;

impl Run {
    /// Goes on by the deterministic clock: steps where an interrupt could be taken, and runs where
    /// none can. None if an instruction was stepped and nothing else happened.
    pub(super) fn deterministic(
        &mut self,
        observer: &mut impl Observer,
    ) -> Result<Option<Exit>, MachineError> {
        if self.alarm_at.is_none() {
            self.alarm_at = Some(u64::MAX);
            let patience = self.give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
            self.machine.vcpu.set_alarm(patience)?;
        }
        if self.exact.is_some() {
            if !self.event_is_pending() {
                self.finish()?;
            }
            let state = self.machine.vcpu.state();
            if self.begin_exact(&state)? {
                let time_passes = self.due.is_some() || self.devices.interrupt_pending();
                let counts = time_passes && state.interruptible();
                return self.go_on_exactly(state, counts, observer);
            }
        }
        if self.injected.is_some() {
            self.machine.vcpu.request_interrupt_window(false);
            return self.machine.vcpu.run().map(Some);
        }
        let waiting = self.devices.interrupt_pending();
        let timed = self.due.is_some();
        if !timed && !waiting {
            self.machine.vcpu.request_interrupt_window(false);
            return self.run_watched().map(Some);
        }
        self.stop_watching()?;
        self.finish()?;
        let state = self.machine.vcpu.state();
        let stepped = state.interruptible() || self.follows_kernel && state.cpl() == 0;
        if !stepped {
            self.machine.vcpu.request_interrupt_window(true);
            return self.machine.vcpu.run().map(Some);
        }
        self.step(state, observer)
    }

    /// Executes one instruction at a boundary where an interrupt could be taken.
    fn step(
        &mut self,
        state: State,
        observer: &mut impl Observer,
    ) -> Result<Option<Exit>, MachineError> {
        let at = state.instruction_address();
        let mut code = [0; 15];
        let count = self.probes.read_code(&self.machine.linear(), at, &mut code);
        if count == 0 && self.is_lost(&state) {
            return Ok(None);
        }
        let class = classify(&code[..count]);
        if class == Stepping::MaySwitchTasks {
            let exit = self.run_one(state)?;
            // What comes next may be an event of another task, from another state.
            self.before = None;
            return Ok(Some(exit));
        }
        let steps_itself = state.eflags.contains(Eflags::TF)
            || (class == Stepping::LoadsFlags
                && loads_trap_flag(&state, &self.machine.linear(), &code[..count]));
        if class == Stepping::EntersWithoutGate {
            let exit = self.run_one(state)?;
            self.before = None;
            return Ok(Some(exit));
        }
        if class == Stepping::Never || steps_itself || self.probes.is_site(at) {
            return self.run_one(state).map(Some);
        }
        self.machine.vcpu.request_interrupt_window(false);
        let snapshot = self.machine.vcpu.snapshot();
        self.last_state = state;
        let exit = self.machine.vcpu.step(self.step_again)?;
        self.step_again = class == Stepping::LoadsFlags;
        let after = self.machine.vcpu.state();
        match exit {
            Exit::Step if !raised_event(&state, &after, &code[..count]) => {
                if class == Stepping::PushesFlags {
                    self.hide_trap_flag(&after);
                }
                self.counters.stepped += 1;
                self.counters.exits += 1;
                if state.interruptible() {
                    self.clock.tick();
                }
                if self.follows_kernel && state.cpl() == 0 {
                    let (before, code) = (&state, &code[..count]);
                    observer.look(&self.machine, &after, Stop::Step { before, code });
                }
                Ok(None)
            }
            Exit::MemoryRead { .. } | Exit::MemoryWrite { .. } => {
                self.clock.tick();
                self.step_again = true;
                Ok(Some(exit))
            }
            Exit::Interrupted | Exit::Shutdown | Exit::InternalError { .. } => {
                self.step_again = true;
                Ok(Some(exit))
            }
            _ => {
                // The instruction raised an event, and its frame was pushed under stepping: let it
                // happen again without.
                self.machine.vcpu.restore(&snapshot);
                let exit = self.run_one(state)?;
                if class == Stepping::TakesNextAlong {
                    self.before = None;
                }
                Ok(Some(exit))
            }
        }
    }

    /// Lets the instruction at this boundary happen without stepping. An interrupt shadow keeps KVM
    /// from reporting the open window before it has.
    fn run_one(&mut self, state: State) -> Result<Exit, MachineError> {
        self.step_again = true;
        if state.interruptible() {
            self.clock.tick();
            self.machine.vcpu.hold_interrupts_for_one_instruction();
        }
        self.before = Some(Box::new(state));
        self.last_state = state;
        self.machine.vcpu.request_interrupt_window(true);
        self.machine.vcpu.run()
    }

    /// PUSHF under stepping has pushed a TF that is not the guest's.
    pub(super) fn hide_trap_flag(&self, after: &State) {
        let linear = self.machine.linear();
        let at = after.stack_address().wrapping_add(1);
        let mut byte = [0];
        if linear.read(at, &mut byte).is_some() {
            let _ = linear.write(at, &[byte[0] & !1]);
        }
    }

    /// The instruction that was to happen has not.
    pub(super) fn stands_still(&mut self) -> bool {
        let now = self.machine.vcpu.state();
        self.before.as_ref().is_some_and(|before| {
            before.eip == now.eip && before.cpl() == now.cpl() && before.general == now.general
        })
    }
}
