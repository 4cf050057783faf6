//! Where code reaches memory by DS first, for whoever knows that DS is the wrong one there.

use crate::instruction::decode_32_into;
use crate::machine::LinearMemory;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Instructions that are looked at behind the start, at most.
const LONGEST_SEARCH: usize = 256;

/// The first instruction on the one way from `start` on, calls included, that reaches memory by DS; none if DS is loaded
/// before, or the way parts.
pub(super) fn first_use_of_ds(linear: &LinearMemory<'_>, start: u32) -> Option<Instruction> {
    let (mut at, mut calls, mut instruction) = (start, Vec::new(), Instruction::default());
    for _ in 0..LONGEST_SEARCH {
        let mut bytes = [0; 15];
        let count = linear.read_some(at, &mut bytes);
        decode_32_into(&bytes[..count], at, &mut instruction);
        if instruction.is_invalid() || loads_ds(&instruction) || instruction.is_string_instruction()
        {
            return None;
        }
        let is_memory = instruction.op_kinds().any(|kind| kind == OpKind::Memory);
        if is_memory
            && instruction.memory_segment() == Register::DS
            && !matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop)
        {
            return Some(instruction);
        }
        let is_near = instruction.op0_kind() == OpKind::NearBranch32;
        at = match instruction.flow_control() {
            FlowControl::Next => instruction.next_ip32(),
            FlowControl::UnconditionalBranch if is_near => instruction.near_branch32(),
            FlowControl::Call if is_near => {
                calls.push(instruction.next_ip32());
                instruction.near_branch32()
            }
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => calls.pop()?,
            _ => return None,
        };
    }
    None
}

fn loads_ds(instruction: &Instruction) -> bool {
    let is_ds = instruction.op0_register() == Register::DS;
    match instruction.mnemonic() {
        Mnemonic::Mov | Mnemonic::Pop => is_ds,
        Mnemonic::Lds => true,
        _ => false,
    }
}
