//! From boundary to boundary by the deterministic clock: where an interrupt could be taken the guest is
//! stepped, elsewhere it runs.

use super::departure::Departure;
use super::probed::AtProbe;
use super::{Disturbed, Event, Follow, Pace, Phase, Run, Step, Turn};
use crate::entry::{capture_switch, far_call};
use crate::instruction::effect::raised_event;
use crate::instruction::reads_time_stamp;
use crate::instruction::stepping::{
    Stepping, classify, does_nothing, hide_trap_flag, loads_trap_flag, may_be_emulated,
    returns_by_task_link,
};
use crate::machine::{Exit, MachineError};
use crate::probe::Site;
use ia32::{Eflags, State};

impl Run {
    /// Goes on by the deterministic clock: steps where an interrupt could be taken, and runs where
    /// none can.
    pub(super) fn run_counted(&mut self) -> Turn {
        self.set_patience()?;
        if self.seen.departure.as_ref().is_some_and(Departure::is_interrupt) {
            return self.run_on(false);
        }
        if let Some(disturbed) = self.owed.disturbed.take()
            && let Some(turn) = self.go_on_after_signal(disturbed)
        {
            return turn;
        }
        let timed = self.due.is_some() || self.devices.interrupt_pending();
        let everything = matches!(self.pace, Pace::Counted { follow: Follow::Everything });
        if !timed && !everything {
            self.watch()?;
            return self.run_on(false);
        }
        self.stop_watching()?;
        self.finish()?;
        let state = self.machine.vcpu.state();
        let stops_here = timed && state.interruptible();
        if !stops_here && !self.follows(&state) {
            return self.run_on(timed);
        }
        self.step(state, stops_here)
    }

    /// The instruction at `state` is stepped.
    pub(super) fn steps_at(&self, state: &State) -> bool {
        let timed = self.due.is_some() || self.devices.interrupt_pending();
        (self.clock.is_deterministic() && timed && state.interruptible()) || self.follows(state)
    }

    /// Lets the guest run to its next exit, or to the next boundary at which an interrupt would be taken.
    pub(super) fn run_on(&mut self, window: bool) -> Turn {
        self.machine.vcpu.request_interrupt_window(window);
        let exit = self.machine.vcpu.run()?;
        self.exited(exit)
    }

    /// The instruction at `state` is to be told.
    pub(super) fn follows(&self, state: &State) -> bool {
        match self.pace {
            Pace::Counted { follow: Follow::Everything }
            | Pace::ByExits { follow: Follow::Everything } => true,
            Pace::Counted { follow: Follow::Kernel } => {
                state.cpl() == 0 && self.devices.timer_is_the_guests()
            }
            _ => false,
        }
    }

