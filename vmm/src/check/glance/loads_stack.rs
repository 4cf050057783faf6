//! Whether a handler takes its registers to a record and goes on with another stack.

use crate::instruction::decode_32_into;
use crate::instruction::flow::{Calls, Flow};
use crate::machine::LinearMemory;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Instructions that are looked at behind a handler, at most. Its registers are saved by then.
const LONGEST_SEARCH: usize = 48;

/// The handler at `handler` loads ESP before it calls anything: what the processor has pushed on is not the stack that its
/// code runs on.
pub(super) fn loads_stack_pointer(linear: &LinearMemory<'_>, handler: u32) -> bool {
    let mut flow = Flow::from(handler);
    let mut instruction = Instruction::default();
    while let Some(at) = flow.next() {
        let mut bytes = [0; 15];
        let count = linear.read_some(at, &mut bytes);
        if flow.seen().len() > LONGEST_SEARCH {
            return false;
        }
        if bytes[0] == 0xf4 {
            if at == handler {
                starts(handler).for_each(|next| flow.go_on(next));
            }
            continue;
        }
        decode_32_into(&bytes[..count], at, &mut instruction);
        if loads(&instruction) {
            return true;
        }
        let calls = matches!(instruction.mnemonic(), Mnemonic::Call);
        if !instruction.is_invalid() && !calls {
            flow.after(&instruction, Calls::Over);
        }
    }
    false
}

/// Where the instruction may end that lies under the probe at a handler's start: a push above all, of one byte, two, or five.
pub(super) fn starts(handler: u32) -> impl Iterator<Item = u32> {
    [1, 2, 5].into_iter().map(move |length| handler.wrapping_add(length))
}

/// A handler that goes on at a place of its own, whatever stack it was entered on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct Reset {
    /// Linear address of the instruction.
    pub(in crate::check) at: u32,
    /// What it loads into ESP.
    pub(in crate::check) esp: u32,
}

impl Reset {
    /// The handler at `handler` comes to `mov esp, number` on the only way that there is.
    #[cold]
    pub(super) fn read(linear: &LinearMemory<'_>, handler: u32) -> Option<Reset> {
        let mut first = [0];
        linear.read(handler, &mut first)?;
        match first {
            [0xf4] => starts(handler).find_map(|start| Reset::behind(linear, start)),
            _ => Reset::behind(linear, handler),
        }
    }

    fn behind(linear: &LinearMemory<'_>, start: u32) -> Option<Reset> {
        let (mut at, mut instruction) = (start, Instruction::default());
        for _ in 0..LONGEST_SEARCH {
            let mut bytes = [0; 15];
            let count = linear.read_some(at, &mut bytes);
            decode_32_into(&bytes[..count], at, &mut instruction);
            if instruction.mnemonic() == Mnemonic::Mov
                && instruction.op0_register() == Register::ESP
                && instruction.op1_kind() == OpKind::Immediate32
            {
                return Some(Reset { at, esp: instruction.immediate32() });
            }
            at = match instruction.flow_control() {
                FlowControl::Next if !instruction.is_invalid() => instruction.next_ip32(),
                FlowControl::UnconditionalBranch
                    if instruction.op0_kind() == OpKind::NearBranch32 =>
                {
                    instruction.near_branch32()
                }
                _ => return None,
            };
        }
        None
    }
}

/// The instruction gives ESP a value that has nothing to do with the one it has.
fn loads(instruction: &Instruction) -> bool {
    let target = instruction.op0_register() == Register::ESP;
    match instruction.mnemonic() {
        Mnemonic::Mov => target && instruction.op1_register() != Register::EBP,
        Mnemonic::Pop => target,
        Mnemonic::Lss => target,
        Mnemonic::Xchg => target || instruction.op1_register() == Register::ESP,
        Mnemonic::Lea => {
            target
                && instruction.op1_kind() == OpKind::Memory
                && ![Register::ESP, Register::EBP].contains(&instruction.memory_base())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Memory, Paging};
    use ia32::State;

    fn loads(code: &[u8]) -> bool {
        const HANDLER: u32 = 0x1000;
        let mut memory = Memory::detached(0x1_0000).expect("there is memory");
        memory.write(HANDLER.into(), code).expect("it is RAM");
        let paging = Paging::from(&State::default());
        loads_stack_pointer(&LinearMemory { memory: &memory, paging }, HANDLER)
    }

    #[test]
    fn a_handler_that_takes_another_stack_is_told_from_one_that_stays() {
        // pusha; push ds; mov esp, 0x2000; call
        assert!(loads(&[0x60, 0x1e, 0xbc, 0, 0x20, 0, 0, 0xe8, 0, 0, 0, 0]));
        // (probe over push 0x80); jmp +2; …; pusha; mov esp, [0x3000]
        assert!(loads(&[0xf4, 0x80, 0xeb, 2, 0x90, 0xcf, 0x60, 0x8b, 0x25, 0, 0x30, 0, 0]));
        // pusha; jz +1; mov esp, 0x2000 in one of two ways
        assert!(loads(&[0x60, 0x74, 5, 0xbc, 0, 0x20, 0, 0, 0xcf]));
        // pusha; push esp; call; add esp, 4; popa; iret
        assert!(!loads(&[0x60, 0x54, 0xe8, 0, 0, 0, 0, 0x83, 0xc4, 4, 0x61, 0xcf]));
        // push ebp; mov ebp, esp; and esp, -16; leave; mov esp, ebp
        assert!(!loads(&[0x55, 0x89, 0xe5, 0x83, 0xe4, 0xf0, 0xc9, 0x89, 0xec, 0xcf]));
        // What comes behind the call is another task's frame.
        assert!(!loads(&[0x60, 0xe8, 0, 0, 0, 0, 0x89, 0xc4, 0xcf]));
    }

    #[test]
    fn a_handler_that_goes_on_at_a_place_of_its_own_whatever_it_finds_is_told() {
        let reset = |code: &[u8]| {
            let mut memory = Memory::detached(0x1_0000).expect("there is memory");
            memory.write(0x1000, code).expect("it is RAM");
            let paging = Paging::from(&State::default());
            let linear = LinearMemory { memory: &memory, paging };
            Reset::read(&linear, 0x1000).map(|reset| (reset.at, reset.esp))
        };
        // (probe over pusha); mov ebx, esp; mov esp, 0x2000
        let code = [0xf4, 0x89, 0xe3, 0xbc, 0, 0x20, 0, 0];
        assert_eq!(reset(&code), Some((0x1003, 0x2000)));
        // pusha; jz +5; mov esp, 0x2000: there is another way
        assert_eq!(reset(&[0x60, 0x74, 5, 0xbc, 0, 0x20, 0, 0, 0xcf]), None);
        // pusha; mov esp, [0x3000]
        assert_eq!(reset(&[0x60, 0x8b, 0x25, 0, 0x30, 0, 0, 0xcf]), None);
    }
}
