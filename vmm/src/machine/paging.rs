//! Linear to physical addresses, as the processor translates them
//! (SDM vol. 3A, "32-bit paging" and "PAE paging").
//!
//! The walk reads the tables and changes nothing: it sets no accessed or dirty bit and checks no
//! right. It is for looking at a guest from outside, where KVM_TRANSLATE would cost an ioctl.
//!
//! ```text
//!  32-bit:  │ directory 31:22 │ table 21:12 │ offset 11:0 │   4 MiB page: offset 21:0
//!  PAE:     │ 31:30 │ directory 29:21 │ table 20:12 │ offset 11:0 │   2 MiB page: offset 20:0
//! ```

use super::Memory;
use ia32::{Descriptor, Selector, State, Table};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
/// Bits 51 to 12: where the next table or the page lies.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// The control bits that decide how a linear address is translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Paging {
    /// CR0.PG.
    pub enabled: bool,
    /// CR4.PSE: 4 MiB pages.
    pub large_pages: bool,
    /// CR4.PAE: entries of eight bytes.
    pub extended: bool,
    /// CR3: physical address of the first table.
    pub root: u32,
}

impl From<&State> for Paging {
    fn from(state: &State) -> Self {
        Paging::from_registers(state.cr0, state.cr3, state.cr4)
    }
}

/// What the tables allow at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRights {
    /// Where the byte lies in physical memory.
    pub physical: u64,
    /// All levels allow writes.
    pub writable: bool,
    /// All levels allow ring 3.
    pub user: bool,
}

impl Paging {
    /// From the registers themselves.
    pub const fn from_registers(cr0: u32, cr3: u32, cr4: u32) -> Self {
        Paging {
            enabled: cr0 & (1 << 31) != 0,
            large_pages: cr4 & (1 << 4) != 0,
            extended: cr4 & (1 << 5) != 0,
            root: cr3,
        }
    }

    /// Where `linear` lies in physical memory; none if it is not mapped.
    #[inline]
    pub fn translate(&self, memory: &Memory, linear: u32) -> Option<u64> {
        self.access(memory, linear).map(|access| access.physical)
    }

    /// Where `linear` lies, and what may be done there; none if it is not mapped.
    #[inline]
    pub fn access(&self, memory: &Memory, linear: u32) -> Option<PageRights> {
        if !self.enabled {
            return Some(PageRights { physical: u64::from(linear), writable: true, user: true });
        }
        if self.extended { self.walk_pae(memory, linear) } else { self.walk(memory, linear) }
    }

    fn walk(&self, memory: &Memory, linear: u32) -> Option<PageRights> {
        let directory = u64::from(self.root & 0xffff_f000);
        let entry = u64::from(memory.read_u32(directory + u64::from(linear >> 22) * 4)?);
        if entry & PRESENT == 0 {
            return None;
        }
        if entry & LARGE != 0 && self.large_pages {
            // PSE-36: bits 20:13 of the entry are bits 39:32 of the address.
            let frame = (entry & 0xffc0_0000) | (entry & 0x001f_e000) << 19;
            return Some(access(entry, frame | u64::from(linear & 0x003f_ffff)));
        }
        let table = entry & 0xffff_f000;
        let page = u64::from(memory.read_u32(table + u64::from(linear >> 12 & 0x3ff) * 4)?);
        if page & PRESENT == 0 {
            return None;
        }
        Some(access(entry & page, (page & 0xffff_f000) | u64::from(linear & 0xfff)))
    }

