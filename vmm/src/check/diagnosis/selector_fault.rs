//! The exception that an instruction raises by the selector that it loads, where no handler was entered that could
//! tell its error code (SDM vol. 2A and 2B, MOV, POP, LTR, LLDT and JMP, "Protected mode exceptions").

use super::Aftermath;
use crate::instruction::operands::{operands, register_value};
use crate::instruction::valid_32;
use crate::machine::LinearMemory;
use ia32::{Descriptor, DescriptorKind, Selector, State, Table, Vector};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// What is loaded into what.
struct Load {
    selector: Selector,
    into: Target,
}

enum Target {
    Segment(Register),
    Code,
    Task,
    LocalTable,
}

/// The exception and its error code; none if the instruction loads no selector, or one that it may.
pub(super) fn of(
    instruction: &Instruction,
    code: &[u8],
    state: &State,
    linear: &LinearMemory<'_>,
) -> Option<(Vector, u32)> {
    let Load { selector, into } = load(instruction, code, state, linear)?;
    let named = u32::from(selector.0 & 0xfffc);
    if selector.is_null() {
        return match into {
            Target::Segment(Register::SS) | Target::Code | Target::Task => Some((Vector::GP, 0)),
            Target::Segment(_) | Target::LocalTable => None,
        };
    }
    let Some(descriptor) = linear.descriptor(state, selector) else {
        return Some((Vector::GP, named));
    };
    if !may_be(descriptor, selector, &into, state.cpl()) {
        return Some((Vector::GP, named));
    }
    if !descriptor.present() {
        let vector =
            if matches!(into, Target::Segment(Register::SS)) { Vector::SS } else { Vector::NP };
        return Some((vector, named));
    }
    let beyond = matches!(into, Target::Code)
        && far_target(instruction).is_some_and(|eip| eip > descriptor.limit());
    beyond.then_some((Vector::GP, 0))
}

/// Where the descriptor lies in the GDT that the instruction loads.
pub(super) fn place_of_descriptor(
    instruction: &Instruction,
    code: &[u8],
    state: &State,
    linear: &LinearMemory<'_>,
) -> Option<u32> {
    let Load { selector, .. } = load(instruction, code, state, linear)?;
    let offset = u32::from(selector.0 & 0xfff8);
    let is_there = selector.table() == Table::Gdt
        && !selector.is_null()
        && offset + 7 <= u32::from(state.gdtr.limit);
    is_there.then(|| state.gdtr.base.wrapping_add(offset))
}

fn may_be(descriptor: Descriptor, selector: Selector, into: &Target, cpl: u8) -> bool {
    let (dpl, rpl) = (descriptor.dpl(), selector.rpl());
    match (into, descriptor.kind()) {
        (Target::Segment(Register::SS), DescriptorKind::Data { writable, .. }) => {
            writable && dpl == cpl && rpl == cpl
        }
        (Target::Segment(Register::SS), _) => false,
        (Target::Segment(_), DescriptorKind::Data { .. }) => dpl >= cpl.max(rpl),
        (Target::Segment(_), DescriptorKind::Code { conforming, readable }) => {
            readable && (conforming || dpl >= cpl.max(rpl))
        }
        (Target::Code, DescriptorKind::Code { conforming: true, .. }) => dpl <= cpl,
        (Target::Code, DescriptorKind::Code { .. }) => dpl == cpl && rpl <= cpl,
        // Gates and TSSs are another matter.
        (Target::Code, DescriptorKind::Gate(_) | DescriptorKind::Tss { .. }) => true,
        (Target::Task, DescriptorKind::Tss { busy, .. }) => !busy,
        (Target::LocalTable, DescriptorKind::Ldt) => true,
        _ => false,
    }
}

/// The offset of a far jump that has it in the instruction.
pub(super) fn far_target(instruction: &Instruction) -> Option<u32> {
    matches!(instruction.code(), Code::Jmp_ptr1632 | Code::Call_ptr1632)
        .then(|| instruction.far_branch32())
}

fn load(
    instruction: &Instruction,
    code: &[u8],
    state: &State,
    linear: &LinearMemory<'_>,
) -> Option<Load> {
    let operand = |index: u32| -> Option<u16> {
        match instruction.op_kind(index) {
            OpKind::Register => {
                register_value(state, instruction.op_register(index)).map(|value| value as u16)
            }
            OpKind::Memory => {
                let touch = operands(code, state).0.into_iter().find(|touch| !touch.write)?;
                linear.read_u16(touch.linear)
            }
            _ => None,
        }
    };
    let register = instruction.op0_register();
    let (value, into) = match instruction.mnemonic() {
        Mnemonic::Mov if register.is_segment_register() => (operand(1)?, Target::Segment(register)),
        Mnemonic::Pop if register.is_segment_register() => {
            (linear.read_u16(state.stack_address())?, Target::Segment(register))
        }
        Mnemonic::Ltr => (operand(0)?, Target::Task),
        Mnemonic::Lldt => (operand(0)?, Target::LocalTable),
        Mnemonic::Jmp | Mnemonic::Call if far_target(instruction).is_some() => {
            (instruction.far_branch_selector(), Target::Code)
        }
        _ => return None,
    };
    Some(Load { selector: Selector(value), into })
}

/// The state behind a load of SS that the instruction at `state` may do. Stepping takes the next instruction along, so
/// what has failed is that one.
pub(super) fn after_stack_segment(state: &State, aftermath: &Aftermath<'_>) -> Option<State> {
    let code = aftermath.code(state, state.instruction_address());
    let instruction = valid_32(&code, state.eip)?;
    let linear = aftermath.linear(state);
    let loaded = load(&instruction, &code, state, &linear)?;
    if !matches!(loaded.into, Target::Segment(Register::SS))
        || of(&instruction, &code, state, &linear).is_some()
    {
        return None;
    }
    let mut after = *state;
    let descriptor = linear.descriptor(state, loaded.selector)?;
    after.segments[2] = descriptor.segment(loaded.selector.0);
    after.eip = instruction.next_ip32();
    if instruction.mnemonic() == Mnemonic::Pop {
        after.general.esp = after.general.esp.wrapping_add(4);
    }
    Some(after)
}
