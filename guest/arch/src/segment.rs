//! Segment selectors and the descriptors they select (Intel SDM vol. 3A, 3.4 and 3.5).

use core::mem::size_of_val;

/// A privilege level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ring {
    /// The kernel.
    Kernel = 0,
    /// Programs.
    User = 3,
}

/// What a segment register holds: which descriptor, and a requested privilege level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Selector(pub u16);

impl Selector {
    /// The selector of GDT entry `index` for code of that ring.
    pub const fn new(index: u16, ring: Ring) -> Self {
        Self(index * 8 + ring as u16)
    }

    /// The ring of the code that has this selector in CS.
    pub const fn ring(self) -> Ring {
        if self.0 & 3 == 0 { Ring::Kernel } else { Ring::User }
    }
}

/// Present, an ordinary segment (not a system one), data, writable: bits 15..8 of the upper word.
const DATA: u8 = 0x92;
/// The same for code that may be read.
const CODE: u8 = 0x9A;
/// A present and available 32-bit TSS.
const TSS: u8 = 0x89;
/// A present local descriptor table.
const LDT: u8 = 0x82;

/// A segment descriptor: eight bytes of the GDT.
/// ```text
///  63      56 55  52 51  48 47      40 39                      16 15             0
/// ┌──────────┬──────┬──────┬──────────┬──────────────────────────┬────────────────┐
/// │ base 31… │ G D  │ limit│ P DPL S  │ base 23…0                │ limit 15…0     │
/// │        24│ L AVL│ 19…16│ type     │                          │                │
/// └──────────┴──────┴──────┴──────────┴──────────────────────────┴────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Descriptor(u64);

impl Descriptor {
    /// The entry that selects nothing.
    pub const NULL: Self = Self(0);

    /// Code of that ring, over all 4 GiB.
    pub const fn flat_code(ring: Ring) -> Self {
        Self::segment(0, 0xF_FFFF, CODE | (ring as u8) << 5, 0xC)
    }

    /// Writable data of that ring, over all 4 GiB.
    pub const fn flat_data(ring: Ring) -> Self {
        Self::segment(0, 0xF_FFFF, DATA | (ring as u8) << 5, 0xC)
    }

    /// Code of that ring, over `pages` pages from `base` on.
    pub const fn code(ring: Ring, base: u32, pages: u32) -> Self {
        Self::segment(base, pages - 1, CODE | (ring as u8) << 5, 0xC)
    }

    /// Writable data of that ring, over `pages` pages from `base` on.
    pub const fn data(ring: Ring, base: u32, pages: u32) -> Self {
        Self::segment(base, pages - 1, DATA | (ring as u8) << 5, 0xC)
    }

    /// A local descriptor table.
    ///
    /// # Safety
    /// The table stays where it is for as long as the descriptor is in use.
    pub unsafe fn ldt(table: &[Self]) -> Self {
        Self::segment(table.as_ptr() as u32, size_of_val(table) as u32 - 1, LDT, 0)
    }

    /// An available task state segment. What lies there has the layout: see [`crate::tss`].
    pub(crate) const fn tss(base: u32, limit: u32) -> Self {
        Self::segment(base, limit, TSS, 0)
    }

    const fn segment(base: u32, limit: u32, access: u8, flags: u8) -> Self {
        let (base, limit) = (base as u64, limit as u64);
        Self(
            limit & 0xFFFF
                | (base & 0xFF_FFFF) << 16
                | (access as u64) << 40
                | (limit >> 16 & 0xF) << 48
                | (flags as u64) << 52
                | (base >> 24) << 56,
        )
    }
}

const _: () = {
    assert!(size_of::<Descriptor>() == 8);
    assert!(Descriptor::flat_code(Ring::Kernel).0 == 0x00CF_9A00_0000_FFFF);
    assert!(Descriptor::flat_data(Ring::Kernel).0 == 0x00CF_9200_0000_FFFF);
    assert!(Descriptor::flat_code(Ring::User).0 == 0x00CF_FA00_0000_FFFF);
    assert!(Descriptor::flat_data(Ring::User).0 == 0x00CF_F200_0000_FFFF);
    assert!(Descriptor::code(Ring::Kernel, 0, 4096).0 == 0x00C0_9A00_0000_0FFF);
    assert!(Descriptor::data(Ring::User, 0x0400_0000, 160).0 == 0x04C0_F200_0000_009F);
    assert!(Descriptor::tss(0x1234_5678, 103).0 == 0x1200_8934_5678_0067);
};
