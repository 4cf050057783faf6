//! Address spaces: what a program sees below the kernel.
//!
//! A page directory of its own, page tables as they are needed, and pages. Directory entries let
//! everything through; what a program may do with a page, its entry in the page table says:
//!
//! | entry | the page |
//! | --- | --- |
//! | user | text and constants: shared for good |
//! | user, writable | data, heap, stack |
//! | user, `COPY_ON_WRITE` | the same after a fork: whoever writes first gets a copy |
//!
//! An address space is shared by threads: a [`Space`] is a share in it, and with the last one all
//! its frames go back.

use super::frames::Frame;
use super::kernel::{self, virtual_address};
use crate::interrupts;
use abi::call::Error;
use abi::layout::{
    KERNEL, PAGE, PROGRAM, STACK_SIZE, STACK_STRIDE, STACK_TOP, STACKS, STACKS_START,
};
use arch::control;
use arch::page::{Entry, Flags, LARGE_PAGE, Table, directory_index, table_index};
use core::cell::Cell;
use core::ops::Range;

/// A share in the memory of a program.
#[derive(Debug)]
pub(crate) struct Space {
    /// The frame that holds the [`Record`].
    record: Frame,
}

/// What is known of an address space, besides its page tables.
#[repr(C)]
struct Record {
    /// The physical address of the page directory, whose frame belongs to this record.
    directory: u32,
    /// The end of the program's segments, where the heap starts.
    heap_start: Cell<u32>,
    /// Where the heap ends for now.
    heap_end: Cell<u32>,
    /// One bit for each stack that a thread has.
    stacks: Cell<u32>,
}

const _: () = assert!(STACKS == u32::BITS);

/// What a program may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read and execute: text and constants.
    ReadOnly,
    /// Read, write, execute: without PAE a page cannot be kept from being executed.
    ReadWrite,
}

const TABLE: Flags = Flags::PRESENT.union(Flags::WRITABLE).union(Flags::USER);
const READ_ONLY: Flags = Flags::PRESENT.union(Flags::USER);
const READ_WRITE: Flags = READ_ONLY.union(Flags::WRITABLE);
/// Not writable, but only until somebody tries.
const COPY_ON_WRITE: Flags = READ_ONLY.union(Flags::KERNELS_OWN);

impl Space {
    /// An address space with the kernel in it, and nothing else.
    pub(crate) fn new() -> Result<Self, Error> {
        let directory = Frame::allocate().ok_or(Error::NoMemory)?;
        let record = Frame::allocate().ok_or(Error::NoMemory)?;
        let kernel = directory_index(KERNEL);
        let entries = &table_at(directory.address()).0[kernel..];
        for (to, from) in entries.iter().zip(&kernel::DIRECTORY.0[kernel..]) {
            to.set(from.get());
        }
        let contents = Record {
            directory: directory.into_address(),
            heap_start: Cell::new(PROGRAM),
            heap_end: Cell::new(PROGRAM),
            stacks: Cell::new(0),
        };
        // SAFETY: the frame is mapped, large enough and nobody else's.
        unsafe { record.pointer().cast::<Record>().write(contents) };
        Ok(Self { record })
    }

    /// Another share in the same address space.
    pub(crate) fn share(&self) -> Result<Self, Error> {
        Ok(Self { record: self.record.share().ok_or(Error::NoMemory)? })
    }

    /// A copy of the address space in which no page has been copied yet. Pre-emptible after each
    /// page table: what other threads do meanwhile is in the copy, or is not.
    pub(crate) fn fork(&self) -> Result<Self, Error> {
        let copy = Self::new()?;
        copy.record().heap_start.set(self.record().heap_start.get());
        copy.record().heap_end.set(self.record().heap_end.get());
        copy.record().stacks.set(self.record().stacks.get());
        for index in 0..directory_index(KERNEL) {
            let from = self.directory().0[index].get();
            if from.is_present() {
                let to = Frame::allocate().ok_or(Error::NoMemory)?;
                let result = share_pages(table_at(from.address()), table_at(to.address()));
                copy.directory().0[index].set(Entry::new(to.into_address(), TABLE));
                // Forgets that pages were writable.
                // SAFETY: the directory stays the same.
                unsafe { control::set_cr3(control::cr3()) };
                result?;
                interrupts::point();
            }
        }
        Ok(copy)
    }

