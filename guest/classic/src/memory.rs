//! Page frames and page tables: one directory for all, copy on write, and pages on demand.
//!
//! The first 16 MiB of the linear address space are the physical memory, for the kernel. The tasks'
//! parts have tables of their own. fork shares pages: both sides become read-only, and who writes
//! first takes a page of its own.

use crate::segments::KERNEL_PAGES;
use arch::multiboot::Info;
use arch::page::{Entry, Flags, LARGE_PAGE, PAGE, Table, directory_index, table_index};
use arch::{OneCpu, control};
use core::cell::Cell;

const LARGE_PAGES: usize = (KERNEL_PAGES / 1024) as usize;
const SHARED: Flags = Flags::PRESENT.union(Flags::USER);
const OWN: Flags = SHARED.union(Flags::WRITABLE);

// SAFETY: these are used by kernel code with interrupts closed.
static DIRECTORY: OneCpu<Table> = unsafe { OneCpu::new(Table::empty()) };
// SAFETY: as above.
static KERNEL_TABLES: OneCpu<[Table; LARGE_PAGES]> =
    unsafe { OneCpu::new([const { Table::empty() }; LARGE_PAGES]) };
/// By page frame: how many use it. The kernel counts too, and so does what is no memory.
// SAFETY: as above.
static USERS: OneCpu<[Cell<u8>; KERNEL_PAGES as usize]> =
    unsafe { OneCpu::new([const { Cell::new(1) }; KERNEL_PAGES as usize]) };

unsafe extern "C" {
    safe fn supervisor_start();
    safe fn supervisor_end();
}

/// A pointer or a length that means no memory of the task.
#[derive(Debug)]
pub(crate) struct BadAddress;

/// Sets up the kernel's tables, turns paging on, and finds the free page frames.
pub(crate) fn start(info: Info) {
    let supervisor = supervisor_start as *const () as u32..supervisor_end as *const () as u32;
    for (page, entry) in (0..).zip(KERNEL_TABLES.iter().flat_map(|table| &table.0)) {
        let hidden = supervisor.contains(&(page * PAGE));
        let flags = if hidden { OWN.difference(Flags::USER) } else { OWN };
        entry.set(Entry::new(page * PAGE, flags));
    }
    for (entry, table) in DIRECTORY.0.iter().zip(KERNEL_TABLES.iter()) {
        entry.set(Entry::new(core::ptr::from_ref(table) as u32, OWN));
    }
    for region in info.memory().filter(|region| region.is_memory) {
        let end = (region.start + region.length).min(u64::from(KERNEL_PAGES * PAGE)) as u32;
        let start = region.start.max(1 << 20) as u32;
        for page in start.div_ceil(PAGE)..end / PAGE {
            USERS[page as usize].set(0);
        }
    }
    for range in info.occupied() {
        for page in range.start / PAGE..range.end.div_ceil(PAGE).min(KERNEL_PAGES) {
            USERS[page as usize].set(1);
        }
    }
    // SAFETY: what the kernel uses is mapped to where it is.
    unsafe {
        control::set_cr3(directory());
        control::enable_paging();
    }
}

/// The physical address of the page directory.
pub(crate) fn directory() -> u32 {
    core::ptr::from_ref(&*DIRECTORY) as u32
}

/// How many page frames nobody uses.
pub(crate) fn free_pages() -> usize {
    USERS.iter().filter(|users| users.get() == 0).count()
}

/// A page frame full of zeros, the last that is free.
pub(crate) fn get_free_page() -> Option<u32> {
    let frame = USERS.iter().rposition(|users| users.get() == 0)?;
    USERS[frame].set(1);
    let address = frame as u32 * PAGE;
    // SAFETY: nobody uses it, and the kernel sees all memory where it is.
    unsafe { (address as *mut [u8; PAGE as usize]).write_bytes(0, 1) };
    Some(address)
}

/// One user less.
pub(crate) fn free_page(address: u32) {
    let users = &USERS[(address / PAGE) as usize];
    users.set(users.get() - 1);
}

/// The table that maps the large page at a linear address.
fn table(linear: u32) -> Option<&'static Table> {
    let entry = DIRECTORY.0[directory_index(linear)].get();
    // SAFETY: present entries lead to tables, which stay for as long as they do.
    entry.is_present().then(|| unsafe { &*(entry.address() as *const Table) })
}

fn table_or_new(linear: u32) -> Option<&'static Table> {
    if table(linear).is_none() {
        DIRECTORY.0[directory_index(linear)].set(Entry::new(get_free_page()?, OWN));
    }
    table(linear)
}

fn users(entry: Entry) -> &'static Cell<u8> {
    &USERS[(entry.address() / PAGE) as usize]
}

/// Shares `pages` pages at `from` with `to`: read-only from now on, for both.
pub(crate) fn copy_page_tables(from: u32, to: u32, pages: u32) -> Option<()> {
    for offset in (0..pages * PAGE).step_by(LARGE_PAGE as usize) {
        let Some(old) = table(from + offset) else { continue };
        let new = table_or_new(to + offset)?;
        let count = (pages - offset / PAGE).min(1024) as usize;
        for (old, new) in old.0.iter().zip(&new.0).take(count) {
            let entry = old.get();
            if !entry.is_present() {
                continue;
            }
            let entry = Entry::new(entry.address(), entry.flags().difference(Flags::WRITABLE));
            old.set(entry);
            new.set(entry);
            users(entry).set(users(entry).get() + 1);
        }
    }
    forget_translations();
    Some(())
}

/// Gives back all pages and tables of a task's part of the linear address space.
pub(crate) fn free_page_tables(base: u32, size: u32) {
    for linear in (base..base + size).step_by(LARGE_PAGE as usize) {
        let Some(old) = table(linear) else { continue };
        old.0.iter().map(Cell::get).filter(|entry| entry.is_present()).for_each(|entry| {
            free_page(entry.address());
        });
        DIRECTORY.0[directory_index(linear)].set(Entry::EMPTY);
        free_page(core::ptr::from_ref(old) as u32);
    }
    forget_translations();
}

/// Maps the page frame at `frame`, which becomes the task's own.
pub(crate) fn put_page(linear: u32, frame: u32) -> Option<()> {
    table_or_new(linear)?.0[table_index(linear)].set(Entry::new(frame, OWN));
    Some(())
}

/// A page at `linear`, an address of a task, that the task may write to (`write`) or read.
pub(crate) fn make_usable(linear: u32, write: bool) -> Result<(), BadAddress> {
    let entry = table(linear).map(|table| &table.0[table_index(linear)]);
    match entry.map(|cell| (cell, cell.get())).filter(|(_, entry)| entry.is_present()) {
        None => {
            let page = get_free_page().ok_or(BadAddress)?;
            put_page(linear, page).ok_or(BadAddress)
        }
        Some((_, entry)) if !entry.flags().contains(Flags::USER) => Err(BadAddress),
        Some((_, entry)) if !write || entry.flags().contains(Flags::WRITABLE) => Ok(()),
        Some((cell, entry)) => {
            let mut frame = entry.address();
            if users(entry).get() > 1 {
                frame = get_free_page().ok_or(BadAddress)?;
                // SAFETY: a page of the task, and a new one; the kernel sees both where they are.
                unsafe {
                    (frame as *mut [u8; PAGE as usize]).copy_from(entry.address() as *const _, 1);
                }
                free_page(entry.address());
            }
            cell.set(Entry::new(frame, OWN));
            control::invalidate_page(linear);
            Ok(())
        }
    }
}

fn forget_translations() {
    // SAFETY: the directory is the one in use.
    unsafe { control::set_cr3(directory()) };
}
