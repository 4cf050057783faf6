//! Exact mode: the state before each event is known, not inferred, and the whole of memory is
//! compared.
//!
//! The guest is stepped, with interrupts closed too. At each boundary memory is what a copy of it
//! says (see [`Machine::settle_memory`](crate::machine::Machine::settle_memory)). An instruction that
//! turns out to have raised an event is undone, registers and memory, and happens again without
//! stepping, up to the probe at its gate's target:
//!
//! ```text
//!   boundary ─► step ─┬─► boundary
//!      ▲              └─► event: put back ─► run ─► probe ─► what has changed? ─► Entry
//!      └─ nothing of the first try is left
//! ```
//! Without stepping, from a known boundary:
//! - INT n, INT3, INTO and ICEBP, which are the event themselves, and injected interrupts;
//! - IN, OUT and HLT, which leave the VM by themselves, and what stands under a probe;
//! - SYSENTER, at whose target there is a probe;
//! - SYSCALL, whose target has none, an event behind MOV SS, which a step takes along,
//!   and a far jump to a TSS, which loads an EFLAGS without TF; what is stopped at next is not seen
//!   from its boundary on;
//! - all before the first LIDT: there is no gate yet.
//!
//! A guest that steps itself is stepped too. KVM takes its TF for its own, so the flag is added again
//! afterwards, and the #DB injected.

use super::departure::{Cause, Departure};
use super::operation::{address_of_page_fault, operation};
use super::{Event as RunEvent, Outward, Pace, Phase, Run, Turn};
use crate::entry::{Entry, Exact, PendingSwitch, Returned, capture_return};
use crate::instruction::effect::raised;
use crate::instruction::stepping::{
    Stepping, classify, does_nothing, hide_trap_flag, is_far_jump, is_quiet, loads_trap_flag,
    may_be_emulated, returns_by_task_link,
};
use crate::instruction::{self, LONGEST, reads_time_stamp};
use crate::machine::{ChangedByte, Exit, MachineError};
use crate::probe::IretSite;
use ia32::{Eflags, OperandSize, State};

const PAGE: u32 = 4096;

/// What exact mode has to remember.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactState {
    /// The IRET at this boundary has been told.
    told_return: bool,
    /// The guest has an IDT, and memory is watched.
    begun: bool,
    /// The instruction at this boundary is a repeated one that has begun.
    repeating: bool,
    /// IDTR and CR3 when the probes last followed them.
    last: Option<(u32, u32, u32)>,
    /// The page of the instruction that was stepped last: it has been fetched from.
    page: Option<u32>,
    /// Since memory was last compared with its copy, no instruction can have changed it.
    quiet: bool,
}

impl Run {
    /// Goes on in exact mode, or towards its beginning.
    pub(super) fn run_exactly(&mut self) -> Turn {
        self.set_patience()?;
        if self.seen.departure.as_ref().is_some_and(|departure| departure.watched) {
            // A signal came between.
            self.machine.vcpu.request_interrupt_window(false);
            return self.run_to_exit();
        }
        self.finish()?;
        let state = self.machine.vcpu.state();
        if !self.begins_exactly(&state)? {
            return self.run_counted();
        }
        self.go_on_exactly(state)
    }

    /// Whether exact mode begins, or has begun, with the vCPU in `state`.
    fn begins_exactly(&mut self, state: &State) -> Result<bool, MachineError> {
        if self.is_exact() {
            return Ok(true);
        }
        if !state.protected() || state.idtr.limit < 7 || !self.probes.idt().is_loaded() {
            return Ok(false);
        }
        self.machine.watch_memory()?;
        if let Some(exact) = self.exact() {
            exact.begun = true;
        }
        Ok(true)
    }

    /// Exact mode has begun.
    #[inline]
    pub(super) fn is_exact(&self) -> bool {
        matches!(&self.pace, Pace::Exact(exact) if exact.begun)
    }

    fn exact(&mut self) -> Option<&mut ExactState> {
        match &mut self.pace {
            Pace::Exact(exact) => Some(exact),
            _ => None,
        }
    }

    /// Runs to the next exit.
    fn run_to_exit(&mut self) -> Turn {
        let exit = self.machine.vcpu.run()?;
        self.exited(exit)
    }

