//! Address spaces: what a program sees below the kernel.
//!
//! A page directory of its own, page tables as they are needed, and pages. Directory entries let
//! everything through; what a program may do with a page, its entry in the page table says. All is
//! owned by the [`AddressSpace`], and goes back to the frames when that is dropped.

use super::frames::Frame;
use super::kernel::{self, virtual_address};
use abi::layout::{KERNEL, PAGE};
use arch::page::{Entry, Flags, Table, directory_index, table_index};
use core::cell::Cell;

/// The memory of one program.
#[derive(Debug)]
pub(crate) struct AddressSpace {
    directory: Frame,
}

/// What a program may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read and execute: text and constants.
    ReadOnly,
    /// Read, write, execute: without PAE a page cannot be kept from being executed.
    ReadWrite,
}

const TABLE: Flags = Flags::PRESENT.union(Flags::WRITABLE).union(Flags::USER);

impl AddressSpace {
    /// An address space with the kernel in it, and nothing else; `None` if memory is used up.
    pub(crate) fn new() -> Option<Self> {
        let space = Self { directory: Frame::allocate()? };
        let kernel = directory_index(KERNEL);
        for (to, from) in space.directory().0[kernel..].iter().zip(&kernel::DIRECTORY.0[kernel..]) {
            to.set(from.get());
        }
        Some(space)
    }

    /// The physical address of its page directory, for CR3.
    pub(crate) fn address(&self) -> u32 {
        self.directory.address()
    }

    /// Maps a new page of zeros at an address below the kernel, where there is none yet.
    pub(crate) fn map(&self, page: u32, access: Access) -> Option<()> {
        assert!(page < KERNEL && page.is_multiple_of(PAGE) && !self.is_mapped(page));
        let directory_entry = &self.directory().0[directory_index(page)];
        if !directory_entry.get().is_present() {
            directory_entry.set(Entry::new(Frame::allocate()?.into_address(), TABLE));
        }
        let flags = match access {
            Access::ReadOnly => Flags::PRESENT | Flags::USER,
            Access::ReadWrite => Flags::PRESENT | Flags::USER | Flags::WRITABLE,
        };
        let entry = Entry::new(Frame::allocate()?.into_address(), flags);
        table(directory_entry.get()).0[table_index(page)].set(entry);
        Some(())
    }

    /// Whether there is a page of the program at this address.
    pub(crate) fn is_mapped(&self, address: u32) -> bool {
        self.page(address).is_some()
    }

    /// Writes into pages that are mapped, whatever the program itself may do with them.
    pub(crate) fn write(&self, address: u32, bytes: &[u8]) {
        let mut rest = bytes;
        let mut address = address;
        while !rest.is_empty() {
            let offset = address % PAGE;
            let (now, later) = rest.split_at(rest.len().min((PAGE - offset) as usize));
            let page = self.page(address).expect("written to where nothing is mapped");
            // SAFETY: a frame of this address space, and the bytes end before the page does. Rust
            // knows of no references into it: programs' memory is only ever copied.
            unsafe { virtual_address(page.address() + offset).copy_from(now.as_ptr(), now.len()) };
            (address, rest) = (address + now.len() as u32, later);
        }
    }

    /// The entry for a page that the program has.
    fn page(&self, address: u32) -> Option<Entry> {
        if address >= KERNEL {
            return None;
        }
        let in_directory = self.directory().0[directory_index(address)].get();
        let entry =
            in_directory.is_present().then(|| table(in_directory).0[table_index(address)].get())?;
        entry.is_present().then_some(entry)
    }

    fn directory(&self) -> &Table {
        // SAFETY: the frame holds a page directory from `new` on, as long as `self` lives.
        unsafe { &*virtual_address(self.directory.address()).cast() }
    }
}

/// The page table that a directory entry leads to.
fn table<'a>(entry: Entry) -> &'a Table {
    // SAFETY: directory entries of programs lead to page tables only, which `map` has put there and
    // which live as long as the directory. Entries are cells: any number of references is right.
    unsafe { &*virtual_address(entry.address()).cast() }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        let present = |entry: &Cell<Entry>| Some(entry.get()).filter(|entry| entry.is_present());
        let directory = &self.directory().0[..directory_index(KERNEL)];
        for in_directory in directory.iter().filter_map(present) {
            for page in table(in_directory).0.iter().filter_map(present) {
                // SAFETY: `map` gave the frame up to this entry, which nobody will follow again.
                drop(unsafe { Frame::from_address(page.address()) });
            }
            // SAFETY: the same for the frame of the table.
            drop(unsafe { Frame::from_address(in_directory.address()) });
        }
    }
}
