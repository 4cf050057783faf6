//! The guest has stopped at a probe: entry, return, or task switch; then it passes.

use super::departure::{Cause, Departure};
use super::operation::expected;
use super::{Event, Outward, Pace, Phase, Run, Step, Turn};
use crate::entry::{
    Entry, Expected, Kind, PendingSwitch, Scene, Sysenter, TaskSwitch, capture_entry,
    capture_return, capture_switch, event_arrived, returns_to_a_task,
};
use crate::instruction::stepping::{Stepping, classify};
use crate::instruction::{LONGEST, is_sysenter, uses_its_stack};
use crate::machine::{Exit, LinearMemory};
use crate::probe::{Missed, NO_OP_LENGTH, Passed};
use ia32::{Eflags, State, Vector};
use std::sync::Arc;

/// The vCPU stands at a probe.
#[derive(Clone, Debug)]
pub(super) struct AtProbe {
    /// The site's address.
    address: u32,
    /// The state there; EIP is the site's.
    state: State,
    /// What has not been told yet.
    next: Untold,
}

/// What has to be told of a stop, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Untold {
    /// The site is a gate's target, or nothing of this was looked at.
    Entry,
    /// An IRET may stand there.
    Return,
    /// It may have been asked for.
    Reached,
    /// Nothing: the instruction is to happen.
    Pass,
}

impl AtProbe {
    /// The vCPU stands in `state` where it was asked to stop, and at nothing else.
    pub(super) fn reached(address: u32, state: State) -> Self {
        AtProbe { address, state, next: Untold::Reached }
    }

    /// The state there.
    pub(super) fn state(&self) -> State {
        self.state
    }
}

impl Run {
    /// The task switch that was to come, if it has.
    #[cold]
    pub(super) fn complete_switch(&mut self) -> Option<TaskSwitch> {
        let state = self.machine.vcpu.state();
        match self.seen.switching.take()?.complete(&self.machine, &state) {
            Ok(switch) => {
                self.seen.gate_task = None;
                // A task that goes on in an outer ring does so as after a return.
                self.seen.outward.ring =
                    Some(switch.ring()).filter(|ring| *ring > switch.before.cpl());
                self.seen.left_unseen |= self.seen.outward.ring.is_some();
                Some(switch)
            }
            Err(pending) => {
                self.seen.switching = Some(pending);
                None
            }
        }
    }

    /// The guest stopped at the probe at `address`.
    #[inline]
    pub(super) fn stopped_at(&mut self, address: u32, exit: &Exit) -> Turn {
        self.counters.stops += 1;
        self.stop_watching()?;
        self.owed.unfinished = matches!(exit, Exit::PortWrite { .. });
        let mut state = self.machine.vcpu.state();
        if *exit == Exit::Halt {
            // HLT left EIP after itself; the site is where it stands.
            state.eip = state.eip.wrapping_sub(1);
        }
        if state.interrupt_shadow != 0
            && let Some(departure) = &self.seen.departure
            && departure.before.interruptible()
        {
            // The shadow that was to hold until this instruction had been executed is none of the guest's,
            // whether it still waits or has entered a handler, to which some processors take the shadow along.
            self.machine.vcpu.release_interrupts();
            state.interrupt_shadow = 0;
        }
        self.seen.last_state = state;
        self.at_probe(AtProbe { address, state, next: Untold::Entry })
    }

    /// Goes on with a stop at a probe.
    #[inline]
    pub(super) fn at_probe(&mut self, mut stop: AtProbe) -> Turn {
        if stop.next == Untold::Entry {
            stop.next = Untold::Return;
            if let Some(event) = self.entry_at(&stop)? {
                self.phase = Phase::AtProbe(stop);
                return Ok(Some(event));
            }
        }
        if stop.next == Untold::Return {
            stop.next = Untold::Reached;
            if let Some(event) = self.return_at(&stop)? {
                self.phase = Phase::AtProbe(stop);
                return Ok(Some(event));
            }
        }
        if stop.next == Untold::Reached {
            stop.next = Untold::Pass;
            if self.probes.site_at(stop.address).is_some_and(|site| site.asked) {
                let event = Event::Reached(Box::new(stop.state));
                self.phase = Phase::AtProbe(stop);
                return Ok(Some(event));
            }
        }
        if let Some(ending) = self.look_at_screen() {
            self.end_if(Some(ending));
            return Ok(None);
        }
        self.pass(stop.address, stop.state)
    }