    fn walk_pae(&self, memory: &Memory, linear: u32) -> Option<PageRights> {
        let pointers = u64::from(self.root & 0xffff_ffe0);
        let pointer = memory.read_u64(pointers + u64::from(linear >> 30) * 8)?;
        if pointer & PRESENT == 0 {
            return None;
        }
        let directory = pointer & FRAME;
        let entry = memory.read_u64(directory + u64::from(linear >> 21 & 0x1ff) * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        if entry & LARGE != 0 {
            let frame = entry & FRAME & !0x1f_ffff;
            return Some(access(entry, frame | u64::from(linear & 0x1f_ffff)));
        }
        let page = memory.read_u64((entry & FRAME) + u64::from(linear >> 12 & 0x1ff) * 8)?;
        if page & PRESENT == 0 {
            return None;
        }
        Some(access(entry & page, (page & FRAME) | u64::from(linear & 0xfff)))
    }
}

fn access(bits: u64, physical: u64) -> PageRights {
    PageRights { physical, writable: bits & WRITABLE != 0, user: bits & USER != 0 }
}

/// Guest memory by linear address, to be read.
#[derive(Clone, Copy, Debug)]
pub struct LinearMemory<'a> {
    /// The RAM below.
    pub memory: &'a Memory,
    /// How addresses are translated.
    pub paging: Paging,
}

impl LinearMemory<'_> {
    /// The word at `address`, which may be unaligned and cross a page; none if it is not mapped.
    #[inline]
    pub fn read_u32(&self, address: u32) -> Option<u32> {
        if address & 0xfff <= 0xffc {
            return self.memory.read_u32(self.paging.translate(self.memory, address)?);
        }
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Some(u32::from_le_bytes(bytes))
    }

    /// The half word at `address`.
    #[inline]
    pub fn read_u16(&self, address: u32) -> Option<u16> {
        if address & 0xfff <= 0xffe {
            let physical = self.paging.translate(self.memory, address)?;
            return self.memory.read_array(physical).map(u16::from_le_bytes);
        }
        let mut bytes = [0; 2];
        self.read(address, &mut bytes)?;
        Some(u16::from_le_bytes(bytes))
    }

    /// The bytes from `address` on; none if any of them is not mapped.
    pub fn read(&self, address: u32, bytes: &mut [u8]) -> Option<()> {
        let length = bytes.len();
        (self.read_some(address, bytes) == length).then_some(())
    }

    /// The descriptor that `selector` names in the tables of `state`; none if it is null or lies
    /// outside its table.
    pub fn descriptor(&self, state: &State, selector: Selector) -> Option<Descriptor> {
        let (base, limit) = match selector.table() {
            Table::Gdt => (state.gdtr.base, u32::from(state.gdtr.limit)),
            Table::Ldt => (state.ldtr.base, state.ldtr.limit),
        };
        if selector.is_null() || selector.offset() + 7 > limit {
            return None;
        }
        let at = base.wrapping_add(selector.offset());
        if at & 0xfff <= 0xff8 {
            let physical = self.paging.translate(self.memory, at)?;
            return self.memory.read_u64(physical).map(Descriptor);
        }
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Some(Descriptor(u64::from_le_bytes(bytes)))
    }

    /// As many of the bytes from `address` on as are mapped; how many those are.
    pub fn read_some(&self, address: u32, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let at = address.wrapping_add(done as u32);
            let length = (bytes.len() - done).min(0x1000 - (at & 0xfff) as usize);
            let Some(physical) = self.paging.translate(self.memory, at) else { break };
            if self.memory.read(physical, &mut bytes[done..done + length]).is_none() {
                break;
            }
            done += length;
        }
        done
    }

    /// Whether the bytes from `address` on are mapped and equal `bytes`.
    #[inline]
    pub fn equals(&self, address: u32, bytes: &[u8]) -> bool {
        let mut done = 0;
        while done < bytes.len() {
            let at = address.wrapping_add(done as u32);
            let length = (bytes.len() - done).min(0x1000 - (at & 0xfff) as usize);
            let same = self
                .paging
                .translate(self.memory, at)
                .is_some_and(|physical| self.memory.equals(physical, &bytes[done..done + length]));
            if !same {
                return false;
            }
            done += length;
        }
        true
    }
}

/// Guest memory by linear address, to be read and written.
#[derive(Debug)]
pub struct LinearMemoryMut<'a> {
    memory: &'a mut Memory,
    paging: Paging,
}

impl<'a> LinearMemoryMut<'a> {
    /// `memory` as `paging` maps it.
    pub fn new(memory: &'a mut Memory, paging: Paging) -> Self {
        LinearMemoryMut { memory, paging }
    }

    /// Where `linear` lies, and what may be done there; none if it is not mapped.
    #[inline]
    pub(crate) fn access(&self, linear: u32) -> Option<PageRights> {
        self.paging.access(self.memory, linear)
    }

