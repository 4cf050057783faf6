//! An instruction of a handler that moves ESP by half of what it should: `popaw` behind `pushal`.

use super::loads_stack::starts;
use crate::instruction::decode_32_into;
use crate::instruction::flow::{Calls, Flow};
use crate::machine::LinearMemory;
use iced_x86::{Code, Instruction};

/// So many instructions of a handler's own are looked at.
const LONGEST_SEARCH: usize = 96;

/// A push or pop of all registers with words of two bytes (SDM vol. 2B, POPA/POPAD, PUSHA/PUSHAD).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::check) struct Narrow {
    /// Its linear address.
    pub(in crate::check) address: u32,
    /// It pops.
    pub(in crate::check) pops: bool,
}

impl Narrow {
    /// By how much ESP is off behind it, where its counterpart has words of four bytes: negative, if too little was popped.
    pub(in crate::check) fn off(&self) -> i32 {
        if self.pops { -16 } else { 16 }
    }

    /// What it is called, and what it should be.
    pub(in crate::check) fn names(&self) -> (&'static str, &'static str) {
        if self.pops { ("popaw", "popal") } else { ("pushaw", "pushal") }
    }

    /// That of the handler at `handler`, if it has one alone. What it calls is not looked at.
    #[cold]
    pub(super) fn read(linear: &LinearMemory<'_>, handler: u32) -> Option<Narrow> {
        let mut flow = Flow::from(handler);
        let (mut instruction, mut found) = (Instruction::default(), None);
        while let Some(at) = flow.next().filter(|_| flow.seen().len() <= LONGEST_SEARCH) {
            let mut bytes = [0; 15];
            let count = linear.read_some(at, &mut bytes);
            if at == handler && bytes[0] == 0xf4 {
                starts(handler).for_each(|next| flow.go_on(next));
                continue;
            }
            decode_32_into(&bytes[..count], at, &mut instruction);
            let pops = match instruction.code() {
                Code::Popaw => Some(true),
                Code::Pushaw => Some(false),
                Code::INVALID => continue,
                _ => None,
            };
            if let Some(pops) = pops
                && found.replace(Narrow { address: at, pops }).is_some()
            {
                return None;
            }
            flow.after(&instruction, Calls::Over);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Memory, Paging};
    use ia32::State;

    fn found(code: &[u8]) -> Option<(u32, i32)> {
        let mut memory = Memory::detached(0x1_0000).expect("there is memory");
        memory.write(0x1000, code).expect("it is RAM");
        let linear = LinearMemory { memory: &memory, paging: Paging::from(&State::default()) };
        Narrow::read(&linear, 0x1000).map(|narrow| (narrow.address, narrow.off()))
    }

    #[test]
    fn popaw_behind_pushal_is_found_and_a_pair_of_the_same_width_is_not() {
        // (probe over pusha); mov al, 0x20; out 0x20, al; popaw; iret
        assert_eq!(found(&[0xf4, 0xb0, 0x20, 0xe6, 0x20, 0x66, 0x61, 0xcf]), Some((0x1005, -16)));
        // pushaw; nop; popal; iret
        assert_eq!(found(&[0x66, 0x60, 0x90, 0x61, 0xcf]), Some((0x1000, 16)));
        assert_eq!(found(&[0x66, 0x60, 0x90, 0x66, 0x61, 0xcf]), None);
        assert_eq!(found(&[0x60, 0x90, 0x61, 0xcf]), None);
    }
}