    /// The entry that a stop shows, if its site is the target of a gate.
    #[inline]
    fn entry_at(&mut self, stop: &AtProbe) -> Turn {
        let changed = match &self.seen.departure {
            Some(departure) if departure.watched => Some(self.machine.memory_changes()?),
            _ => None,
        };
        // Since a return to an outer ring no kernel code has run that could have changed its IDT. But what led there, a far
        // jump to a TSS above all, may have been left without its probe.
        if self.seen.outward.ring.is_none_or(|ring| ring == 0) || self.probes.has_exposed() {
            self.probes.follow(&mut self.machine, &stop.state)?;
        }
        let departure = self.seen.departure.take();
        // A boundary that was seen at the handler's first instruction itself was come to by a jump, or by
        // falling through: an event stops at the probe, and nowhere before.
        let jumped = |departure: &Departure| {
            !departure.is_interrupt() && departure.stands_still(&stop.state)
        };
        if departure.as_ref().is_some_and(jumped) {
            return Ok(None);
        }
        let Some(site) = self.probes.site_at(stop.address).filter(|site| !site.resumes) else {
            return Ok(None);
        };
        if site.sysenter && self.entered_by_sysenter(departure.as_ref(), &stop.state) {
            return Ok(Some(self.sysenter_at(departure, stop)));
        }
        if !site.task_gates.is_empty() {
            let gates = site.task_gates.clone();
            if let Some(event) = self.task_gate_at(&gates, departure.as_ref(), stop) {
                return Ok(Some(event));
            }
        }
        let Some(site) = self.probes.site_at(stop.address) else { return Ok(None) };
        if !site.call_gates.is_empty() {
            let gates = site.call_gates.clone();
            if let Some(event) = self.call_at(&gates, departure.as_ref(), stop) {
                return Ok(Some(event));
            }
        }
        let Some(site) = self.probes.site_at(stop.address).filter(|site| !site.vectors.is_empty())
        else {
            return Ok(None);
        };
        let switches =
            departure.as_ref().is_some_and(|departure| departure.has_another_task(&stop.state));
        let departure =
            departure.filter(|departure| !switches && !self.has_happened(departure, &stop.state));
        let ends_others = site.iret.is_some();
        let mut scene = Scene {
            sequence: self.seen.sequence + 1,
            time: self.clock.counted(),
            ring: self.seen.outward.ring,
            within_switch: switches,
            ..Scene::default()
        };
        let cause = match departure {
            Some(Departure { before, cause: Cause::Interrupt(vector), .. }) => {
                scene.injected = Some((vector, before));
                Some(Cause::Interrupt(vector))
            }
            Some(Departure { before, cause, .. }) => {
                scene.before = Some(before);
                Some(cause)
            }
            None => None,
        };
        // A bare IRET may be the default handler and the end of all others.
        let (probes, machine) = (&self.probes, &self.machine);
        if ends_others && !event_arrived(probes, machine, &site.vectors, &stop.state, &scene) {
            return Ok(None);
        }
        let unseen = scene.ring.is_none_or(|ring| ring <= stop.state.cpl());
        let entry = capture_entry(&self.machine, &self.probes, &site.vectors, stop.state, scene);
        let Some(mut entry) = entry else { return Ok(None) };
        if self.comes_of_a_jump(&entry) || self.comes_to_wait(&entry, stop.address) {
            return Ok(None);
        }
        if unseen && entry.from_outer_ring() {
            self.seen.left_unseen = true;
            self.probes.missed_return(&mut self.machine)?;
        }
        match (cause, changed) {
            (Some(cause), Some(changed)) => self.complete(&mut entry, &cause, changed),
            (Some(cause), None) => entry.expected = self.expected(&entry, &cause).map(Box::new),
            (None, _) => {}
        }
        self.seen.sequence += 1;
        self.seen.outward = Outward { entered: Some(entry.frame), ..Outward::default() };
        Ok(Some(Event::Entry(Arc::new(entry))))
    }

