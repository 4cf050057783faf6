//! 32-bit paging (SDM vol. 3A, chapter "Paging": "32-bit paging", "Access rights", "Page-fault
//! exceptions", "Accessed and dirty flags").
//!
//! ```text
//!   linear  │ directory 31:22 │ table 21:12 │ offset 11:0 │      4 KiB page
//!           │ directory 31:22 │       offset 21:0         │      4 MiB page (CR4.PSE, PS)
//!
//!   entry   │ address 31:12 │ … │ PS 7 │ D 6 │ A 5 │ … │ U/S 2 │ R/W 1 │ P 0 │
//! ```
//! A walk is pure: it says where the byte lies or which page fault arises, and which entries are
//! written. It begins at the tables in memory each time; a TLB that holds something older is not
//! modelled, so software has to have invalidated what it changed.

use crate::{Processor, ReadMemory, State};

/// P: the entry is used.
pub const PRESENT: u32 = 1;
/// R/W: writes are allowed.
pub const WRITABLE: u32 = 1 << 1;
/// U/S: ring 3 may use the page.
pub const USER: u32 = 1 << 2;
/// A: the entry has been used.
pub const ACCESSED: u32 = 1 << 5;
/// D: the page has been written.
pub const DIRTY: u32 = 1 << 6;
/// PS: a directory entry maps 4 MiB.
pub const LARGE: u32 = 1 << 7;

/// The control bits that decide how a linear address is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagingControls {
    /// CR0.PG.
    pub enabled: bool,
    /// CR0.WP: rings 0 to 2 may not write read-only pages either.
    pub write_protect: bool,
    /// CR4.PSE: 4 MiB pages.
    pub large_pages: bool,
    /// CR4.SMAP: rings 0 to 2 may not touch pages of ring 3.
    pub smap: bool,
    /// EFLAGS.AC: they may after all, in accesses of their own.
    pub alignment_check: bool,
    /// CR3: bits 31:12 are the directory's physical address.
    pub root: u32,
}

impl From<&State> for PagingControls {
    fn from(state: &State) -> Self {
        PagingControls {
            enabled: state.paging(),
            write_protect: state.cr0 & (1 << 16) != 0,
            large_pages: state.cr4 & (1 << 4) != 0,
            smap: state.cr4 & (1 << 21) != 0,
            alignment_check: state.eflags.contains(crate::Eflags::AC),
            root: state.cr3,
        }
    }
}

/// On whose behalf memory is accessed (SDM vol. 3A, "Determination of access rights").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// By code in ring 3.
    User,
    /// By code in rings 0 to 2.
    Supervisor,
    /// By the processor itself, to a descriptor table or a TSS: supervisor, whatever the ring.
    Implicit,
}

impl Privilege {
    /// Of accesses to the stack in ring `cpl`.
    pub const fn of(cpl: u8) -> Self {
        if cpl == 3 { Privilege::User } else { Privilege::Supervisor }
    }
}

/// What is to be done at a linear address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRequest {
    /// It is written, not only read.
    pub write: bool,
    /// On whose behalf.
    pub privilege: Privilege,
}

/// Why a translation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The directory entry is not present.
    DirectoryNotPresent,
    /// The page-table entry is not present.
    TableNotPresent,
    /// A reserved bit is set in the directory entry of a 4 MiB page.
    Reserved,
    /// The page is not ring 3's.
    NotUser,
    /// The page is read-only.
    ReadOnly,
    /// The page is ring 3's, and CR4.SMAP is set.
    Smap,
}

/// A page fault: #PF with this error code, and CR2 = the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// The linear address, as CR2 will hold it.
    pub address: u32,
    /// P (0), W/R (1), U/S (2), RSVD (3); SDM vol. 3A, "Page-fault exceptions".
    pub error_code: u32,
    /// Which condition was not met.
    pub denial: Denial,
}

/// A byte of a paging-structure entry in which A or D becomes set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryUpdate {
    /// Physical address of the entry's lowest byte.
    pub address: u64,
    /// That byte, with the bits set.
    pub value: u8,
}

/// How a translation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address, or the fault.
    pub result: Result<u64, PageFault>,
    /// What changes in the directory entry, if anything. After a fault: what may have changed.
    pub directory: Option<EntryUpdate>,
    /// What changes in the page-table entry.
    pub table: Option<EntryUpdate>,
    /// The address lies in a 4 MiB page.
    pub large: bool,
}

