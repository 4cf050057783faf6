//! The way through the page tables to one address, level by level, for whoever has to say which
//! entry refuses an access, and by which bit (SDM vol. 3A, "32-bit paging", "PAE paging" and
//! "Determination of access rights").
//!
//! ```text
//!  CR3 ─► directory entry ─► page-table entry ─► page          32-bit
//!  CR3 ─► pointer ─► directory entry ─► page-table entry ─► page          PAE
//! ```
//! Kept as values: by the end of a run the kernel may have mapped the page, or put the tables to
//! another use.

use crate::machine::{Memory, Paging};
use ia32::State;
use std::fmt;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const WRITE_PROTECT: u32 = 1 << 16;
/// Bits 51 to 12.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// One entry on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// What the entry is called.
    pub name: &'static str,
    /// Its physical address.
    pub address: u64,
    /// The entry; none if its table lies where there is no RAM.
    pub entry: Option<u64>,
}

/// The way to a linear address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The address.
    pub linear: u32,
    /// CR3.
    pub root: u32,
    /// CR0.WP: ring 0 may not write read-only pages.
    pub write_protect: bool,
    levels: [Option<Level>; 3],
    /// Where it leads, if each entry is present.
    pub physical: Option<u64>,
}

/// What is wrong with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// An entry is not present.
    NotPresent,
    /// A table lies where there is no RAM.
    TableBeyondRam,
    /// Ring 3, and U/S is 0.
    Supervisor,
    /// A write, and R/W is 0.
    ReadOnly,
}

/// What is done at the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// It is written.
    pub write: bool,
    /// By ring 3.
    pub user: bool,
}

impl Reach {
    /// From the error code of a #PF.
    pub const fn of_error_code(code: u32) -> Self {
        Reach { write: code & 2 != 0, user: code & 4 != 0 }
    }
}

impl Walk {
    /// The way to `linear` in `state`; none while paging is off.
    pub fn of(memory: &Memory, state: &State, linear: u32) -> Option<Self> {
        let paging = Paging::from(state);
        if !paging.enabled {
            return None;
        }
        let mut walk = Walk {
            linear,
            root: state.cr3,
            write_protect: state.cr0 & WRITE_PROTECT != 0,
            levels: [None; 3],
            physical: None,
        };
        walk.follow(memory, &paging);
        Some(walk)
    }

    fn follow(&mut self, memory: &Memory, paging: &Paging) {
        const NAMES: [&str; 3] =
            ["page-directory-pointer entry", "directory entry", "page-table entry"];
        let size = if paging.extended { 8 } else { 4 };
        let (shifts, first): ([u32; 3], usize) =
            if paging.extended { ([30, 21, 12], 0) } else { ([32, 22, 12], 1) };
        let mut table = match paging.extended {
            true => u64::from(paging.root & 0xffff_ffe0),
            false => u64::from(paging.root & 0xffff_f000),
        };
        for (place, level) in (first..3).enumerate() {
            let width = match level {
                0 => 2,
                _ if paging.extended => 9,
                _ => 10,
            };
            let index = self.linear >> shifts[level] & ((1 << width) - 1);
            let address = table + u64::from(index) * size;
            let entry = match size {
                8 => memory.read_u64(address),
                _ => memory.read_u32(address).map(u64::from),
            };
            self.levels[place] = Some(Level { name: NAMES[level], address, entry });
            let Some(entry) = entry.filter(|entry| entry & PRESENT != 0) else { return };
            let large = level == 1 && entry & LARGE != 0 && (paging.large_pages || paging.extended);
            if large || level == 2 {
                let offset = (1u64 << shifts[level]) - 1;
                // PSE-36 is left aside: guests of this size have nothing there.
                self.physical = Some(entry & FRAME & !offset | u64::from(self.linear) & offset);
                return;
            }
            table = entry & FRAME;
        }
    }

    /// The entries that were read, from the root on.
    pub fn levels(&self) -> impl Iterator<Item = &Level> {
        self.levels.iter().flatten()
    }

    /// Why `reach` is refused here; none if it is allowed.
    pub fn denies(&self, reach: Reach) -> Option<Denied> {
        if self.levels().any(|level| level.entry.is_none()) {
            return Some(Denied::TableBeyondRam);
        }
        let all = |bit: u64| self.levels().all(|level| level.lacks(bit).is_none());
        if self.physical.is_none() {
            Some(Denied::NotPresent)
        } else if reach.user && !all(USER) {
            Some(Denied::Supervisor)
        } else if reach.write && !all(WRITABLE) && (reach.user || self.write_protect) {
            Some(Denied::ReadOnly)
        } else {
            None
        }
    }

    /// The first entry that is present and refuses `reach`.
    pub fn denying(&self, reach: Reach) -> Option<&Level> {
        let bit = match self.denies(reach)? {
            Denied::Supervisor => USER,
            Denied::ReadOnly => WRITABLE,
            Denied::NotPresent | Denied::TableBeyondRam => return None,
        };
        self.levels().find(|level| level.lacks(bit).is_some())
    }