    /// Goes on by one instruction, or by one event.
    fn go_on_exactly(&mut self, state: State) -> Turn {
        self.machine.vcpu.request_interrupt_window(false);
        self.stop_watching()?;
        self.seen.last_state = state;
        self.settle(&state)?;
        if let Some(departure) = self.seen.departure.take_if(|departure| departure.is_interrupt()) {
            self.depart(departure);
            return self.run_to_exit();
        }
        let at = state.instruction_address();
        let mut bytes = [0; LONGEST];
        let count = self.probes.read_code(&self.machine.linear(), at, &mut bytes);
        if count == 0 && self.is_lost(&state) {
            return Ok(None);
        }
        let code = &bytes[..count];
        let at_site = self.probes.is_site(at);
        // What ring 3 does by IRET is no return of the kernel's.
        let iret = iret(code, &state).filter(|_| state.cpl() < 3 && !at_site);
        let told = self.exact().is_some_and(|exact| std::mem::take(&mut exact.told_return));
        if let (Some(iret), false) = (&iret, told) {
            return self.tell_return(iret, state).map(Some);
        }
        if (self.due.is_some() || self.devices.interrupt_pending()) && state.interruptible() {
            self.clock.tick();
        }
        if at_site {
            self.seen.departure = Some(Departure::by_instruction(state));
            self.owed.step_again = true;
            return self.run_to_exit();
        }
        if reads_time_stamp(code) {
            self.seen.time_stamp.get_or_insert(at);
        }
        let class = classify(code);
        let own_step = state.eflags.contains(Eflags::TF);
        // With the guest's own TF behind the instruction.
        let keeps_trap_flag = match class {
            Stepping::LoadsFlags => loads_trap_flag(&state, &self.machine.linear(), code),
            _ => own_step,
        };
        if self.seen.switching.is_some() && is_far_jump(code) {
            return self.switch_natively();
        }
        let seen = !own_step && self.probes.stops_sysenter(code);
        if class == Stepping::EntersWithoutGate && !seen || returns_by_task_link(&state, code) {
            return self.run_unseen();
        }
        let native = match class {
            Stepping::Never => !does_nothing(&state, code),
            class => class == Stepping::EntersWithoutGate,
        };
        if native {
            return self.run_natively(state, code);
        }
        let snapshot = self.machine.vcpu.snapshot();
        let exit = self.machine.vcpu.step(self.owed.step_again || own_step)?;
        // What KVM emulates may lose TF: KVM adds it only at the EIP at which stepping was set.
        self.owed.step_again = class != Stepping::Plain || may_be_emulated(code);
        let mut after = self.machine.vcpu.state();
        match exit {
            Exit::Step if !raised(&state, &after, code) => {
                self.counters.stepped += 1;
                self.counters.exits += 1;
                if class == Stepping::PushesFlags && !own_step {
                    hide_trap_flag(&mut self.machine.linear_mut(), &after);
                }
                if keeps_trap_flag {
                    after.eflags = after.eflags | Eflags::TF;
                    self.machine.vcpu.set_eflags(after.eflags.0);
                }
                let returned = iret.map(|iret| self.returned_by(&iret, state, &after));
                let returned = returned.transpose()?;
                if let Some(exact) = self.exact() {
                    exact.repeating = after.eip == state.eip && after.general != state.general;
                    // Its own fetch marks no page as accessed that has just been fetched from.
                    let pages = [at, at.wrapping_add(LONGEST as u32)].map(|at| at / PAGE);
                    let wide = state.cs().big() && !state.virtual_8086();
                    exact.quiet =
                        !own_step && pages.map(Some) == [exact.page; 2] && is_quiet(code, wide);
                    exact.page = Some(pages[0]);
                }
                if own_step {
                    self.phase = Phase::OwnStep(Box::new(after));
                }
                Ok(returned)
            }
            Exit::MemoryRead { .. }
            | Exit::MemoryWrite { .. }
            | Exit::MsrRead { .. }
            | Exit::MsrWrite { .. }
            | Exit::Interrupted
            | Exit::Shutdown
            | Exit::InternalError { .. } => {
                self.owed.step_again = true;
                self.exited(exit)
            }
            _ => {
                self.machine.vcpu.restore(&snapshot);
                self.machine.rewind_memory()?;
                if class == Stepping::TakesNextAlong {
                    return self.run_unseen();
                }
                self.run_natively(state, code)
            }
        }
    }

    /// Lets the far jump to a TSS happen that was announced at its probe. The new task loads an EFLAGS
    /// without TF, so it is stopped by a probe where it goes on in ring 0; in ring 3 it runs to its
    /// next exit.
    fn switch_natively(&mut self) -> Turn {
        self.owed.step_again = true;
        self.seen.departure = None;
        if let Some(at) = self.seen.switching.as_ref().and_then(PendingSwitch::goes_on_in_ring_0) {
            self.probes.await_resumption(&mut self.machine, at)?;
            self.machine.settle_own_writes();
        }
        self.run_to_exit()
    }

    /// The guest steps itself, and KVM has done the step: the #DB after it is due in state `after`.
    pub(super) fn trap_own_step(&mut self, after: State) -> Turn {
        self.machine.settle_memory()?;
        self.machine.vcpu.reflect_single_step()?;
        self.depart(Departure { before: Box::new(after), cause: Cause::OwnStep, watched: true });
        self.run_to_exit()
    }

