//! The kernel's part of every address space.
//!
//! ```text
//! C000_0000 ┌────────────────────┐ physical 0
//!           │ the first 4 MiB in │ small pages: text and rodata of the kernel are read-only
//!           │ the others in      │ large pages
//!           ├────────────────────┤ as much as there is, at most 768 MiB
//!           │ not mapped         │
//! F000_0000 ├────────────────────┤ BLOCKS
//!           │ task blocks        │ small pages, with holes: the guard pages
//! F040_0000 ├────────────────────┤
//!           │ not mapped         │
//!           └────────────────────┘
//! ```
//! Each page directory holds the same entries for it, and none of them changes after [`start`]:
//! what comes and goes later, the task blocks, is in a page table that all share.

use abi::layout::{BLOCKS, KERNEL, LOAD, PAGE};
use arch::page::{Entry, Flags, LARGE_PAGE, Table, directory_index, table_index};
use arch::{OneCpu, control};
use core::cell::Cell;

/// How much physical memory can be mapped: what lies between the kernel's start and the blocks.
pub(crate) const MAPPED: u32 = BLOCKS - KERNEL;

const SMALL: Flags = Flags::PRESENT.union(Flags::WRITABLE);
const LARGE: Flags = SMALL.union(Flags::LARGE);
const TABLE: Flags = SMALL;

/// The page directory that the kernel starts with, and the pattern for all others.
// SAFETY: used by kernel code with interrupts closed.
pub(crate) static DIRECTORY: OneCpu<Table> = unsafe { OneCpu::new(first_directory()) };

/// The first 4 MiB of physical memory, where the kernel lies.
// SAFETY: as above.
static IMAGE: OneCpu<Table> = unsafe { OneCpu::new(Table::empty()) };

/// The task blocks.
// SAFETY: as above.
static BLOCK_PAGES: OneCpu<Table> = unsafe { OneCpu::new(Table::empty()) };

unsafe extern "C" {
    static read_only_start: u8;
    static read_only_end: u8;
    #[link_name = "image_end"]
    static IMAGE_END: u8;
}

/// All memory there could be, from KERNEL on, in large pages; and the first 4 MiB at 0 as well,
/// where the instructions run that turn paging on.
const fn first_directory() -> Table {
    let mut table = Table::empty();
    table.0[0] = Cell::new(Entry::new(0, LARGE));
    let mut physical = 0;
    while physical < MAPPED {
        table.0[directory_index(KERNEL + physical)] = Cell::new(Entry::new(physical, LARGE));
        physical += LARGE_PAGE;
    }
    table
}

/// Where the kernel reads and writes a physical address.
pub(crate) fn virtual_address(physical: u32) -> *mut u8 {
    (KERNEL + physical) as *mut u8
}

/// The physical address of something in the mapped memory: the kernel's image and all frames.
fn physical_address<T>(object: &T) -> u32 {
    core::ptr::from_ref(object) as u32 - KERNEL
}

/// The physical address of the page directory without a program.
pub(crate) fn directory() -> u32 {
    physical_address::<Table>(&DIRECTORY)
}

/// The physical address just behind the kernel's image.
pub(super) fn image_end() -> u32 {
    (&raw const IMAGE_END) as u32 - KERNEL
}

/// Takes away what [`first_directory`] maps beyond `memory` bytes, and makes text and constants read-only.
pub(super) fn start(memory: u32) {
    assert!(image_end() <= LARGE_PAGE && image_end() > LOAD, "the kernel is larger than 4 MiB");
    let read_only = (&raw const read_only_start) as u32..(&raw const read_only_end) as u32;
    for (physical, entry) in (0..).step_by(PAGE as usize).zip(&IMAGE.0) {
        let constant = read_only.contains(&(KERNEL + physical));
        let flags = if constant { Flags::PRESENT } else { SMALL };
        entry.set(Entry::new(physical, flags));
    }
    let entry = |address: u32| &DIRECTORY.0[directory_index(address)];
    entry(0).set(Entry::EMPTY);
    entry(KERNEL).set(Entry::new(physical_address::<Table>(&IMAGE), TABLE));
    entry(BLOCKS).set(Entry::new(physical_address::<Table>(&BLOCK_PAGES), TABLE));
    let end_of_memory = memory.next_multiple_of(LARGE_PAGE).max(LARGE_PAGE);
    for beyond in (end_of_memory..MAPPED).step_by(LARGE_PAGE as usize) {
        entry(KERNEL + beyond).set(Entry::EMPTY);
    }
    // SAFETY: all that is in use is mapped as before.
    unsafe { control::set_cr3(directory()) };
}

/// The entry for a page in the task blocks.
pub(crate) fn block_page(address: u32) -> &'static Cell<Entry> {
    assert!(directory_index(address) == directory_index(BLOCKS), "not in the task blocks");
    &BLOCK_PAGES.0[table_index(address)]
}