    /// The physical address of its page directory, for CR3.
    pub(crate) fn directory_address(&self) -> u32 {
        self.record().directory
    }

    /// Puts a frame at an address below the kernel, where there is none yet.
    pub(crate) fn map(&self, page: u32, frame: Frame, access: Access) -> Result<(), Error> {
        assert!(page < KERNEL && page.is_multiple_of(PAGE) && self.page(page).is_none());
        let in_directory = &self.directory().0[directory_index(page)];
        if !in_directory.get().is_present() {
            let table = Frame::allocate().ok_or(Error::NoMemory)?;
            in_directory.set(Entry::new(table.into_address(), TABLE));
        }
        let flags = match access {
            Access::ReadOnly => READ_ONLY,
            Access::ReadWrite => READ_WRITE,
        };
        let entry = &table_at(in_directory.get().address()).0[table_index(page)];
        entry.set(Entry::new(frame.into_address(), flags));
        Ok(())
    }

    /// Whether there is a page of the program at this address.
    pub(crate) fn is_mapped(&self, address: u32) -> bool {
        self.page(address).is_some()
    }

    /// Makes a page usable that a program has touched and may use: lets a stack grow, copies a page
    /// that is shared since a fork. Gives the physical address of the page.
    ///
    /// With `open` it is pre-emptible while the new page is filled.
    pub(crate) fn resolve(&self, address: u32, write: bool, open: bool) -> Result<u32, Error> {
        let page = address / PAGE * PAGE;
        loop {
            let Some(entry) = self.page(page) else {
                if !self.is_in_a_stack(address) {
                    return Err(Error::BadAddress);
                }
                let frame = filled(Contents::Zeros, open)?;
                if !self.is_mapped(page) {
                    self.map(page, frame, Access::ReadWrite)?;
                }
                continue;
            };
            let now = entry.get();
            if !write || now.flags().contains(Flags::WRITABLE) {
                return Ok(now.address());
            }
            if !now.flags().contains(Flags::KERNELS_OWN) {
                return Err(Error::BadAddress);
            }
            self.unshare(page, entry, open)?;
        }
    }

    /// Gives the address space a page of its own in place of one that may be shared.
    fn unshare(&self, page: u32, entry: &Cell<Entry>, open: bool) -> Result<(), Error> {
        let before = entry.get();
        // SAFETY: the entry holds a share in the frame, which is not given up here.
        let frame = core::mem::ManuallyDrop::new(unsafe { Frame::from_address(before.address()) });
        if frame.is_shared() {
            // A share of our own, lest the frame go away while it is copied.
            let original = frame.share().ok_or(Error::NoMemory)?;
            let copy = filled(Contents::CopyOf(&original), open)?;
            if entry.get() == before {
                entry.set(Entry::new(copy.into_address(), READ_WRITE));
                // SAFETY: the share that the entry had, which leads elsewhere now.
                drop(unsafe { Frame::from_address(before.address()) });
            }
        } else {
            entry.set(before.with(READ_WRITE));
        }
        control::invalidate_page(page);
        Ok(())
    }

    /// Writes into pages of the program, whatever it may do with them itself.
    pub(crate) fn write(&self, address: u32, bytes: &[u8]) -> Result<(), Error> {
        let (mut address, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let offset = address % PAGE;
            let (now, later) = rest.split_at(rest.len().min((PAGE - offset) as usize));
            let page = self.resolve(address, true, false)?;
            // SAFETY: a frame of this address space, and the bytes end before the page does. Rust
            // knows of no references into it: programs' memory is only ever copied.
            unsafe { virtual_address(page + offset).copy_from(now.as_ptr(), now.len()) };
            (address, rest) = (address + now.len() as u32, later);
        }
        Ok(())
    }