    /// The same, to be read.
    #[inline]
    pub fn read_only(&self) -> LinearMemory<'_> {
        LinearMemory { memory: self.memory, paging: self.paging }
    }

    /// Replaces the bytes from `address` on, whatever the tables allow; none if any of them is not
    /// mapped, in which case those before it may have been written.
    pub fn write(&mut self, address: u32, bytes: &[u8]) -> Option<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = address.wrapping_add(done as u32);
            let length = (bytes.len() - done).min(0x1000 - (at & 0xfff) as usize);
            let physical = self.paging.translate(self.memory, at)?;
            self.memory.write(physical, &bytes[done..done + length])?;
            done += length;
        }
        Some(())
    }

    /// Replaces bytes by physical address; none if any of them is no RAM.
    #[inline]
    pub(crate) fn write_physical(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        self.memory.write(address, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory_with(words: &[(u64, u32)]) -> Memory {
        let mut memory = Memory::detached(0x10_0000).unwrap();
        for (address, value) in words {
            memory.write(*address, &value.to_le_bytes()).unwrap();
        }
        memory
    }

    #[test]
    fn without_paging_an_address_is_itself() {
        let memory = memory_with(&[]);
        assert_eq!(Paging::default().translate(&memory, 0x1234), Some(0x1234));
    }

    #[test]
    fn two_levels_lead_to_a_page_of_4_kib() {
        let memory = memory_with(&[(0x1000 + 0x300 * 4, 0x2007), (0x2000 + 4, 0x5005)]);
        let paging = Paging { enabled: true, root: 0x1000, ..Paging::default() };
        let access = paging.access(&memory, 0xc000_1abc).unwrap();
        assert_eq!(access, PageRights { physical: 0x5abc, writable: false, user: true });
        assert_eq!(paging.access(&memory, 0xc000_2000), None);
        assert_eq!(paging.access(&memory, 0), None);
    }

    #[test]
    fn a_page_of_4_mib_needs_pse() {
        let memory = memory_with(&[(0x1000 + 0x300 * 4, 0x0000_0083)]);
        let paging = Paging { enabled: true, large_pages: true, root: 0x1000, ..Paging::default() };
        let access = paging.access(&memory, 0xc012_3456).unwrap();
        assert_eq!(access, PageRights { physical: 0x12_3456, writable: true, user: false });
        let without = Paging { large_pages: false, ..paging };
        assert_ne!(without.translate(&memory, 0xc012_3456), Some(0x12_3456));
    }

    #[test]
    fn pae_walks_three_levels() {
        let memory = memory_with(&[
            (0x1020 + 3 * 8, 0x2001),
            (0x2000 + 8, 0x3003),
            (0x3000 + 2 * 8, 0x7003),
            (0x2000 + 2 * 8, 0x0020_0083),
        ]);
        let paging = Paging { enabled: true, extended: true, root: 0x1020, ..Paging::default() };
        assert_eq!(paging.translate(&memory, 0xc020_2123), Some(0x7123));
        assert_eq!(paging.translate(&memory, 0xc041_2345), Some(0x21_2345));
    }

    #[test]
    fn a_word_across_two_pages_is_read_from_both() {
        let mut memory = memory_with(&[
            (0x1000, 0x2007),
            (0x2000, 0x5007),
            (0x2004, 0x9007),
            (0x5ffc, 0x1122_3344),
            (0x9000, 0x5566_7788),
        ]);
        let paging = Paging { enabled: true, root: 0x1000, ..Paging::default() };
        let mut linear = LinearMemoryMut::new(&mut memory, paging);
        assert_eq!(linear.read_only().read_u32(0xffe), Some(0x7788_1122));
        linear.write(0xffe, &0xaabb_ccdd_u32.to_le_bytes()).unwrap();
        assert_eq!(linear.read_only().read_u32(0x1ffe), None);
        assert_eq!(memory.read_u32(0x5ffc), Some(0xccdd_3344));
        assert_eq!(memory.read_u32(0x9000), Some(0x5566_aabb));
    }
}