/// Translates a linear address.
///
/// ```
/// use ia32::paging::{AccessRequest, PagingControls, Privilege, translate};
/// use ia32::Processor;
///
/// // A directory at 0 whose first entry is a present, writable 4 MiB page at 4 MiB.
/// let memory = 0x0040_0083u32.to_le_bytes();
/// let paging = PagingControls {
///     enabled: true, write_protect: true, large_pages: true, smap: false,
///     alignment_check: false, root: 0,
/// };
/// let access = AccessRequest { write: true, privilege: Privilege::Supervisor };
/// let walk = translate(&memory, &paging, 0x1234, access, &Processor::INTEL);
/// assert_eq!(walk.result, Ok(0x0040_1234));
/// assert_eq!(walk.directory.map(|entry| entry.value), Some(0xe3)); // A and D
///
/// let user = AccessRequest { privilege: Privilege::User, ..access };
/// let fault = translate(&memory, &paging, 0x1234, user, &Processor::INTEL).result.unwrap_err();
/// assert_eq!((fault.error_code, fault.address), (0b111, 0x1234));
/// ```
pub fn translate(
    memory: &(impl ReadMemory + ?Sized),
    paging: &PagingControls,
    linear: u32,
    access: AccessRequest,
    processor: &Processor,
) -> Translation {
    let mut walk =
        Translation { result: Ok(u64::from(linear)), directory: None, table: None, large: false };
    if !paging.enabled || memory.is_linear() {
        return walk;
    }

    let at = u64::from(paging.root & 0xffff_f000) + u64::from(linear >> 22) * 4;
    let entry = memory.read_u32(at);
    if entry & PRESENT == 0 {
        walk.result = Err(fault(linear, access, Denial::DirectoryNotPresent));
        return walk;
    }
    if paging.large_pages && entry & LARGE != 0 {
        walk.large = true;
        walk.result = if entry & reserved(processor) != 0 {
            Err(fault(linear, access, Denial::Reserved))
        } else {
            permit(paging, access, entry)
                .map(|()| large_page(entry, processor) | u64::from(linear & 0x003f_ffff))
                .map_err(|denial| fault(linear, access, denial))
        };
        let marks = if access.write && walk.result.is_ok() { ACCESSED | DIRTY } else { ACCESSED };
        if !matches!(walk.result, Err(PageFault { denial: Denial::Reserved, .. })) {
            walk.directory = update(at, entry, marks);
        }
        return walk;
    }
    walk.directory = update(at, entry, ACCESSED);

    let at = u64::from(entry & 0xffff_f000) + u64::from((linear >> 12) & 0x3ff) * 4;
    let directory = entry;
    let entry = memory.read_u32(at);
    if entry & PRESENT == 0 {
        walk.result = Err(fault(linear, access, Denial::TableNotPresent));
        return walk;
    }
    // Ring 3 needs U/S, and a write R/W, in the entries of both levels ("Determination of access rights").
    walk.result = permit(paging, access, directory & entry)
        .map(|()| u64::from(entry & 0xffff_f000) | u64::from(linear & 0xfff))
        .map_err(|denial| fault(linear, access, denial));
    let marks = if access.write && walk.result.is_ok() { ACCESSED | DIRTY } else { ACCESSED };
    walk.table = update(at, entry, marks);
    walk
}

/// Access rights (SDM vol. 3A, "Determination of access rights", data accesses).
fn permit(paging: &PagingControls, access: AccessRequest, rights: u32) -> Result<(), Denial> {
    let (user_page, writable) = (rights & USER != 0, rights & WRITABLE != 0);
    match access.privilege {
        Privilege::User if !user_page => Err(Denial::NotUser),
        Privilege::User if access.write && !writable => Err(Denial::ReadOnly),
        Privilege::User => Ok(()),
        Privilege::Supervisor if user_page && paging.smap && !paging.alignment_check => {
            Err(Denial::Smap)
        }
        Privilege::Implicit if user_page && paging.smap => Err(Denial::Smap),
        _ if access.write && !writable && paging.write_protect => Err(Denial::ReadOnly),
        _ => Ok(()),
    }
}

/// The error code (SDM vol. 3A, figure "Page-fault error code").
fn fault(linear: u32, access: AccessRequest, denial: Denial) -> PageFault {
    let present = match denial {
        Denial::DirectoryNotPresent | Denial::TableNotPresent => 0,
        Denial::Reserved => 0b1001,
        Denial::NotUser | Denial::ReadOnly | Denial::Smap => 0b0001,
    };
    let write = u32::from(access.write) << 1;
    let user = u32::from(access.privilege == Privilege::User) << 2;
    PageFault { address: linear, error_code: present | write | user, denial }
}

/// The bits that must be 0 in the directory entry of a 4 MiB page (SDM vol. 3A, table "Format of a 32-bit page-directory entry that maps a 4-MByte page"): 21 down
/// to where the address above 4 GiB ends.
fn reserved(processor: &Processor) -> u32 {
    let above = high_bits(processor);
    0x003f_e000 & !(((1 << above) - 1) << 13)
}

/// How many bits of the address above 4 GiB an entry for a 4 MiB page holds, from bit 13 on.
fn high_bits(processor: &Processor) -> u32 {
    if processor.pse36 { u32::from(processor.physical_bits.clamp(32, 40)) - 32 } else { 0 }
}

fn large_page(entry: u32, processor: &Processor) -> u64 {
    let above = u64::from(entry >> 13) & ((1 << high_bits(processor)) - 1);
    above << 32 | u64::from(entry & 0xffc0_0000)
}