    /// Says where the program ends, and the heap begins: at the next page.
    pub(crate) fn set_heap(&self, start: u32) {
        let start = start.next_multiple_of(PAGE);
        self.record().heap_start.set(start);
        self.record().heap_end.set(start);
    }

    /// Moves the end of the heap; gives where it was. If memory runs out nothing has changed.
    pub(crate) fn grow(&self, bytes: i32) -> Result<u32, Error> {
        let (start, end) = (self.record().heap_start.get(), self.record().heap_end.get());
        let new = end.checked_add_signed(bytes).ok_or(Error::BadArgument)?;
        if new < start || new > STACKS_START {
            return Err(Error::BadArgument);
        }
        // First the end, so that another thread goes on from there.
        self.record().heap_end.set(new);
        for page in pages(end..new) {
            interrupts::point();
            let mapped = Frame::allocate()
                .ok_or(Error::NoMemory)
                .and_then(|frame| self.map(page, frame, Access::ReadWrite));
            if let Err(error) = mapped {
                self.unmap(pages(end..page));
                if self.record().heap_end.get() == new {
                    self.record().heap_end.set(end);
                }
                return Err(error);
            }
        }
        self.unmap(pages(new..end));
        Ok(end)
    }

    /// Sets a stack aside for a thread; gives its number.
    pub(crate) fn take_stack(&self) -> Result<u32, Error> {
        let stacks = &self.record().stacks;
        let number = stacks.get().trailing_ones();
        if number == STACKS {
            return Err(Error::NoMemory);
        }
        stacks.set(stacks.get() | 1 << number);
        Ok(number)
    }

    /// Gives back a stack and its pages.
    pub(crate) fn give_stack_back(&self, number: u32) {
        self.record().stacks.set(self.record().stacks.get() & !(1 << number));
        self.unmap(pages(stack_range(number)));
    }

    fn is_in_a_stack(&self, address: u32) -> bool {
        (STACKS_START..STACK_TOP).contains(&address) && {
            let number = (STACK_TOP - 1 - address) / STACK_STRIDE;
            self.record().stacks.get() & 1 << number != 0 && stack_range(number).contains(&address)
        }
    }

    /// How many pages there are in a range.
    pub(crate) fn count_pages(&self, range: Range<u32>) -> u32 {
        let directory = self.directory();
        pages(range)
            .filter(|&page| directory.0[directory_index(page)].get().is_present())
            .filter(|&page| self.is_mapped(page))
            .count() as u32
    }

    /// How many pages the program has.
    pub(crate) fn count_all_pages(&self) -> u32 {
        let tables = self.directory().0[..directory_index(KERNEL)].iter().map(Cell::get);
        tables
            .filter(|entry| entry.is_present())
            .map(|entry| {
                table_at(entry.address()).0.iter().filter(|page| page.get().is_present()).count()
            })
            .sum::<usize>() as u32
    }

    fn unmap(&self, pages: impl Iterator<Item = u32>) {
        for page in pages {
            if let Some(entry) = self.page(page) {
                let entry = entry.replace(Entry::EMPTY);
                control::invalidate_page(page);
                // SAFETY: `map` gave the share up to this entry, which is no more.
                drop(unsafe { Frame::from_address(entry.address()) });
            }
        }
    }

    /// The entry for a page that the program has.
    fn page(&self, address: u32) -> Option<&Cell<Entry>> {
        if address >= KERNEL {
            return None;
        }
        let in_directory = self.directory().0[directory_index(address)].get();
        let table = in_directory.is_present().then(|| table_at(in_directory.address()))?;
        let entry = &table.0[table_index(address)];
        entry.get().is_present().then_some(entry)
    }

