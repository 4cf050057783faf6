//! Which string instruction a handler reaches with DF as it found it.

use crate::instruction::decode_32_into;
use crate::instruction::flow::{Calls, Flow};
use crate::machine::LinearMemory;
use iced_x86::{Instruction, Mnemonic};

/// Instructions that are looked at behind a handler, at most.
const LONGEST_SEARCH: usize = 4000;

/// A string instruction that a handler reaches with DF as it found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct StringInstruction {
    /// Its linear address.
    pub(in crate::check) at: u32,
    /// It writes memory: MOVS, STOS, INS. The others only read.
    pub(in crate::check) writes: bool,
}

/// The first string instruction that code from `handler` on can reach without CLD, and without STD, which is before one
/// that is to run downwards; jumps and calls followed where their target is in the instruction. One that writes comes
/// before one that only reads.
pub(super) fn string_instruction(
    linear: &LinearMemory<'_>,
    handler: u32,
) -> Option<StringInstruction> {
    let mut flow = Flow::from(handler);
    let mut instruction = Instruction::default();
    let mut reading = None;
    while let Some(at) = flow.next() {
        let mut bytes = [0; 15];
        let count = linear.read_some(at, &mut bytes);
        if flow.seen().len() > LONGEST_SEARCH {
            break;
        }
        // The probe under the first instruction of a handler, and under IRETs.
        if bytes[0] == 0xf4 && at == handler {
            flow.go_on(at.wrapping_add(1));
            continue;
        }
        decode_32_into(&bytes[..count], at, &mut instruction);
        if instruction.is_string_instruction() {
            let writes = !only_reads(&instruction);
            let found = StringInstruction { at, writes };
            if writes {
                return Some(found);
            }
            reading = reading.or(Some(found));
        }
        let decides = matches!(instruction.mnemonic(), Mnemonic::Cld | Mnemonic::Std);
        if !instruction.is_invalid() && !decides {
            flow.after(&instruction, Calls::Into);
        }
    }
    reading
}

/// Whether a string instruction writes no memory.
fn only_reads(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Lodsb
            | Mnemonic::Lodsw
            | Mnemonic::Lodsd
            | Mnemonic::Scasb
            | Mnemonic::Scasw
            | Mnemonic::Scasd
            | Mnemonic::Cmpsb
            | Mnemonic::Cmpsw
            | Mnemonic::Cmpsd
            | Mnemonic::Outsb
            | Mnemonic::Outsw
            | Mnemonic::Outsd
    )
}