fn update(address: u64, entry: u32, marks: u32) -> Option<EntryUpdate> {
    (entry & marks != marks).then_some(EntryUpdate { address, value: (entry | marks) as u8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: PagingControls = PagingControls {
        enabled: false,
        write_protect: true,
        large_pages: true,
        smap: false,
        alignment_check: false,
        root: 0x1000,
    };
    const ON: PagingControls = PagingControls { enabled: true, ..OFF };
    const READ: AccessRequest = AccessRequest { write: false, privilege: Privilege::Supervisor };
    const WRITE: AccessRequest = AccessRequest { write: true, ..READ };

    /// A directory at 0x1000 and a table at 0x2000, each with one entry, both for `linear`.
    fn tables(linear: u32, directory: u32, table: u32) -> [u8; 0x3000] {
        let mut memory = [0; 0x3000];
        let at = 0x1000 + (linear >> 22) as usize * 4;
        memory[at..at + 4].copy_from_slice(&directory.to_le_bytes());
        let at = 0x2000 + (linear >> 12 & 0x3ff) as usize * 4;
        memory[at..at + 4].copy_from_slice(&table.to_le_bytes());
        memory
    }

    fn walk(
        directory: u32,
        table: u32,
        paging: &PagingControls,
        access: AccessRequest,
    ) -> Translation {
        let memory = tables(0xc012_3456, directory, table);
        translate(&memory, paging, 0xc012_3456, access, &Processor::INTEL)
    }

    fn code(walk: Translation) -> u32 {
        walk.result.unwrap_err().error_code
    }

    #[test]
    fn without_paging_linear_is_physical() {
        assert_eq!(walk(0, 0, &OFF, WRITE).result, Ok(0xc012_3456));
    }

    #[test]
    fn a_small_page_is_found_and_marked() {
        let found = walk(0x2001, 0x0070_0003, &ON, READ);
        assert_eq!(found.result, Ok(0x0070_0456));
        assert_eq!(found.directory, Some(EntryUpdate { address: 0x1c00, value: 0x21 }));
        assert_eq!(found.table, Some(EntryUpdate { address: 0x248c, value: 0x23 }));
        let written = walk(0x2023, 0x0070_0023, &ON, WRITE);
        assert_eq!(written.directory, None);
        assert_eq!(written.table.map(|entry| entry.value), Some(0x63));
        assert_eq!(walk(0x2021, 0x0070_0061, &ON, READ).table, None);
    }

    #[test]
    fn what_is_not_present_has_an_even_error_code_and_marks_at_most_the_directory() {
        let fault = walk(0, 0, &ON, WRITE);
        assert_eq!((code(fault), fault.directory, fault.table), (0b010, None, None));
        let user = AccessRequest { privilege: Privilege::User, ..READ };
        let fault = walk(0x2007, 0, &ON, user);
        assert_eq!((code(fault), fault.table), (0b100, None));
        assert!(fault.directory.is_some());
    }

    #[test]
    fn both_levels_have_to_allow_ring_3_and_writes() {
        let user = AccessRequest { privilege: Privilege::User, ..WRITE };
        assert_eq!(code(walk(0x2007, 0x0070_0003, &ON, user)), 0b111);
        assert_eq!(code(walk(0x2003, 0x0070_0007, &ON, user)), 0b111);
        assert_eq!(code(walk(0x2005, 0x0070_0007, &ON, user)), 0b111);
        assert!(walk(0x2007, 0x0070_0007, &ON, user).result.is_ok());
    }

    #[test]
    fn ring_0_may_write_read_only_pages_unless_wp_is_set() {
        assert_eq!(code(walk(0x2003, 0x0070_0001, &ON, WRITE)), 0b011);
        let lax = PagingControls { write_protect: false, ..ON };
        assert!(walk(0x2003, 0x0070_0001, &lax, WRITE).result.is_ok());
    }

    #[test]
    fn smap_keeps_ring_0_off_user_pages_and_the_processor_even_with_ac() {
        let smap = PagingControls { smap: true, ..ON };
        assert_eq!(code(walk(0x2007, 0x0070_0007, &smap, READ)), 0b001);
        let allowed = PagingControls { alignment_check: true, ..smap };
        assert!(walk(0x2007, 0x0070_0007, &allowed, READ).result.is_ok());
        let implicit = AccessRequest { privilege: Privilege::Implicit, ..READ };
        assert_eq!(code(walk(0x2007, 0x0070_0007, &allowed, implicit)), 0b001);
    }

    #[test]
    fn bits_above_the_physical_address_of_a_large_page_are_reserved() {
        let small = Processor { physical_bits: 36, ..Processor::INTEL };
        assert_eq!(reserved(&Processor::INTEL), 1 << 21);
        assert_eq!(reserved(&small), 0x003e_0000);
        assert_eq!(reserved(&Processor { pse36: false, ..small }), 0x003f_e000);
        assert_eq!(code(walk(0x0060_0083, 0, &ON, READ)), 0b1001);
        assert_eq!(walk(0x0040_2083, 0, &ON, READ).result, Ok(0x1_0052_3456));
        // Without CR4.PSE the bit is ignored and the entry names a table.
        let no_pse = PagingControls { large_pages: false, ..ON };
        assert_eq!(walk(0x2083, 0x0070_0003, &no_pse, READ).result, Ok(0x0070_0456));
    }
}
