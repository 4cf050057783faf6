//! A data segment of ring 0 that an IRET to an outer ring takes away, and the program that uses it.
//!
//! ```text
//!  DS 0010, DPL 0 ─ IRET to ring 3 ─► DS 0000 ─► mov [counter], eax: #GP(0)
//! ```
//! SDM vol. 2A, IRET, "Operation", RETURN-TO-OUTER-PRIVILEGE-LEVEL: a segment register whose descriptor has a lower DPL
//! than the new CPL is loaded with a null selector. QEMU's model lets the program use it all the same.

use super::uses_ds::first_use_of_ds;
use crate::entry::Return;
use crate::machine::LinearMemory;
use ia32::{Segment, Word};

const DS: usize = 3;

/// A use of DS where the return has made it null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct Nulled {
    /// Linear address of the instruction.
    pub(in crate::check) at: u32,
    /// DS in front of the return.
    pub(in crate::check) segment: Segment,
}

impl Nulled {
    /// At a return to an outer ring; none where DS stays, or the program loads it before it is used.
    #[inline]
    pub(super) fn of(linear: &LinearMemory<'_>, returning: &Return) -> Option<Nulled> {
        let segment = returning.state.segments[DS];
        let is_lost = segment.selector & !3 != 0
            && segment.present()
            && segment.dpl() < returning.ring()
            && !segment.is_conforming();
        if !is_lost || returning.frame.shape.from_virtual_8086 {
            return None;
        }
        Self::read(linear, returning, segment)
    }

    #[cold]
    fn read(linear: &LinearMemory<'_>, returning: &Return, segment: Segment) -> Option<Nulled> {
        let selector = ia32::Selector(returning.frame.selector(Word::Cs)?);
        // Only code of 32 bits is read here.
        let code = linear.descriptor(&returning.state, selector).filter(|code| code.big())?;
        let start = code.base().wrapping_add(returning.frame.get(Word::Eip)?);
        uses_data(linear, start).map(|at| Nulled { at, segment })
    }
}

/// Where the program that begins or goes on at `start` reaches memory by DS.
fn uses_data(linear: &LinearMemory<'_>, start: u32) -> Option<u32> {
    let at = first_use_of_ds(linear, start)?.ip32();
    // Zeros are no code.
    linear.read_u16(at).filter(|code| *code != 0).map(|_| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Memory, Paging};
    use ia32::State;

    fn found(code: &[u8]) -> Option<u32> {
        let mut memory = Memory::detached(0x1_0000).expect("there is memory");
        memory.write(0x1000, code).expect("it is RAM");
        let linear = LinearMemory { memory: &memory, paging: Paging::from(&State::default()) };
        uses_data(&linear, 0x1000)
    }

    #[test]
    fn the_first_use_of_ds_is_found_and_none_where_the_program_loads_it() {
        // push ebp; mov ebp, esp; mov [ebp-4], eax; inc dword [0x3000]
        assert_eq!(
            found(&[0x55, 0x89, 0xe5, 0x89, 0x45, 0xfc, 0xff, 0x05, 0, 0x30, 0, 0]),
            Some(0x1006)
        );
        // mov ds, ax; inc dword [0x3000]
        assert_eq!(found(&[0x8e, 0xd8, 0xff, 0x05, 0, 0x30, 0, 0]), None);
        // int 0x80: the handler may leave another DS.
        assert_eq!(found(&[0xcd, 0x80, 0xff, 0x05, 0, 0x30, 0, 0]), None);
        // inc dword cs:[0x3000]; jmp back
        assert_eq!(found(&[0x2e, 0xff, 0x05, 0, 0x30, 0, 0, 0xeb, 0xf7]), None);
        // push ds; inc dword [0x3000]
        assert_eq!(found(&[0x1e, 0xff, 0x05, 0, 0x30, 0, 0]), Some(0x1001));
        assert_eq!(found(&[0; 16]), None);
    }
}
