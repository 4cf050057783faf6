//! Which string instruction a handler reaches with DF as it found it.

use crate::instruction::decode_32_into;
use crate::instruction::flow::{Calls, Flow};
use crate::machine::LinearMemory;
use iced_x86::{Instruction, Mnemonic};

/// Instructions that are looked at behind a handler, at most.
const LONGEST_SEARCH: usize = 4000;

/// The first string instruction that code from `handler` on can reach without CLD, and without STD, which is before one
/// that is to run downwards; jumps and calls followed where their target is in the instruction.
pub(super) fn string_instruction(linear: &LinearMemory<'_>, handler: u32) -> Option<u32> {
    let mut flow = Flow::from(handler);
    let mut instruction = Instruction::default();
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
        if is_string_instruction(&instruction) {
            return Some(at);
        }
        let decides = matches!(instruction.mnemonic(), Mnemonic::Cld | Mnemonic::Std);
        if !instruction.is_invalid() && !decides {
            flow.after(&instruction, Calls::Into);
        }
    }
    None
}

fn is_string_instruction(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Movsb
            | Mnemonic::Movsw
            | Mnemonic::Movsd
            | Mnemonic::Stosb
            | Mnemonic::Stosw
            | Mnemonic::Stosd
            | Mnemonic::Lodsb
            | Mnemonic::Lodsw
            | Mnemonic::Lodsd
            | Mnemonic::Scasb
            | Mnemonic::Scasw
            | Mnemonic::Scasd
            | Mnemonic::Cmpsb
            | Mnemonic::Cmpsw
            | Mnemonic::Cmpsd
    )
}
