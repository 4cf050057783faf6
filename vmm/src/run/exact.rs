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
//! - SYSENTER and SYSCALL, whose target has no probe, an event behind MOV SS, which a step takes along,
//!   and a far jump to a TSS, which loads an EFLAGS without TF; what is stopped at next is not seen
//!   from its boundary on;
//! - all before the first LIDT: there is no gate yet.
//!
//! A guest that steps itself is stepped too. KVM takes its TF for its own, so the flag is added again
//! afterwards, and the #DB injected.

use super::departure::{Cause, Departure};
use super::stepping::{Stepping, classify, is_quiet};
use super::{Event as RunEvent, Outward, Pace, Phase, Run, Turn};
use crate::entry::{Entry, Exact, Kind, PendingSwitch, Returned, capture_return};
use crate::machine::{ChangedByte, Exit, MachineError};
use crate::probe::{Iret, loads_trap_flag, raised_event};
use ia32::{Class, Eflags, Event, OperandSize, Operation, State, Vector, Word};
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Register};

/// SDM vol. 2, "Instruction format".
const LONGEST_INSTRUCTION: u32 = 15;
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
        if self.departure.as_ref().is_some_and(|departure| departure.watched) {
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
        self.last_state = state;
        self.settle(&state)?;
        if let Some(departure) = self.departure.take_if(|departure| departure.is_interrupt()) {
            self.depart(departure);
            return self.run_to_exit();
        }
        let at = state.instruction_address();
        let mut bytes = [0; LONGEST_INSTRUCTION as usize];
        let count = self.probes.read_code(&self.machine.linear(), at, &mut bytes);
        if count == 0 && self.is_lost(&state) {
            return Ok(None);
        }
        let code = &bytes[..count];
        let at_site = self.probes.is_site(at);
        // What ring 3 does by IRET is no return of the kernel's.
        let iret = iret(&state, code, at).filter(|_| state.cpl() < 3 && !at_site);
        let told = self.exact().is_some_and(|exact| std::mem::take(&mut exact.told_return));
        if let (Some(iret), false) = (&iret, told) {
            return Ok(Some(self.tell_return(iret, state)));
        }
        if (self.due.is_some() || self.devices.interrupt_pending()) && state.interruptible() {
            self.clock.tick();
        }
        if at_site {
            self.departure = Some(Departure::by_instruction(state));
            self.step_again = true;
            return self.run_to_exit();
        }
        let class = classify(code);
        let own_step = state.eflags.contains(Eflags::TF);
        // With the guest's own TF behind the instruction.
        let keeps_trap_flag = match class {
            Stepping::LoadsFlags => loads_trap_flag(&state, &self.machine.linear(), code),
            _ => own_step,
        };
        if self.switching.is_some() && is_far_jump(code) {
            return self.switch_natively();
        }
        if class == Stepping::EntersWithoutGate {
            return self.run_unseen();
        }
        let native = class == Stepping::Never && !does_nothing(&state, code);
        if native {
            return self.run_natively(state, code);
        }
        let snapshot = self.machine.vcpu.snapshot();
        let exit = self.machine.vcpu.step(self.step_again || own_step)?;
        // What KVM emulates may lose TF: KVM adds it only at the EIP at which stepping was set.
        self.step_again = class != Stepping::Plain || may_be_emulated(code);
        let mut after = self.machine.vcpu.state();
        match exit {
            Exit::Step if !raised(&state, &after, code) => {
                self.counters.stepped += 1;
                self.counters.exits += 1;
                if class == Stepping::PushesFlags && !own_step {
                    self.hide_trap_flag(&after);
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
                    let pages = [at, at.wrapping_add(LONGEST_INSTRUCTION)].map(|at| at / PAGE);
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
            | Exit::Interrupted
            | Exit::Shutdown
            | Exit::InternalError { .. } => {
                self.step_again = true;
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
        self.step_again = true;
        self.departure = None;
        if let Some(at) = self.switching.as_ref().and_then(PendingSwitch::goes_on_in_ring_0) {
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
        self.step_again = true;
        self.departure = Some(Departure { watched: true, ..departure });
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
        self.step_again = true;
        self.departure = None;
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
        let Some(operation) = operation(cause, &before, entry, repeating) else { return };
        if entry.vector == Vector::PF
            && matches!(operation, Operation::Event(Event { kind: ia32::Kind::Fault, .. }))
        {
            // It is raised by the access, and delivered as it stands.
            before.cr2 = entry.after.cr2;
        }
        let code: &[u8] = match cause {
            Cause::Instruction(code) => code,
            Cause::Interrupt(_) | Cause::OwnStep => &[],
        };
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
    fn tell_return(&mut self, iret: &Iret, state: State) -> RunEvent {
        let time = self.clock.instructions();
        let returning = capture_return(&self.machine, iret, state, self.sequence, time);
        self.outward = Outward { ring: Some(returning.ring()), untold: false };
        if let Some(exact) = self.exact() {
            exact.told_return = true;
        }
        RunEvent::Return(returning)
    }

    /// What the IRET at `before` did, which has led to `after`.
    fn returned_by(
        &mut self,
        iret: &Iret,
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
        let (after_sequence, time) = (self.sequence, self.clock.instructions());
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

/// What the model is to be asked of an entry that came from `before`, in front of `code`; none if it is nothing that
/// it covers.
#[cfg(feature = "program")]
pub(crate) fn operation_of(entry: &Entry, before: &State, code: &[u8]) -> Option<Operation> {
    let cause = match entry.kind {
        Kind::External => Cause::Interrupt(entry.vector),
        _ => Cause::Instruction(code.to_vec()),
    };
    operation(&cause, before, entry, false)
}

/// What the model is to be asked; none if this is nothing that it covers.
fn operation(cause: &Cause, before: &State, entry: &Entry, repeating: bool) -> Option<Operation> {
    let code = match cause {
        Cause::Interrupt(vector) => {
            return Some(Event { repeating, ..Event::external(vector.0) }.into());
        }
        Cause::OwnStep => return Some(Event::trap(Vector::DB).into()),
        Cause::Instruction(code) => code,
    };
    let bitness = if before.cs().big() && !before.virtual_8086() { 32 } else { 16 };
    let mut decoder = Decoder::with_ip(bitness, code, 0, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let length = instruction.len() as u8;
    let software = |event: Event| {
        let ia32::Kind::Software { instruction, .. } = event.kind else { return event };
        Event { kind: ia32::Kind::Software { instruction, length }, ..event }
    };
    match instruction.code() {
        Code::Int_imm8 => return Some(software(Event::int(instruction.immediate8())).into()),
        Code::Int3 => return Some(software(Event::int3()).into()),
        Code::Into => return Some(software(Event::into()).into()),
        Code::Int1 => {
            let kind = ia32::Kind::Icebp { length };
            return Some(Event { kind, ..Event::icebp() }.into());
        }
        Code::Iretd => {
            return Some(ia32::Iret { size: OperandSize::Bits32, length }.into());
        }
        Code::Iretw => {
            return Some(ia32::Iret { size: OperandSize::Bits16, length }.into());
        }
        _ => {}
    }
    // An exception by an instruction. What decides its error code is not modelled: the one that
    // was pushed is taken, and delivery judged.
    if entry.kind != Kind::Fault || entry.vector.class() != Class::Fault {
        return None;
    }
    Some(Event::fault(entry.vector, entry.frame.get(Word::ErrorCode)).into())
}

/// Whether the instruction that was stepped from `before` to `after` raised an event.
///
/// Beside what [`raised_event`] can tell: an instruction that is no branch goes on to the next one,
/// or begins again if it is repeated. After a load of SS the processor may do a second one.
fn raised(before: &State, after: &State, code: &[u8]) -> bool {
    if raised_event(before, after, code) {
        return true;
    }
    let at = before.instruction_address();
    let bitness = if before.cs().big() && !before.virtual_8086() { 32 } else { 16 };
    let mut decoder = Decoder::with_ip(bitness, code, u64::from(at), DecoderOptions::NONE);
    let instruction = decoder.decode();
    let loads_ss =
        (0..instruction.op_count()).any(|operand| instruction.op_register(operand) == Register::SS);
    let goes_on = instruction.flow_control() == FlowControl::Next && !loads_ss;
    let now = after.instruction_address();
    goes_on && now != at && now != at.wrapping_add(instruction.len() as u32)
}

/// JMP far, by an operand or through memory.
fn is_far_jump(code: &[u8]) -> bool {
    let decoded = Decoder::with_ip(32, code, 0, DecoderOptions::NONE).decode();
    matches!(
        decoded.code(),
        Code::Jmp_ptr1632 | Code::Jmp_ptr1616 | Code::Jmp_m1632 | Code::Jmp_m1616
    )
}

/// INTO with OF clear, and a repeated INS or OUTS with nothing left to do, which is how KVM ends one:
/// they leave the VM in no way.
fn does_nothing(state: &State, code: &[u8]) -> bool {
    let decoded = Decoder::with_ip(32, code, 0, DecoderOptions::NONE).decode();
    match decoded.code() {
        Code::Into => !state.eflags.contains(Eflags::OF),
        _ => decoded.is_string_instruction() && decoded.has_rep_prefix() && state.general.ecx == 0,
    }
}

/// Whether `code` is one of the system instructions, which KVM may execute in the processor's stead.
fn may_be_emulated(code: &[u8]) -> bool {
    matches!(code, [0x0f, 0x00..=0x0f | 0x20..=0x23 | 0x30..=0x37 | 0xa2, ..])
}

/// The IRET that `code` begins with, whatever prefixes it has.
fn iret(state: &State, code: &[u8], address: u32) -> Option<Iret> {
    if classify(code) != Stepping::LoadsFlags {
        return None;
    }
    let bitness = if state.cs().big() && !state.virtual_8086() { 32 } else { 16 };
    let decoded = Decoder::with_ip(bitness, code, 0, DecoderOptions::NONE).decode();
    let word_size = match decoded.code() {
        Code::Iretd => 4,
        Code::Iretw => 2,
        _ => return None,
    };
    Some(Iret { address, probe_address: address, word_size, length: decoded.len() as u8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(eip: u32, esp: u32) -> State {
        let mut state = State { cr0: 1, eip, ..State::default() };
        state.segments[1].attributes = 0xc09b;
        state.segments[2].attributes = 0xc093;
        state.general.esp = esp;
        state
    }

    #[test]
    fn a_fault_through_a_16_bit_gate_is_told_by_where_it_leads() {
        // add eax, ebx: six bytes have been pushed.
        let add = [0x01, 0xd8];
        assert!(raised(&at(0x1000, 0x8000), &at(0x2001, 0x7ffa), &add));
        assert!(!raised(&at(0x1000, 0x8000), &at(0x1002, 0x8000), &add));
    }

    #[test]
    fn jumps_and_repetitions_raise_nothing() {
        assert!(!raised(&at(0x1000, 0x8000), &at(0x2000, 0x8000), &[0xeb, 0x7f]));
        assert!(!raised(&at(0x1000, 0x8000), &at(0x2000, 0x8004), &[0xc3]));
        assert!(!raised(&at(0x1000, 0x8000), &at(0x1000, 0x8000), &[0xf3, 0xa5]));
        // mov ss, ax; and the instruction behind it.
        assert!(!raised(&at(0x1000, 0x8000), &at(0x1005, 0x9000), &[0x8e, 0xd0]));
    }

    #[test]
    fn what_does_nothing_leaves_no_vm() {
        let mut state = at(0x1000, 0x8000);
        assert!(does_nothing(&state, &[0xf3, 0x6e]) && does_nothing(&state, &[0xce]));
        assert!(!does_nothing(&state, &[0x6e]) && !does_nothing(&state, &[0xe6, 0xe9]));
        state.general.ecx = 1;
        state.eflags = Eflags::OF;
        assert!(!does_nothing(&state, &[0xf3, 0x6e]) && !does_nothing(&state, &[0xce]));
    }

    #[test]
    fn an_iret_is_known_with_its_operand_size() {
        let state = at(0x1000, 0x8000);
        let found = |code: &[u8]| iret(&state, code, 0x1000).map(|i| (i.word_size, i.length));
        assert_eq!(found(&[0xcf]), Some((4, 1)));
        assert_eq!(found(&[0x66, 0xcf]), Some((2, 2)));
        // Prefixes that mean nothing to it: segments, repetition, address size.
        assert_eq!(found(&[0x3e, 0xcf]), Some((4, 2)));
        assert_eq!(found(&[0x3e, 0x2e, 0x66, 0xcf]), Some((2, 4)));
        assert_eq!(found(&[0xf3, 0x67, 0xcf]), Some((4, 3)));
        // With LOCK it is no instruction, and what is cut off is none yet.
        assert_eq!(found(&[0xf0, 0xcf]), None);
        assert_eq!(found(&[0x3e]), None);
        assert_eq!(found(&[0x9d]), None);
        assert_eq!(found(&[0xc3]), None);
    }
}
