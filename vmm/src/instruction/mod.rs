//! What is known of a guest's instructions: one decode, and one answer to each question.
//!
//! ```text
//!              ┌─► stepping   is it stepped, and how; does it leave the VM
//!  bytes ─► decode ─► operands   what of memory does it touch
//!              ├─► flow       where does it lead
//!              ├─► raises     which exceptions may it raise
//!              ├─► effect     has it raised one, as seen by the state after it
//!              └─► interpret  does a short loop come back to where it was
//! ```
//! Decoding itself is iced-x86's. Which of its modes holds is decided here alone.

pub(crate) mod effect;
pub(crate) mod flow;
pub(crate) mod interpret;
pub(crate) mod operands;
pub(crate) mod raises;
pub(crate) mod stepping;

use ia32::{Iret, OperandSize, State};
use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, FlowControl, Formatter, Instruction,
    IntelFormatter, Mnemonic, OpKind,
};

/// Longest instruction, in bytes (SDM vol. 2A, "Instruction format").
pub(crate) const LONGEST: usize = 15;

/// The instruction that `code` begins with, the processor standing in front of it in `state`. It may be
/// an invalid one.
pub(crate) fn decode(code: &[u8], state: &State) -> Instruction {
    decode_as(bitness(state), code, state.instruction_address())
}

fn bitness(state: &State) -> u32 {
    if state.cs().big() && !state.virtual_8086() { 32 } else { 16 }
}

/// The instruction that `code` begins with, as 32-bit code at `address`.
pub(crate) fn decode_32(code: &[u8], address: u32) -> Instruction {
    decode_as(32, code, address)
}

/// The same; none if it is invalid.
pub(crate) fn valid_32(code: &[u8], address: u32) -> Option<Instruction> {
    Some(decode_32(code, address)).filter(|instruction| !instruction.is_invalid())
}

/// The same into `instruction`, which saves copying where much is decoded.
pub(crate) fn decode_32_into(code: &[u8], address: u32, instruction: &mut Instruction) {
    Decoder::with_ip(32, code, u64::from(address), DecoderOptions::NONE).decode_out(instruction);
}

fn decode_as(bitness: u32, code: &[u8], address: u32) -> Instruction {
    Decoder::with_ip(bitness, code, u64::from(address), DecoderOptions::NONE).decode()
}

/// The instruction that `code` begins with, the processor standing in front of it in `state`, in Intel's
/// notation.
pub fn text(code: &[u8], state: &State) -> String {
    let mut text = String::new();
    IntelFormatter::new().format(&decode_as(bitness(state), code, state.eip), &mut text);
    text
}

/// The instructions of `code`, which is 32-bit code at `eip`, each with its bytes, up to one that is invalid
/// or cut off.
pub(crate) fn sequence(code: &[u8], eip: u32) -> impl Iterator<Item = (Instruction, &[u8])> {
    let mut decoder = Decoder::with_ip(32, code, u64::from(eip), DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let start = decoder.position();
        let instruction = decoder.decode();
        let bytes = code.get(start..decoder.position())?;
        (!instruction.is_invalid()).then_some((instruction, bytes))
    })
}

/// The IRET that `code` begins with in the mode of `state`, whatever prefixes it has.
pub(crate) fn iret(code: &[u8], state: &State) -> Option<Iret> {
    // Nothing else is looked at closely: this is asked of every instruction.
    if opcode(code) != Some(0xcf) {
        return None;
    }
    let instruction = decode(code, state);
    let size = match instruction.code() {
        Code::Iretd => OperandSize::Bits32,
        Code::Iretw => OperandSize::Bits16,
        _ => return None,
    };
    Some(Iret { size, length: instruction.len() as u8 })
}

