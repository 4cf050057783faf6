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
        // A probe lies over the handler's first instruction, which is no CLD, since DF is still set. Elsewhere it lies over
        // one whose length is not seen here: an IRET, or a far jump whose other bytes would be read as an INS.
        if bytes[0] == 0xf4 {
            if at == handler {
                flow.go_on(at.wrapping_add(1));
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Memory, Paging};
    use ia32::State;

    fn found(code: &[u8]) -> Option<StringInstruction> {
        const HANDLER: u32 = 0x1000;
        let mut memory = Memory::detached(0x1_0000).expect("there is memory");
        memory.write(HANDLER.into(), code).expect("it is RAM");
        let paging = Paging::from(&State::default());
        string_instruction(&LinearMemory { memory: &memory, paging }, HANDLER)
    }

    #[test]
    fn what_lies_under_a_probe_is_no_string_instruction() {
        // PUSHA; REP STOSB; IRET.
        assert_eq!(
            found(b"\x60\xf3\xaa\xcf"),
            Some(StringInstruction { at: 0x1001, writes: true })
        );
        // PUSHA; `ljmp *8(%esp)` with a HLT over its first byte; IRET.
        assert_eq!(found(b"\x60\xf4\x6c\x24\x08\xcf"), None);
        // The same with the probe over PUSHA.
        assert_eq!(found(b"\xf4\xac\xcf"), Some(StringInstruction { at: 0x1001, writes: false }));
    }
}
