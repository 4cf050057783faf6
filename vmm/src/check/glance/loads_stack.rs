//! Whether a handler takes its registers to a record and goes on with another stack.

use crate::instruction::decode_32_into;
use crate::instruction::flow::{Calls, Flow};
use crate::machine::LinearMemory;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

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
            // The probe over the handler's first instruction, a push above all: it has one byte, two, or five.
            if at == handler {
                flow.go_on(at.wrapping_add(1));
                flow.go_on(at.wrapping_add(2));
                flow.go_on(at.wrapping_add(5));
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
}