    /// `reach` and what refuses it, as a sentence without a subject of its own: `page 00101000 is for
    /// the supervisor: U/S is 0 in its directory entry (00000083, at physical 00102000)`.
    pub fn sentence(&self, reach: Reach) -> String {
        let page = self.linear & 0xffff_f000;
        let lacking = |bit: u64| -> String {
            let levels: Vec<String> =
                self.levels().filter_map(|level| level.lacks(bit)).map(Level::to_string).collect();
            levels.join(" and in its ")
        };
        match self.denies(reach) {
            None => format!("page {page:08x} is mapped and open to this access"),
            Some(Denied::Supervisor) => {
                format!("page {page:08x} is for the supervisor: U/S is 0 in its {}", lacking(USER))
            }
            Some(Denied::ReadOnly) => {
                format!("page {page:08x} is read-only: R/W is 0 in its {}", lacking(WRITABLE))
            }
            Some(Denied::NotPresent) => match self.levels().last() {
                Some(level) if level.entry == Some(0) => {
                    format!("page {page:08x} is not mapped: its {level} is empty")
                }
                _ => format!("page {page:08x} is not mapped: P is 0 in its {}", lacking(PRESENT)),
            },
            Some(Denied::TableBeyondRam) => {
                let levels: Vec<&Level> = self.levels().collect();
                match levels[..] {
                    [.., above, table] => format!(
                        "page {page:08x} is not mapped: its {above} points to a table at {:08x}, \
                         where there is no RAM",
                        table.address & !0xfff
                    ),
                    _ => format!(
                        "page {page:08x} is not mapped: CR3 is {:08x}, where there is no RAM",
                        self.root
                    ),
                }
            }
        }
    }
}

impl Level {
    /// Itself, if `bit` is 0 in it. The first level of PAE has neither R/W nor U/S.
    fn lacks(&self, bit: u64) -> Option<&Self> {
        let has_rights = bit == PRESENT || self.name != "page-directory-pointer entry";
        (has_rights && self.entry.is_some_and(|entry| entry & bit == 0)).then_some(self)
    }
}

/// `directory entry (00000083, at physical 00102000)`.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some(entry) => {
                write!(f, "{} ({entry:08x}, at physical {:08x})", self.name, self.address)
            }
            None => write!(f, "{} (at physical {:08x}, no RAM)", self.name, self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paged(entries: &[(u64, u32)]) -> (Memory, State) {
        let mut memory = Memory::detached(0x10000).unwrap();
        for (address, value) in entries {
            memory.write(*address, &value.to_le_bytes()).unwrap();
        }
        (memory, State { cr0: 0x8000_0001, cr3: 0x1000, ..State::default() })
    }

    fn sentence(entries: &[(u64, u32)], reach: Reach) -> String {
        let (memory, state) = paged(entries);
        Walk::of(&memory, &state, 0x3456).unwrap().sentence(reach)
    }

    #[test]
    fn the_level_and_the_bit_that_refuse_are_named() {
        let user = Reach { user: true, write: false };
        let write = Reach { user: true, write: true };
        let table = (0x1000, 0x2007);
        assert_eq!(
            sentence(&[(0x1000, 0x2003), (0x200c, 0x5007)], user),
            "page 00003000 is for the supervisor: U/S is 0 in its directory entry (00002003, at \
             physical 00001000)"
        );
        assert!(
            sentence(&[table, (0x200c, 0x5003)], user).contains("its page-table entry (00005003")
        );
        let both = sentence(&[(0x1000, 0x2003), (0x200c, 0x5003)], user);
        assert!(
            both.contains("directory entry (") && both.contains("page-table entry ("),
            "{both}"
        );
        assert!(sentence(&[table, (0x200c, 0x5005)], write).contains("R/W is 0 in its page-table"));
        assert!(
            sentence(&[table], user)
                .contains("its page-table entry (00000000, at physical 0000200c) is empty")
        );
        assert!(sentence(&[(0x1000, 0x2006)], user).contains("P is 0 in its directory entry"));
    }

    #[test]
    fn a_table_where_there_is_no_ram_is_told_apart_from_an_entry_that_is_not_present() {
        let text = sentence(&[(0x1000, 0x0848_0003)], Reach::default());
        assert_eq!(
            text,
            "page 00003000 is not mapped: its directory entry (08480003, at physical 00001000) points \
             to a table at 08480000, where there is no RAM"
        );
    }

    #[test]
    fn what_ring_0_writes_read_only_depends_on_cr0_wp() {
        let (memory, mut state) = paged(&[(0x1000, 0x2007), (0x200c, 0x5005)]);
        let write = Reach { user: false, write: true };
        assert_eq!(Walk::of(&memory, &state, 0x3000).unwrap().denies(write), None);
        state.cr0 |= WRITE_PROTECT;
        let walk = Walk::of(&memory, &state, 0x3010).unwrap();
        assert_eq!((walk.denies(write), walk.physical), (Some(Denied::ReadOnly), Some(0x5010)));
    }

    #[test]
    fn large_pages_and_pae_are_followed() {
        let (memory, mut state) = paged(&[(0x1000, 0x83)]);
        state.cr4 = 1 << 4;
        assert_eq!(Walk::of(&memory, &state, 0x3456).unwrap().physical, Some(0x3456));
        let (memory, mut state) = paged(&[(0x1000, 0x2001), (0x2000, 0x3007), (0x3018, 0x5003)]);
        state.cr4 = 1 << 5;
        let walk = Walk::of(&memory, &state, 0x3456).unwrap();
        assert_eq!(walk.physical, Some(0x5456));
        assert_eq!(walk.denies(Reach { user: true, write: false }), Some(Denied::Supervisor));
        state.cr0 = 1;
        assert_eq!(Walk::of(&memory, &state, 0), None);
    }
}
