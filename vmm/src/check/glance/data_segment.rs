//! Whether a handler uses its variables by the data segment of the program that it has interrupted.

use super::loads_stack::starts;
use crate::check::Objects;
use crate::check::history::History;
use crate::entry::Entry;
use crate::instruction::decode_32_into;
use crate::machine::LinearMemory;
use ia32::Segment;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Instructions that are looked at behind a handler's start, at most.
const LONGEST_SEARCH: usize = 256;

/// A variable of the kernel's that a handler reaches for in another segment than the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct Foreign {
    /// Linear address of the instruction.
    pub(in crate::check) at: u32,
    /// The variable's address, as linked.
    pub(in crate::check) variable: u32,
    /// DS, as the program had it.
    pub(in crate::check) segment: Segment,
}

impl Foreign {
    /// At the first entry from an outer ring by each handler with a DS of another base than the kernel's SS has.
    #[inline]
    pub(super) fn of(
        linear: &LinearMemory<'_>,
        entry: &Entry,
        history: &History,
    ) -> (Option<Foreign>, Option<u32>) {
        let [_, _, ss, ds, ..] = entry.after.segments;
        let differs = ds.base != ss.base && ds.selector & !3 != 0;
        let handler = entry.after.instruction_address();
        let is_looked_at = differs
            && entry.from_outer_ring()
            && !entry.frame.shape.from_virtual_8086
            && !history.has_data_segment_of(handler);
        if !is_looked_at {
            return (None, None);
        }
        (Foreign::read(linear, handler, ds, history.objects()), Some(handler))
    }

    /// The first use of memory by DS on the one way from `handler` on, calls included, if DS is not loaded before.
    #[cold]
    fn read(
        linear: &LinearMemory<'_>,
        handler: u32,
        segment: Segment,
        objects: &Objects,
    ) -> Option<Foreign> {
        let lowest = objects.lowest()?;
        let mut first = [0];
        linear.read(handler, &mut first)?;
        let found = match first {
            [0xf4] => starts(handler).find_map(|start| uses_data(linear, start)),
            _ => uses_data(linear, handler),
        };
        let (at, variable) = found?;
        let is_kernels = variable >= lowest
            && (objects.at(variable).is_some() || objects.loaded(variable, 1).is_some());
        is_kernels.then_some(Foreign { at, variable, segment })
    }
}

/// An instruction with an absolute address in DS: where it stands, and the address.
fn uses_data(linear: &LinearMemory<'_>, start: u32) -> Option<(u32, u32)> {
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
            let absolute = instruction.memory_base() == Register::None
                && instruction.memory_index() == Register::None;
            return absolute.then(|| (at, instruction.memory_displacement32()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Memory, Paging};
    use ia32::State;

    fn found(code: &[u8]) -> Option<(u32, u32)> {
        let mut memory = Memory::detached(0x1_0000).expect("there is memory");
        memory.write(0x1000, code).expect("it is RAM");
        let linear = LinearMemory { memory: &memory, paging: Paging::from(&State::default()) };
        uses_data(&linear, 0x1000)
    }

    #[test]
    fn a_variable_that_is_used_before_ds_is_loaded_is_found_behind_a_call_as_well() {
        // push ds; pusha; call 1008; nop; 1008: inc dword [0x3000]
        let code = [0x1e, 0x60, 0xe8, 1, 0, 0, 0, 0x90, 0xff, 0x05, 0, 0x30, 0, 0];
        assert_eq!(found(&code), Some((0x1008, 0x3000)));
        // push ds; mov ds, ax; inc dword [0x3000]
        assert_eq!(found(&[0x1e, 0x8e, 0xd8, 0xff, 0x05, 0, 0x30, 0, 0]), None);
        // inc dword ss:[0x3000]; out 0x20, al; iret
        assert_eq!(found(&[0x36, 0xff, 0x05, 0, 0x30, 0, 0, 0xe6, 0x20, 0xcf]), None);
        // test byte [esp+4], 3; jz: who was interrupted decides.
        assert_eq!(found(&[0xf6, 0x44, 0x24, 4, 3, 0x74, 0, 0xff, 0x05, 0, 0x30, 0, 0]), None);
        // inc dword [ebx]: where the program's registers point is the program's.
        assert_eq!(found(&[0xff, 0x03]), None);
    }
}