    /// The kernel has gone to wait, and a gate leads to that loop too: nothing is known that would have raised its vector.
    fn comes_to_wait(&self, entry: &Entry, address: u32) -> bool {
        if entry.kind != Kind::Unexplained || entry.from_outer_ring() {
            return false;
        }
        let mut code = [0; 5];
        self.probes.read_code(&self.machine.linear(), address, &mut code);
        is_waiting_loop(&code)
    }

    /// A handler has ended in a jump to another one: the words on the stack are those of the entry that is under way, and
    /// nothing is seen that can have raised one more. (Compilers make such a jump of a call that comes last.)
    fn comes_of_a_jump(&self, entry: &Entry) -> bool {
        let same_frame = self.seen.outward.entered == Some(entry.frame);
        same_frame && entry.before.is_none() && !entry.is_explained()
    }

    /// The instruction that was to happen has, and the vCPU stands in `state` at the handler of what came after it. So it
    /// is where it loads EFLAGS: with TF the guest has gone on by one instruction more. And where the guest steps itself,
    /// and the #DB after the instruction could not be delivered. Another EIP has been pushed than that of the instruction.
    #[inline]
    fn has_happened(&self, departure: &Departure, state: &State) -> bool {
        if !matches!(departure.cause, Cause::Instruction(_)) {
            return false;
        }
        let (before, linear) = (&departure.before, self.machine.linear());
        let mut code = [0; 15];
        let count = self.probes.read_code(&linear, before.instruction_address(), &mut code);
        let pushed = |at: u32| linear.read_u32(state.stack_address().wrapping_add(at));
        let goes_on = match classify(&code[..count]) {
            Stepping::LoadsFlags | Stepping::MaySwitchTasks => true,
            Stepping::Never => self.leads_to(&code[..count], before, pushed(0), pushed(4)),
            _ => before.eflags.contains(Eflags::TF) && !self.is_debug_handler(state),
        };
        goes_on && [0, 4].into_iter().all(|at| pushed(at).is_some_and(|word| word != before.eip))
    }

    /// `code` is an INT n whose gate leads to one of the EIPs that have been pushed: what came after it came at its
    /// handler's first instruction.
    fn leads_to(
        &self,
        code: &[u8],
        before: &State,
        pushed: Option<u32>,
        next: Option<u32>,
    ) -> bool {
        let [0xcd, vector, ..] = *code else { return false };
        let gate = self.probes.idt().gate(vector).filter(|gate| gate.offset != before.eip);
        gate.is_some_and(|gate| [pushed, next].contains(&Some(gate.offset)))
    }

    /// The gate of #DB leads to where the vCPU stands in `state`.
    fn is_debug_handler(&self, state: &State) -> bool {
        let site = self.probes.site_at(state.instruction_address());
        site.is_some_and(|site| site.vectors.contains(&Vector::DB.0))
    }

    /// The guest has come to the target of SYSENTER by one, and not by a jump of the kernel's.
    #[cold]
    fn entered_by_sysenter(&self, departure: Option<&Departure>, state: &State) -> bool {
        match departure {
            Some(Departure { cause: Cause::Interrupt(_), .. }) => false,
            Some(departure) => {
                let mut code = [0; 15];
                let (linear, at) = (self.machine.linear(), departure.before.instruction_address());
                let count = self.probes.read_code(&linear, at, &mut code);
                is_sysenter(&code[..count])
            }
            None => {
                self.seen.outward.ring.is_some_and(|ring| ring != 0)
                    || state.general.esp == self.seen.sysenter.esp
                        && !state.eflags.contains(Eflags::IF)
            }
        }
    }

