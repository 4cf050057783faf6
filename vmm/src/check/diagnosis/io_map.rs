//! Ports that ring 3 may use by the I/O permission bit map of the TSS.
//!
//! A port is open where the bits of all its bytes are 0; a map's base beyond the limit means that there
//! is none, and all ports are refused (SDM vol. 1, "I/O permission bit map"; two bytes are read for each
//! access, so both have to lie within the limit). A map that a kernel makes on purpose lies behind the 104
//! bytes of the TSS. Where it begins inside, the TSS's own words are taken for a map.

use super::Placed;
use crate::check::{ChangedWord, Finding, Subject};
use crate::machine::LinearMemory;
use ia32::{Eflags, State, TssWidth};

const RULE: &str = "io_map";
/// Where the word with the map's base lies.
const BASE: u32 = 102;
/// Bytes of a 32-bit TSS without a map.
const TSS: u32 = 104;
/// A limit up to here is that of a plain TSS, give or take a word: `sizeof` without the 1 taken off.
const PLAIN: u32 = TSS + 7;
/// Bytes of a map of all ports.
const WHOLE: u32 = 8192;

/// The I/O map that ring 3 runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoMap {
    /// Linear address of the TSS.
    pub tss: u32,
    /// Its limit.
    pub limit: u32,
    /// Where the map begins in it.
    pub base: u32,
    /// How many ports are open.
    pub open: u32,
    /// The lowest of them.
    pub first: u16,
    /// The low half of the TSS's descriptor, with the low half of the limit.
    pub descriptor: Option<ChangedWord>,
    /// Linear address of the instruction that was to enter an outer ring with it.
    pub by: u32,
}

impl IoMap {
    /// The map that is in force in `state` for code with `eflags`; none if it opens nothing.
    pub fn read(linear: &LinearMemory<'_>, state: &State, eflags: Eflags) -> Option<Self> {
        // With IOPL 3 all ports are open, and the map is not asked.
        if TssWidth::from_type(state.tr.ty()) != Some(TssWidth::Bits32)
            || state.tr.selector().is_null()
            || eflags.iopl() == 3
            || state.tr.limit < BASE + 1
        {
            return None;
        }
        let (tss, limit) = (state.tr.base, state.tr.limit);
        let base = u32::from(linear.read_u16(tss.wrapping_add(BASE))?);
        // The second byte of an access has to lie within the limit too.
        let bytes = limit.checked_sub(base)?.min(WHOLE);
        let address = state.gdtr.base.wrapping_add(u32::from(state.tr.selector & 0xfff8));
        let descriptor = linear.read_u32(address).and_then(|value| {
            let physical = linear.paging.translate(linear.memory, address)?;
            Some(ChangedWord { address, physical, value })
        });
        let by = state.instruction_address();
        let mut map = IoMap { tss, limit, base, open: 0, first: 0, descriptor, by };
        for index in 0..bytes {
            let mut byte = [0xff];
            let _ = linear.read(tss.wrapping_add(base + index), &mut byte);
            let free = byte[0].count_zeros();
            if free > 0 && map.open == 0 {
                map.first = (index * 8 + byte[0].trailing_ones()) as u16;
            }
            map.open += free;
        }
        (map.open > 0).then_some(map)
    }

    /// It begins inside the TSS: nobody made it.
    pub fn is_odd(&self) -> bool {
        self.base < TSS
    }
}

/// The limit is the address behind the TSS, or behind the object that it lies in.
fn is_end(map: &IoMap) -> bool {
    let size = map.limit.wrapping_sub(map.tss) & 0xf_ffff;
    (TSS - 1..=2 * TSS).contains(&size)
}

/// Ring 3 has only the ports that a map opens which was made on purpose.
///
/// A limit beyond the TSS with a base inside it is a fault. A base of 0 with the limit of a plain TSS is what
/// many kernels have by leaving the word alone: a note.
pub(super) fn ports_are_open(map: Option<&IoMap>) -> Option<Placed> {
    let map = map.filter(|map| map.is_odd())?;
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!(
            "ring 3 has {} ports open, from {:#x} on: the TSS limit reaches beyond the I/O map base",
            map.open, map.first
        ),
        format!("an I/O map base above the limit, or a map behind the TSS: {TSS:#x} or more"),
        format!(
            "I/O map base {:#x}, TSS limit {:#x}: the words of the TSS{} are taken for the map",
            map.base,
            map.limit,
            if map.limit > PLAIN { " and what lies behind it" } else { "" }
        ),
    )
    .about_instruction(map.by);
    let finding = if map.limit > PLAIN {
        finding
            .because(if is_end(map) {
                format!(
                    "the limit in the TSS descriptor is the address of the TSS's end (its low 20 bits); \
                     it has to be the size of the TSS less 1: {:#x}",
                    TSS - 1
                )
            } else {
                format!("the size of the TSS less 1 is {:#x}", TSS - 1)
            })
            .advise(format!(
                "give the TSS descriptor the limit {:#x}, and the word at TSS+{BASE} the value {TSS}",
                TSS - 1
            ))
            .stored_at(map.descriptor)
    } else {
        finding
            .because("the word with the I/O map base was never stored, or holds an offset inside the TSS")
            .advise(format!("store {TSS} in the word at TSS+{BASE}"))
            .as_note()
    };
    Some((format!("the TSS at {:08x}", map.tss), finding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Degree;
    use crate::machine::{Memory, Paging};

    fn with(base: u16, limit: u32, map: &[u8], iopl: u32) -> Option<IoMap> {
        let mut memory = Memory::detached(0x20000).unwrap();
        memory.write(0x1000 + u64::from(base), map).unwrap();
        memory.write(0x1000 + u64::from(BASE), &base.to_le_bytes()).unwrap();
        let linear = LinearMemory { memory: &memory, paging: Paging::default() };
        let mut state = State::default();
        state.tr.selector = 0x28;
        state.tr.attributes = 0x8b;
        (state.tr.base, state.tr.limit) = (0x1000, limit);
        IoMap::read(&linear, &state, Eflags(iopl << 12))
    }

    #[test]
    fn a_tss_without_a_map_opens_nothing() {
        assert_eq!(with(104, 103, &[], 0), None);
        assert_eq!(with(104, 104, &[0], 0), None, "one byte is no port: two are read");
        assert_eq!(with(0xffff, 0x2067, &[], 0), None);
        assert_eq!(with(0, 0x2067, &[], 3), None, "IOPL 3 asks no map");
    }

    #[test]
    fn a_map_that_was_made_opens_single_ports_and_is_no_finding() {
        let mut bytes = vec![0xff; 8193];
        bytes[0x3f8 / 8] = 0;
        let map = with(104, 104 + 8192, &bytes, 0).unwrap();
        assert_eq!((map.open, map.first), (8, 0x3f8));
        assert!(ports_are_open(Some(&map)).is_none());
    }

    #[test]
    fn a_map_inside_the_tss_is_a_finding_with_a_limit_beyond_it_and_a_note_without() {
        let (_, finding) = ports_are_open(with(0, 0x2067, &[], 0).as_ref()).unwrap();
        assert_eq!(finding.degree, Degree::Fault);
        let (_, finding) = ports_are_open(with(8, 0x300, &[], 0).as_ref()).unwrap();
        assert_eq!(finding.degree, Degree::Fault);
        for limit in [103, 104, 108] {
            let (_, note) = ports_are_open(with(0, limit, &[], 0).as_ref()).unwrap();
            assert_eq!(note.degree, Degree::Note);
        }
    }
}
