//! One instruction by single-stepping, unless it raises an event.
//!
//! KVM steps with EFLAGS.TF, and a frame that is pushed meanwhile shows it. So an instruction that
//! turns out to raise an event is undone: the registers go back, and it can happen again without
//! stepping. Of memory only the frame was written, and possibly what the handler's first instruction
//! writes; both are written again in the same way.

use crate::machine::{Exit, LinearMemory, Machine, MachineError};
use ia32::{Eflags, State};
use iced_x86::{Decoder, DecoderOptions};

/// Steps the instruction that the vCPU stands at, `code` being its bytes. False if it raised an
/// event or left the VM, or if the guest steps itself: the vCPU then stands before it again.
pub(super) fn step_over(machine: &mut Machine, code: &[u8]) -> Result<bool, MachineError> {
    let before = machine.vcpu.state();
    if before.eflags.contains(Eflags::TF) || loads_trap_flag(&before, &machine.linear(), code) {
        return Ok(false);
    }
    let snapshot = machine.vcpu.snapshot();
    // An IRET may open the window, which would be reported instead of the step.
    machine.vcpu.request_interrupt_window(false);
    let mut exit = machine.vcpu.step(true)?;
    while exit == Exit::Interrupted {
        // Nothing was executed. Whoever runs the guest asks `alarm_rang` later.
        exit = machine.vcpu.step(true)?;
    }
    let after = machine.vcpu.state();
    if exit == Exit::Step && !raised_event(&before, &after, code) {
        return Ok(true);
    }
    machine.vcpu.restore(&snapshot);
    Ok(false)
}

/// Whether `code` is a POPF or an IRET that sets TF. While KVM steps, such a TF is taken for KVM's own
/// and lost.
pub(crate) fn loads_trap_flag(state: &State, linear: &LinearMemory<'_>, code: &[u8]) -> bool {
    let is_prefix =
        |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let prefixes = code.iter().take_while(|byte| is_prefix(byte)).count();
    let Some(opcode) = code.get(prefixes) else { return false };
    let narrow = code[..prefixes].contains(&0x66);
    let word = if narrow == state.cs().big() { 2 } else { 4 };
    let offset = match *opcode {
        0x9d => 0,
        0xcf => 2 * word,
        _ => return false,
    };
    let mut flags = [0; 2];
    linear.read(state.stack_address().wrapping_add(offset), &mut flags).is_some()
        && Eflags(u16::from_le_bytes(flags).into()).contains(Eflags::TF)
}

/// Whether the instruction that was stepped from `before` to `after` raised an event: the vCPU is
/// then in a handler, one instruction behind its gate's target.
pub(crate) fn raised_event(before: &State, after: &State, code: &[u8]) -> bool {
    if after.cpl() != before.cpl() {
        // Outwards leads a return only, inwards an event only (call gates aside, which are harmless
        // to undo).
        return after.cpl() < before.cpl();
    }
    let dropped = before.stack_pointer().wrapping_sub(after.stack_pointer()) as i32;
    if dropped < 12 && before.eflags.contains(Eflags::IF) == after.eflags.contains(Eflags::IF) {
        return false;
    }
    // Three words or more have been pushed, or IF has changed: by an event, or by PUSHA, ENTER, STI,
    // CLI, POPF, which go on to the next instruction; IRET pops.
    let eip = before.instruction_address();
    let mut decoder = Decoder::with_ip(32, code, u64::from(eip), DecoderOptions::NONE);
    let next = eip.wrapping_add(decoder.decode().len() as u32);
    after.instruction_address() != next && dropped >= 12
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Memory;

    fn at(eip: u32, esp: u32, eflags: u32) -> State {
        let mut state = State { cr0: 1, eip, eflags: Eflags(eflags), ..State::default() };
        state.segments[2].attributes = 0xc093;
        state.general.esp = esp;
        state
    }

    #[test]
    fn an_iret_or_popf_that_sets_tf_is_told_by_the_word_it_pops() {
        let memory = Memory::detached(0x9000).unwrap();
        let mut state = at(0x1000, 0x8000, 2);
        state.segments[1].attributes = 0xc09b;
        let linear = LinearMemory { memory: &memory, paging: (&state).into() };
        linear.write(0x8008, &0x302_u32.to_le_bytes()).unwrap();
        assert!(loads_trap_flag(&state, &linear, &[0xcf]));
        assert!(!loads_trap_flag(&state, &linear, &[0x66, 0xcf]));
        assert!(loads_trap_flag(&state, &linear, &[0x3e, 0x2e, 0xcf]));
        assert!(!loads_trap_flag(&state, &linear, &[0x9d]));
        state.general.esp = 0x8008;
        assert!(
            loads_trap_flag(&state, &linear, &[0x9d]) && !loads_trap_flag(&state, &linear, &[0x90])
        );
    }

    #[test]
    fn pushing_many_words_and_going_on_is_no_event() {
        let pusha = [0x60];
        assert!(!raised_event(&at(0x1000, 0x8000, 2), &at(0x1001, 0x7fe0, 2), &pusha));
    }

    #[test]
    fn pushing_three_words_and_going_elsewhere_is_one() {
        let ud2 = [0x0f, 0x0b];
        assert!(raised_event(&at(0x1000, 0x8000, 0x202), &at(0x2002, 0x7ff0, 2), &ud2));
    }

    #[test]
    fn a_return_to_the_same_ring_is_none() {
        let iret = [0xcf];
        assert!(!raised_event(&at(0x1000, 0x8000, 2), &at(0x2000, 0x800c, 0x202), &iret));
    }

    #[test]
    fn a_change_of_ring_inwards_is_one_outwards_none() {
        let mut outer = at(0x1000, 0x8000, 0x202);
        outer.segments[2].attributes |= 3 << 5;
        assert!(raised_event(&outer, &at(0x2000, 0x9000, 2), &[0x90]));
        assert!(!raised_event(&at(0x2000, 0x9000, 2), &outer, &[0xcf]));
    }
}
