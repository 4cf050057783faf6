//! Whether a handler uses its variables by the data segment of the program that it has interrupted.

use super::loads_stack::starts;
use super::uses_ds::first_use_of_ds;
use crate::check::Objects;
use crate::check::history::History;
use crate::entry::Entry;
use crate::machine::LinearMemory;
use ia32::Segment;
use iced_x86::Register;

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
    let instruction = first_use_of_ds(linear, start)?;
    let absolute =
        instruction.memory_base() == Register::None && instruction.memory_index() == Register::None;
    absolute.then(|| (instruction.ip32(), instruction.memory_displacement32()))
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
