//! Page tables of two levels, without PAE (Intel SDM vol. 3A, 4.3).
//!
//! ```text
//!  31            22 21            12 11             0
//! ┌────────────────┬────────────────┬────────────────┐
//! │ directory index│ table index    │ offset         │   a linear address
//! └────────────────┴────────────────┴────────────────┘
//! ```

use core::cell::Cell;
use core::mem::size_of;

pub use abi::layout::PAGE;

/// The size of a large page: what one page table maps, and one entry of the page directory.
pub const LARGE_PAGE: u32 = 1024 * PAGE;

bitflags::bitflags! {
    /// The low bits of an entry, of a directory or a table.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct Flags: u32 {
        /// The entry leads somewhere.
        const PRESENT = 1 << 0;
        /// May be written to.
        const WRITABLE = 1 << 1;
        /// Ring 3 may use it.
        const USER = 1 << 2;
        /// The processor has used it.
        const ACCESSED = 1 << 5;
        /// The processor has written to it.
        const DIRTY = 1 << 6;
        /// A directory entry that maps a large page by itself; needs CR4.PSE.
        const LARGE = 1 << 7;
        /// Ignored by the processor, for the kernel to use.
        const KERNELS_OWN = 1 << 9;
    }
}

/// An entry of a page directory or a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(u32);

impl Entry {
    /// Leads nowhere.
    pub const EMPTY: Self = Self(0);

    /// Leads to the page or table at `physical`, a multiple of the page size.
    pub const fn new(physical: u32, flags: Flags) -> Self {
        assert!(physical.is_multiple_of(PAGE));
        Self(physical | flags.bits())
    }

    /// The physical address it leads to.
    pub const fn address(self) -> u32 {
        self.0 & !(PAGE - 1)
    }

    /// Its low bits.
    pub const fn flags(self) -> Flags {
        Flags::from_bits_truncate(self.0)
    }

    /// The same place with other low bits.
    pub const fn with(self, flags: Flags) -> Self {
        Self::new(self.address(), flags)
    }

    /// Whether it leads anywhere.
    pub const fn is_present(self) -> bool {
        self.flags().contains(Flags::PRESENT)
    }
}

/// A page directory or a page table: one page of entries.
///
/// The entries are cells, since the processor reads and writes them at any time as well.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Table(pub [Cell<Entry>; 1024]);

impl Table {
    /// A table that maps nothing.
    pub const fn empty() -> Self {
        Self([const { Cell::new(Entry::EMPTY) }; 1024])
    }
}

const _: () = assert!(size_of::<Table>() == PAGE as usize);

/// The index into the page directory for an address.
pub const fn directory_index(address: u32) -> usize {
    (address >> 22) as usize
}

/// The index into the page table for an address.
pub const fn table_index(address: u32) -> usize {
    (address >> 12 & 1023) as usize
}
