//! An operand of 16 bytes that does not begin at a multiple of 16.
//!
//! SSE instructions other than those for unaligned operands raise #GP(0) then, and so do FXSAVE and FXRSTOR (SDM vol. 1,
//! "Memory alignment requirements"). Compilers take it for granted that ESP is a multiple of 16 before each CALL (System V
//! ABI, i386, "The Stack Frame"); a handler comes at any ESP.

use super::Aftermath;
use super::explained::Explained;
use super::fault_text::text;
use crate::entry::Fault;
use crate::instruction::operands::operands;
use iced_x86::{Instruction, Mnemonic, Register};

/// What has to be a multiple of 16.
const LINE: u32 = 16;

/// Why `instruction` was refused its operand, if that is why.
pub(super) fn explain(
    fault: &Fault,
    instruction: &Instruction,
    aftermath: &Aftermath<'_>,
) -> Option<Explained> {
    if !wants_alignment(instruction) {
        return None;
    }
    let (touches, _) = operands(fault.code.instruction(), &fault.interrupted());
    let at = touches.iter().map(|touch| touch.linear).find(|at| at % LINE != 0)?;
    let explained = Explained::because(format!(
        "`{}` reaches {}, which is no multiple of 16",
        text(instruction),
        aftermath.place(at)
    ));
    let on_stack = matches!(instruction.memory_base(), Register::ESP | Register::EBP);
    Some(explained.advise(if on_stack && fault.ring == 0 {
        "compilers take ESP for a multiple of 16 before each call: align it where assembly calls C (`mov ebp, esp`, \
         `and esp, -16`, … `mov esp, ebp`), in handlers and where a task begins; or compile the kernel with \
         -mgeneral-regs-only"
    } else if on_stack {
        "compilers take ESP for a multiple of 16 before each call: let a program begin with such an ESP"
    } else {
        "declare that object with `__attribute__((aligned(16)))`"
    }))
}

/// It takes no operand at another address.
fn wants_alignment(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    match instruction.mnemonic() {
        M::Fxsave | M::Fxrstor => true,
        M::Movups | M::Movupd | M::Movdqu | M::Lddqu => false,
        _ => {
            crate::instruction::uses_sse(instruction)
                && instruction.memory_size().size() == LINE as usize
        }
    }
}