    /// Executes one instruction, which takes time if `counts`.
    pub(super) fn step(&mut self, state: State, counts: bool) -> Turn {
        let at = state.instruction_address();
        let mut code = [0; 15];
        let count = self.probes.read_code(&self.machine.linear(), at, &mut code);
        if count == 0 && self.is_lost(&state) {
            return Ok(None);
        }
        if self.probes.site_at(at).is_some_and(Site::is_only_asked) && self.probes.is_site(at) {
            self.phase = Phase::AtProbe(AtProbe::reached(at, state));
            return Ok(None);
        }
        if reads_time_stamp(&code[..count]) {
            self.seen.time_stamp.get_or_insert(at);
        }
        let mut class = classify(&code[..count]);
        let own_step = state.eflags.contains(Eflags::TF);
        if class == Stepping::EntersWithoutGate
            && !own_step
            && self.probes.stops_sysenter(&code[..count])
        {
            class = Stepping::Never;
        }
        if class == Stepping::MaySwitchTasks
            && state.cpl() > 0
            && !own_step
            && self.probes.stops_calls()
            && far_call(&code[..count]).is_some()
            && !self.switches_tasks(at, &state)
        {
            // It comes to a call gate's probe, or to a fault.
            class = Stepping::Never;
        }
        // Where each instruction is told, those that can be stepped are.
        let steps_on = self.follows(&state);
        if steps_on && class == Stepping::MaySwitchTasks && !self.switches_tasks(at, &state) {
            class = Stepping::Plain;
        }
        if returns_by_task_link(&state, &code[..count]) {
            class = Stepping::MaySwitchTasks;
        }
        let enters = steps_on && class == Stepping::EntersWithoutGate;
        if matches!(class, Stepping::MaySwitchTasks | Stepping::EntersWithoutGate) && !enters {
            let exit = self.run_one(state, counts)?;
            // What comes next may be an event of another task, or has nothing to do with this state.
            self.seen.departure = None;
            return self.exited(exit);
        }
        let steps_itself = own_step
            || (class == Stepping::LoadsFlags
                && loads_trap_flag(&state, &self.machine.linear(), &code[..count]));
        if state.eflags.contains(Eflags::RF)
            && self.probes.site_at(at).is_some_and(|site| site.asked)
        {
            // Some models push RF for an interrupt, and its return would hide the breakpoint.
            self.machine.vcpu.set_eflags(state.eflags.0 & !Eflags::RF.0);
        }
        // Nothing would stop the guest behind one that leaves the VM in no way.
        let leaves = class == Stepping::Never && !does_nothing(&state, &code[..count]);
        if leaves || steps_itself || self.probes.is_site(at) {
            let exit = self.run_one(state, counts)?;
            return self.exited(exit);
        }
        self.machine.vcpu.request_interrupt_window(false);
        let snapshot = self.machine.vcpu.snapshot();
        self.seen.last_state = state;
        let exit = self.machine.vcpu.step(self.owed.step_again)?;
        // Where KVM executes an instruction itself, such as the MOV CR0 that switches paging on or the end of a `rep outs`, TF may
        // be gone behind it.
        self.owed.step_again = matches!(class, Stepping::LoadsFlags | Stepping::Never)
            || may_be_emulated(&code[..count]);
        let after = self.machine.vcpu.state();
        match exit {
            Exit::Step if enters || !raised_event(&state, &after, &code[..count]) => {
                if class == Stepping::PushesFlags {
                    hide_trap_flag(&mut self.machine.linear_mut(), &after);
                }
                self.counters.stepped += 1;
                self.counters.exits += 1;
                if counts {
                    self.clock.tick();
                }
                let told = self.follows(&state);
                Ok(told.then(|| Event::Step(Box::new(Step::new(state, after, &code[..count])))))
            }
            // What has been begun is finished: it is not put back.
            Exit::MemoryRead { .. }
            | Exit::MemoryWrite { .. }
            | Exit::MsrRead { .. }
            | Exit::MsrWrite { .. } => {
                if counts {
                    self.clock.tick();
                }
                self.owed.step_again = true;
                self.exited(exit)
            }
            // Nothing was executed; or a MOV SS, with which the next instruction counts as one.
            Exit::Interrupted => {
                self.owed.step_again = true;
                if class == Stepping::TakesNextAlong {
                    self.owed.disturbed = Some(Disturbed::default());
                }
                Ok(None)
            }
            Exit::Shutdown | Exit::InternalError { .. } => {
                self.owed.step_again = true;
                self.exited(exit)
            }
            _ => {
                // The instruction raised an event, and its frame was pushed under stepping: let it
                // happen again without.
                self.machine.vcpu.restore(&snapshot);
                let exit = self.run_one(state, counts)?;
                if class == Stepping::TakesNextAlong {
                    self.seen.departure = None;
                }
                self.exited(exit)
            }
        }
    }

    /// Lets the instruction at this boundary happen without stepping. An interrupt shadow keeps KVM
    /// from reporting the open window before it has.
    fn run_one(&mut self, state: State, counts: bool) -> Result<Exit, MachineError> {
        self.owed.step_again = true;
        self.seen.departure = Some(Departure::by_instruction(state));
        self.seen.last_state = state;
        self.let_happen(state, counts)
    }

    /// Lets the instruction at `state`, which the vCPU departs from, happen.
    fn let_happen(&mut self, state: State, counts: bool) -> Result<Exit, MachineError> {
        if state.interruptible() {
            self.machine.vcpu.hold_interrupts_for_one_instruction();
        }
        self.machine.vcpu.request_interrupt_window(true);
        let exit = self.machine.vcpu.run()?;
        if exit == Exit::Interrupted {
            let now = self.machine.vcpu.state();
            if self.seen.departure.as_ref().is_some_and(|departure| departure.stands_still(&now)) {
                self.owed.disturbed = Some(Disturbed { owes_tick: counts, has_run: false });
                return Ok(exit);
            }
            self.owed.disturbed = Some(Disturbed { owes_tick: false, has_run: true });
        }
        if counts {
            self.clock.tick();
        }
        Ok(exit)
    }

    /// What a signal has cut short goes on. None if the boundary that the vCPU stands at is one like any other.
    ///
    /// An event may have been delivered, with its probe to come next: a look at this boundary would be taken for
    /// a jump to the handler.
    pub(super) fn go_on_after_signal(&mut self, disturbed: Disturbed) -> Option<Turn> {
        let state = self.machine.vcpu.state();
        let waits = |departure: &&Departure| departure.stands_still(&state);
        if let Some(departure) = self.seen.departure.as_ref().filter(waits) {
            let before = *departure.before;
            let exit = self.let_happen(before, disturbed.owes_tick);
            return Some(exit.and_then(|exit| self.exited(exit)));
        }
        if self.probes.is_site(state.instruction_address()) {
            return Some(self.run_on(false));
        }
        // It has been executed, and what comes next does not come of it.
        if self.seen.departure.as_ref().is_some_and(|departure| !departure.is_interrupt()) {
            self.seen.departure = None;
        }
        None
    }

    /// The far jump or call at `at` leads to a TSS.
    fn switches_tasks(&self, at: u32, state: &State) -> bool {
        let time = self.clock.counted();
        capture_switch(&self.machine, &self.probes, at, *state, self.seen.sequence, time).is_some()
    }
}