    fn record(&self) -> &Record {
        // SAFETY: `new` has put it there; the frame lives as long as a share in it does.
        unsafe { &*self.record.pointer().cast() }
    }

    fn directory(&self) -> &Table {
        table_at(self.record().directory)
    }
}

impl Drop for Space {
    /// Gives all frames back with the last share. Pre-emptible after each page table: nobody else
    /// can reach them any more.
    fn drop(&mut self) {
        if self.record.is_shared() {
            return;
        }
        for in_directory in &self.directory().0[..directory_index(KERNEL)] {
            let in_directory = in_directory.replace(Entry::EMPTY);
            if !in_directory.is_present() {
                continue;
            }
            for page in &table_at(in_directory.address()).0 {
                let page = page.replace(Entry::EMPTY);
                if page.is_present() {
                    // SAFETY: `map` gave the share up to this entry, which nobody will follow again.
                    drop(unsafe { Frame::from_address(page.address()) });
                }
            }
            // SAFETY: the same for the frame of the table.
            drop(unsafe { Frame::from_address(in_directory.address()) });
            interrupts::point();
        }
        // SAFETY: `new` gave it up to the record, which goes with it.
        drop(unsafe { Frame::from_address(self.record().directory) });
    }
}

/// Shares all pages of one table with another, copy-on-write.
fn share_pages(from: &Table, to: &Table) -> Result<(), Error> {
    for (from, to) in from.0.iter().zip(&to.0) {
        let entry = from.get();
        if !entry.is_present() {
            continue;
        }
        // SAFETY: the entry holds a share in the frame, which is not given up here.
        let frame = core::mem::ManuallyDrop::new(unsafe { Frame::from_address(entry.address()) });
        let share = frame.share().ok_or(Error::NoMemory)?.into_address();
        if entry.flags().contains(Flags::WRITABLE) {
            from.set(entry.with(COPY_ON_WRITE));
        }
        let flags = from.get().flags() & (READ_ONLY | Flags::KERNELS_OWN);
        to.set(Entry::new(share, flags));
    }
    Ok(())
}

/// What a new page starts with.
enum Contents<'a> {
    Zeros,
    CopyOf(&'a Frame),
}

/// A new frame, filled, with interrupts open meanwhile if that is wanted.
fn filled(contents: Contents<'_>, open: bool) -> Result<Frame, Error> {
    let frame = Frame::allocate_as_it_is().ok_or(Error::NoMemory)?;
    let to = frame.pointer();
    let fill = || match contents {
        // SAFETY: the new frame is nobody else's, both are mapped, and the caller has a share in
        // the one that is copied.
        Contents::Zeros => unsafe { to.write_bytes(0, PAGE as usize) },
        // SAFETY: as above.
        Contents::CopyOf(from) => unsafe { to.copy_from(from.pointer(), PAGE as usize) },
    };
    if open {
        interrupts::open(fill)
    } else {
        fill()
    }
    Ok(frame)
}

/// The addresses of a stack, by its number.
pub(crate) fn stack_range(number: u32) -> Range<u32> {
    let top = STACK_TOP - number * STACK_STRIDE;
    top - STACK_SIZE..top
}

/// The first addresses of the pages that start in a range.
fn pages(range: Range<u32>) -> impl Iterator<Item = u32> {
    (range.start.next_multiple_of(PAGE)..range.end).step_by(PAGE as usize)
}

/// The page directory or page table in a frame.
fn table_at<'a>(physical: u32) -> &'a Table {
    // SAFETY: callers pass what a directory, or the record of one, leads to, which lives as long as
    // that does. Entries are cells: any number of references is right.
    unsafe { &*virtual_address(physical).cast() }
}

const _: () = assert!(STACKS_START / LARGE_PAGE == STACK_TOP / LARGE_PAGE);
