//! Whether an instruction that was stepped has raised an event, as the state after it shows.

use super::{decode, decode_32};
use ia32::{Eflags, State};
use iced_x86::{FlowControl, Register};

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
    let next = eip.wrapping_add(decode_32(code, eip).len() as u32);
    after.instruction_address() != next && dropped >= 12
}

/// Whether the instruction that was stepped from `before` to `after` raised an event.
///
/// Beside what [`raised_event`] can tell: an instruction that is no branch goes on to the next one,
/// or begins again if it is repeated. After a load of SS the processor may do a second one.
pub(crate) fn raised(before: &State, after: &State, code: &[u8]) -> bool {
    if raised_event(before, after, code) {
        return true;
    }
    let at = before.instruction_address();
    let instruction = decode(code, before);
    let loads_ss =
        (0..instruction.op_count()).any(|operand| instruction.op_register(operand) == Register::SS);
    let goes_on = instruction.flow_control() == FlowControl::Next && !loads_ss;
    let now = after.instruction_address();
    goes_on && now != at && now != at.wrapping_add(instruction.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(eip: u32, esp: u32, eflags: u32) -> State {
        let mut state = State { cr0: 1, eip, eflags: Eflags(eflags), ..State::default() };
        state.segments[1].attributes = 0xc09b;
        state.segments[2].attributes = 0xc093;
        state.general.esp = esp;
        state
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

    #[test]
    fn a_fault_through_a_16_bit_gate_is_told_by_where_it_leads() {
        // add eax, ebx: six bytes have been pushed.
        let add = [0x01, 0xd8];
        assert!(raised(&at(0x1000, 0x8000, 2), &at(0x2001, 0x7ffa, 2), &add));
        assert!(!raised(&at(0x1000, 0x8000, 2), &at(0x1002, 0x8000, 2), &add));
    }

    #[test]
    fn jumps_and_repetitions_raise_nothing() {
        assert!(!raised(&at(0x1000, 0x8000, 2), &at(0x2000, 0x8000, 2), &[0xeb, 0x7f]));
        assert!(!raised(&at(0x1000, 0x8000, 2), &at(0x2000, 0x8004, 2), &[0xc3]));
        assert!(!raised(&at(0x1000, 0x8000, 2), &at(0x1000, 0x8000, 2), &[0xf3, 0xa5]));
        // mov ss, ax; and the instruction behind it.
        assert!(!raised(&at(0x1000, 0x8000, 2), &at(0x1005, 0x9000, 2), &[0x8e, 0xd0]));
    }
}