    /// Takes in what has changed since the last boundary, and lets the probes follow.
    fn settle(&mut self, state: &State) -> Result<(), MachineError> {
        let quiet = self.exact().is_some_and(|exact| std::mem::take(&mut exact.quiet));
        let changed = !quiet && self.machine.settle_memory()?;
        let tables = (state.idtr.base, u32::from(state.idtr.limit), state.cr3);
        let Some(exact) = self.exact() else { return Ok(()) };
        let moved = exact.last != Some(tables);
        exact.last = Some(tables);
        if changed || moved || self.probes.has_exposed() {
            self.probes.follow(&mut self.machine, state)?;
            self.machine.settle_own_writes();
        }
        Ok(())
    }

    /// The vCPU is let go, and must come to a probe before anything else does.
    fn depart(&mut self, departure: Departure) {
        self.owed.step_again = true;
        self.seen.departure = Some(Departure { watched: true, ..departure });
        if let Some(exact) = self.exact() {
            exact.page = None;
        }
    }

    /// Lets the instruction at this boundary happen without stepping.
    fn run_natively(&mut self, state: State, code: &[u8]) -> Turn {
        let cause = Cause::Instruction(code.to_vec());
        self.depart(Departure { before: Box::new(state), cause, watched: true });
        self.run_to_exit()
    }

    /// Lets the guest run from this boundary. The state before what it stops at next is not known.
    fn run_unseen(&mut self) -> Turn {
        self.owed.step_again = true;
        self.seen.departure = None;
        if let Some(exact) = self.exact() {
            exact.page = None;
        }
        self.run_to_exit()
    }

    /// Adds to `entry`, which `cause` led to from its state before, what it changed in memory.
    #[cold]
    pub(super) fn complete(&mut self, entry: &mut Entry, cause: &Cause, changed: Vec<ChangedByte>) {
        let Some(before) = entry.before.as_deref() else { return };
        let mut before = *before;
        let Some(exact) = self.exact() else { return };
        let repeating = std::mem::take(&mut exact.repeating);
        let code: &[u8] = match cause {
            Cause::Instruction(code) => code,
            Cause::Interrupt(_) | Cause::OwnStep => &[],
        };
        let Some(operation) = operation(cause, code, &before, entry, repeating) else { return };
        before.cr2 = address_of_page_fault(entry, &operation).unwrap_or(before.cr2);
        entry.exact = Some(Box::new(Exact::record(
            operation,
            before,
            &entry.after,
            self.processor,
            self.machine.memory_before(),
            changed,
            code,
        )));
    }

    /// Tells of the IRET at this boundary.
    fn tell_return(&mut self, iret: &IretSite, state: State) -> Result<RunEvent, MachineError> {
        let time = self.clock.counted();
        let returning = capture_return(&self.machine, iret, state, self.seen.sequence, time);
        self.look_for_call_gates(&state, returning.ring())?;
        self.machine.settle_own_writes();
        if returning.ring() > state.cpl() {
            self.seen.called = None;
        }
        self.seen.outward = Outward { ring: Some(returning.ring()), ..Outward::default() };
        if let Some(exact) = self.exact() {
            exact.told_return = true;
        }
        Ok(RunEvent::Return(Box::new(returning)))
    }

    /// What the IRET at `before` did, which has led to `after`.
    fn returned_by(
        &mut self,
        iret: &IretSite,
        before: State,
        after: &State,
    ) -> Result<RunEvent, MachineError> {
        let changed = self.machine.memory_changes()?;
        let size = if iret.word_size == 2 { OperandSize::Bits16 } else { OperandSize::Bits32 };
        let exact = Exact::record(
            ia32::Iret { size, length: iret.length }.into(),
            before,
            after,
            self.processor,
            self.machine.memory_before(),
            changed,
            &[],
        );
        let (after_sequence, time) = (self.seen.sequence, self.clock.counted());
        let returned = Returned { after_sequence, time, exact, after: *after };
        Ok(RunEvent::Returned(Box::new(returned)))
    }
}

impl ExactState {
    /// Memory has been put back: it is to be compared.
    pub(super) fn forget_quiet(&mut self) {
        self.quiet = false;
        self.page = None;
    }

    /// The exit was another than the one that was waited for.
    pub(super) fn forget(&mut self) {
        self.repeating = false;
    }
}

/// The IRET that `code` begins with.
fn iret(code: &[u8], state: &State) -> Option<IretSite> {
    let ia32::Iret { size, length } = instruction::iret(code, state)?;
    let address = state.instruction_address();
    Some(IretSite { address, probe_address: address, word_size: size.bytes(), length })
}