/// Whether a CALL ends where `code`, seven bytes, does: calls return to there.
pub(crate) fn is_call_before(code: &[u8; 7]) -> bool {
    (0..=5).any(|start| {
        let call = valid_32(&code[start..], 0).filter(|one| one.len() == 7 - start);
        call.is_some_and(|one| {
            matches!(one.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
        })
    })
}

/// Whether `code` begins with RDTSC or RDTSCP.
pub(crate) fn reads_time_stamp(code: &[u8]) -> bool {
    code.starts_with(&[0x0f, 0x31]) || code.starts_with(&[0x0f, 0x01, 0xf9])
}

/// Whether `code` begins with SYSENTER.
pub(crate) fn is_sysenter(code: &[u8]) -> bool {
    code.starts_with(&[0x0f, 0x34])
}

/// Whether the 32-bit code at `eip` uses the stack that it is given, before it could take another: what comes
/// first, no-ops and flags aside, pushes or calls.
pub(crate) fn uses_its_stack(code: &[u8], eip: u32) -> bool {
    let idle = |one: &Instruction| match one.mnemonic() {
        Mnemonic::Nop | Mnemonic::Cli | Mnemonic::Cld => true,
        Mnemonic::Xchg => {
            one.op1_kind() == OpKind::Register && one.op0_register() == one.op1_register()
        }
        _ => false,
    };
    let first = sequence(code, eip).map(|(instruction, _)| instruction).find(|one| !idle(one));
    first.is_some_and(|one| one.is_stack_instruction() && one.stack_pointer_increment() < 0)
}

/// CR0.EM and CR4.OSFXSR: SSE is closed while the one is set or the other is not.
pub(crate) const CR0_EM: u32 = 1 << 2;
pub(crate) const CR4_OSFXSR: u32 = 1 << 9;

/// Whether an instruction needs CR4.OSFXSR: one of SSE and its successors, with an XMM register (SDM vol. 3A, "Enabling SSE").
pub(crate) fn uses_sse(instruction: &Instruction) -> bool {
    use CpuidFeature::{SSE, SSE2, SSE3, SSE4_1, SSE4_2, SSSE3};
    let features = instruction.cpuid_features();
    features.iter().any(|one| [SSE, SSE2, SSE3, SSSE3, SSE4_1, SSE4_2].contains(one))
        && (0..instruction.op_count()).any(|index| instruction.op_register(index).is_xmm())
}

/// The first byte after the prefixes.
pub(crate) fn opcode(code: &[u8]) -> Option<u8> {
    code.iter().copied().find(|byte| !is_prefix(*byte))
}

/// Whether the operand size is not the code segment's own.
pub(crate) fn has_operand_size_prefix(code: &[u8]) -> bool {
    code.iter().take_while(|byte| is_prefix(**byte)).any(|byte| *byte == 0x66)
}

/// Segments, operand size, address size, LOCK, repetition (SDM vol. 2A, "Instruction prefixes").
pub(crate) const fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide() -> State {
        let mut state = State { cr0: 1, eip: 0x1000, ..State::default() };
        state.segments[1].attributes = 0xc09b;
        state
    }

    #[test]
    fn a_push_behind_no_ops_uses_the_stack_and_a_load_of_esp_does_not() {
        assert!(uses_its_stack(&[0x66, 0x90, 0x6a, 0x23], 0));
        assert!(uses_its_stack(&[0xfc, 0xe8, 0, 0, 0, 0], 0));
        assert!(!uses_its_stack(&[0x8b, 0x64, 0x24, 0x04, 0x50], 0));
        assert!(!uses_its_stack(&[0x5c, 0x50], 0), "pop esp");
        assert!(!uses_its_stack(&[0x0f, 0xff], 0));
    }

    #[test]
    fn a_call_that_ends_there_is_known_by_its_bytes() {
        assert!(is_call_before(&[0x90, 0x90, 0xe8, 1, 2, 3, 4]));
        assert!(is_call_before(&[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0]));
        assert!(is_call_before(&[0xff, 0x14, 0x85, 1, 2, 3, 4]));
        assert!(!is_call_before(&[0x90; 7]));
        assert!(!is_call_before(&[0x90, 0x90, 0xe9, 1, 2, 3, 4]), "a jump");
    }

    #[test]
    fn an_iret_is_known_with_its_operand_size() {
        let found = |code: &[u8]| iret(code, &wide()).map(|iret| (iret.size.bytes(), iret.length));
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

    #[test]
    fn the_same_bytes_are_another_instruction_in_16_bit_code() {
        let mut state = wide();
        assert_eq!(decode(&[0xb8, 1, 0, 0, 0], &state).len(), 5);
        state.segments[1].attributes = 0x9b;
        assert_eq!(decode(&[0xb8, 1, 0, 0, 0], &state).len(), 3);
        assert_eq!(iret(&[0xcf], &state).map(|iret| iret.size), Some(OperandSize::Bits16));
    }
}