    /// The entry by SYSENTER that a stop shows.
    #[cold]
    fn sysenter_at(&mut self, departure: Option<Departure>, stop: &AtProbe) -> Event {
        let state = stop.state;
        let linear = LinearMemory { memory: self.machine.memory(), paging: (&state).into() };
        let mut code = [0; 2 * LONGEST];
        let count = self.probes.read_code(&linear, state.instruction_address(), &mut code);
        self.seen.left_unseen |= self.seen.outward.ring.is_none_or(|ring| ring == 0);
        self.seen.outward = Outward::default();
        Event::Sysenter(Box::new(Sysenter {
            after_sequence: self.seen.sequence,
            time: self.clock.counted(),
            before: departure.map(|departure| departure.before),
            after: state,
            registers: self.seen.sysenter,
            uses_stack: uses_its_stack(&code[..count], state.eip),
            physical: linear.paging.translate(linear.memory, state.general.esp.wrapping_sub(1)),
        }))
    }

    /// What the model says that `entry` must be, which `cause` led to.
    fn expected(&self, entry: &Entry, cause: &Cause) -> Option<Expected> {
        let before = entry.before.as_ref()?;
        let mut code = [0; 15];
        let linear = LinearMemory { memory: self.machine.memory(), paging: (&**before).into() };
        let count = self.probes.read_code(&linear, before.instruction_address(), &mut code);
        expected(entry, cause, &code[..count], self.machine.memory(), &self.processor)
    }

    /// The return that a stop shows, if an IRET stands there. In exact mode each IRET is told at its own
    /// boundary.
    #[inline]
    fn return_at(&mut self, stop: &AtProbe) -> Turn {
        let Some(site) = self.probes.site_at(stop.address) else { return Ok(None) };
        if site.far_return.is_some() {
            return self.far_return_at(stop);
        }
        let Some(iret) = site.iret else { return Ok(None) };
        if self.is_exact() {
            return Ok(None);
        }
        if returns_to_a_task(&self.machine, &stop.state) {
            self.leaves_by_link(&iret, &stop.state)?;
            return Ok(None);
        }
        if self.seen.outward.ring.is_some_and(|ring| ring != 0) {
            // Ring 0 was come back to from there, and nobody saw how.
            self.probes.missed_entry(&mut self.machine, Missed::BeforeReturn(iret.address))?;
        }
        let time = self.clock.counted();
        let returning = capture_return(&self.machine, &iret, stop.state, self.seen.sequence, time);
        let ring = returning.ring();
        self.look_for_call_gates(&stop.state, ring)?;
        if ring > stop.state.cpl() {
            self.seen.called = None;
        }
        let untold = self.clock.is_deterministic() && ring != 0;
        self.seen.outward = Outward { ring: Some(ring), untold, entered: None };
        Ok(Some(Event::Return(Box::new(returning))))
    }

