//! Page frames and page tables: one directory for all, copy on write, and pages on demand.
//!
//! The first 16 MiB of the linear address space are the physical memory, for the kernel. The tasks'
//! parts have tables of their own. fork shares pages: both sides become read-only, and who writes
//! first takes a page of its own. The 386 has no CR0.WP, so ring 0 may write to any page: before it
//! writes to a task's, it has to look by itself ([`verify`]).

use crate::segments::KERNEL_PAGES;
use crate::task::Task;
use arch::multiboot::Info;
use arch::page::{Entry, Flags, LARGE_PAGE, PAGE, Table, directory_index, table_index};
use arch::{OneCpu, control};
use core::arch::naked_asm;
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

/// A page at `linear`, an address of the running task, that it may write to (`write`) or read.
pub(crate) fn make_usable(task: &Task, linear: u32, write: bool) -> Result<(), BadAddress> {
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
                // SAFETY: a page of the task, and a new one.
                unsafe { from_user(frame as *mut u8, (linear - task.base()) & !(PAGE - 1), 4096) };
                free_page(entry.address());
            }
            cell.set(Entry::new(frame, OWN));
            control::invalidate_page(linear);
            Ok(())
        }
    }
}

/// Holds a range against the running task's segment, and makes its pages usable. Behind that the
/// kernel can read it, and write to it if that was asked for, without a fault and without touching
/// a page that another task sees too.
pub(crate) fn verify(offset: u32, length: u32, write: bool) -> Result<(), BadAddress> {
    let task = Task::current();
    let end = offset.checked_add(length).filter(|end| *end <= task.size()).ok_or(BadAddress)?;
    for page in offset / PAGE..end.div_ceil(PAGE) {
        make_usable(task, task.base() + page * PAGE, write)?;
    }
    Ok(())
}

/// Copies from the running task.
pub(crate) fn read(offset: u32, to: &mut [u8]) -> Result<(), BadAddress> {
    verify(offset, to.len() as u32, false)?;
    // SAFETY: a slice, and a range of the task that can be read.
    unsafe { from_user(to.as_mut_ptr(), offset, to.len()) };
    Ok(())
}

/// Copies to the running task.
pub(crate) fn write(offset: u32, from: &[u8]) -> Result<(), BadAddress> {
    verify(offset, from.len() as u32, true)?;
    // SAFETY: a slice, and a range of the task that can be written to.
    unsafe { to_user(offset, from.as_ptr(), from.len()) };
    Ok(())
}

/// In the kernel FS selects the running task's data: the way to it, whatever its base.
#[unsafe(naked)]
unsafe extern "C" fn from_user(to: *mut u8, from: u32, count: usize) {
    naked_asm!(
        "pushl %esi; pushl %edi",
        "movl 12(%esp), %edi; movl 16(%esp), %esi; movl 20(%esp), %ecx",
        "rep movsb %fs:(%esi), %es:(%edi)",
        "popl %edi; popl %esi; ret",
        options(att_syntax),
    )
}

/// MOVS writes to ES alone.
#[unsafe(naked)]
unsafe extern "C" fn to_user(to: u32, from: *const u8, count: usize) {
    naked_asm!(
        "pushl %esi; pushl %edi; pushl %es",
        "movl 16(%esp), %edi; movl 20(%esp), %esi; movl 24(%esp), %ecx",
        "pushl %fs; popl %es; rep movsb",
        "popl %es; popl %edi; popl %esi; ret",
        options(att_syntax),
    )
}

fn forget_translations() {
    // SAFETY: the directory is the one in use.
    unsafe { control::set_cr3(directory()) };
}