    /// Lets the instruction under the probe at `address` happen. It is told where everything is.
    #[inline]
    fn pass(&mut self, address: u32, state: State) -> Turn {
        let (mut loads_idt, mut passes_itself) = (false, false);
        // A place that is a site because somebody asked takes no more time than any other.
        let mut ticks = state.interruptible();
        if let Some(site) = self.probes.site_at(address) {
            if site.is_only_asked() && !matches!(self.pace, Pace::Free | Pace::Exact(_)) {
                if self.steps_at(&state) {
                    self.owed.step_again = true;
                    self.probes.expose(&mut self.machine, address, state.eip)?;
                    return Ok(None);
                }
                ticks = false;
            }
            if site.resumes {
                self.owed.step_again = true;
                self.probes.resumed(&mut self.machine, address, state.eip)?;
                return Ok(None);
            }
            loads_idt = site.loads_idt;
            passes_itself = self.probes.passes_itself(site);
            if let Some(jump) = site.far_jump {
                let time = self.clock.counted();
                self.seen.switching = capture_switch(
                    &self.machine,
                    &self.probes,
                    jump,
                    state,
                    self.seen.sequence,
                    time,
                );
                if let Some(leaves) = self.seen.switching.as_ref().map(PendingSwitch::leaves) {
                    self.probes.task_leaves(&mut self.machine, leaves)?;
                }
            }
        }
        let mut event = None;
        let passed = if passes_itself {
            if !self.owed.unfinished {
                // The vCPU was put back here: no OUT is under way that KVM would complete.
                self.machine.vcpu.set_eip(state.eip.wrapping_add(NO_OP_LENGTH));
            }
            Passed::WithNextRun
        } else if self.is_exact() {
            self.owed.step_again = true;
            self.probes.expose(&mut self.machine, address, state.eip)?;
            return Ok(None);
        } else {
            self.probes.pass(&mut self.machine, address, state.eip)?
        };
        match passed {
            Passed::WithNextRun => {
                let completes = passes_itself || self.owed.unfinished;
                if completes && self.clock.is_deterministic() && ticks {
                    self.finish()?;
                    self.clock.tick();
                }
            }
            Passed::Stepped | Passed::Done => {
                if passed == Passed::Stepped {
                    self.counters.exits += 1;
                    self.counters.stepped += 1;
                }
                self.owed.step_again = true;
                if ticks {
                    self.clock.tick();
                }
                event = self.followed_step(state);
            }
            Passed::Exposed => {
                self.counters.exits += 1;
                self.owed.step_again = true;
                // What it raises is an event from this very state, unless it leads to another task.
                let leaves = self.seen.switching.is_some()
                    || self.probes.site_at(address).is_some_and(|site| site.iret.is_some())
                        && returns_to_a_task(&self.machine, &state);
                self.seen.departure = (!leaves).then(|| Departure::by_instruction(state));
                if let Some(at) =
                    self.seen.switching.as_ref().and_then(PendingSwitch::goes_on_in_ring_0)
                {
                    self.probes.await_resumption(&mut self.machine, at)?;
                }
            }
        }
        if loads_idt {
            let state = self.machine.vcpu.state();
            self.follow_tables(&state)?;
        }
        Ok(event)
    }

    /// The instruction at `before`, which has just been executed, where everything is told.
    fn followed_step(&mut self, before: State) -> Option<Event> {
        if !self.follows_everything() {
            return None;
        }
        let mut code = [0; 15];
        let at = before.instruction_address();
        let count = self.probes.read_code(&self.machine.linear(), at, &mut code);
        let after = self.machine.vcpu.state();
        Some(Event::Step(Box::new(Step::new(before, after, &code[..count]))))
    }
}

/// CLI, STI and HLT, or none of them, and a jump back over them.
fn is_waiting_loop(code: &[u8]) -> bool {
    let body = code.iter().take_while(|byte| matches!(byte, 0xfa | 0xfb | 0xf4)).count() as u8;
    let jump = code.get(body.into()..).unwrap_or_default();
    matches!(*jump, [0xeb, back, ..] if (0xfe - body..=0xfe).contains(&back))
}

#[cfg(test)]
mod tests {
    use super::is_waiting_loop;

    #[test]
    fn a_loop_that_waits_is_told_from_a_handler() {
        for waits in [&b"\xeb\xfe"[..], b"\xf4\xeb\xfd", b"\xfa\xf4\xeb\xfc", b"\xfa\xf4\xeb\xfd"] {
            assert!(is_waiting_loop(waits), "{waits:02x?}");
        }
        for handler in [&b"\xeb\xfc"[..], b"\x60\xeb\xfe", b"\xcf", b"\xf4", b"\xf4\xeb\x10", b""] {
            assert!(!is_waiting_loop(handler), "{handler:02x?}");
        }
    }
}
