//! Where below 1 MiB the boot loader's own things go: what the kernel is told, and a GDT.
//!
//! A kernel may be linked anywhere, so the place is looked for, always in the same order: two boots of the
//! same kernel are alike.
//! ```text
//!  area.start ─►  ┌──────────────────────┐ ◄─ EBX
//!                 │ boot information     │
//!                 │ free, as a stack     │
//!                 ├──────────────────────┤ ◄─ ESP, GDTR
//!                 │ GDTs           2 × 32 │
//!  area.end ───►  └──────────────────────┘
//! ```
//! The Multiboot specification leaves selectors, GDTR and ESP undefined, but kernels rely on what they found: a
//! kernel that loads a GDT and never CS goes on in whatever it makes of the selector at its first IRET, and one that calls
//! a function before it has a stack of its own uses the loader's. The
//! two loaders that kernels are written with differ, so which one is followed can be said ([`Loader`]).

use std::ops::Range;

use super::image::KernelImage;

/// Bytes that are looked for.
const SIZE: u64 = 0x7000;
/// Where it goes if the kernel leaves room there.
const FIRST_CHOICE: u64 = 0x9000;
const CANDIDATES: Range<u64> = 0x1000..0x9_F000;
const STEP: u64 = 0x1000;

/// Flat 32-bit code and data (SDM vol. 3A, "Segment Descriptors").
const CODE: u64 = 0x00CF_9B00_0000_FFFF;
const DATA: u64 = 0x00CF_9300_0000_FFFF;
const GDT_SIZE: u64 = 32;

/// Whose selectors and GDT a kernel starts with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Loader {
    /// GRUB 2: code 10, data 18. Linux's boot protocol has the same.
    #[default]
    Grub,
    /// QEMU's `-kernel`, and GRUB before 2: code 08, data 10.
    Qemu,
}

impl Loader {
    /// Both, in the order in which their GDTs lie in memory.
    pub const ALL: [Self; 2] = [Self::Grub, Self::Qemu];

    /// The selectors of code and data.
    pub fn selectors(self) -> (u16, u16) {
        match self {
            Self::Grub => (0x10, 0x18),
            Self::Qemu => (0x08, 0x10),
        }
    }

    /// The GDT, with nothing else in it.
    pub fn gdt(self) -> [u64; (GDT_SIZE / 8) as usize] {
        match self {
            Self::Grub => [0, 0, CODE, DATA],
            Self::Qemu => [0, CODE, DATA, 0],
        }
    }

    /// Where it lies in an area's GDTs, in bytes, and its limit.
    pub fn gdt_offset_and_limit(self) -> (u32, u16) {
        (self as u32 * GDT_SIZE as u32, GDT_SIZE as u16 - 1)
    }
}

/// The place, by physical addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area(Range<u64>);

impl Area {
    /// The first place that no segment of `image` takes; `None` if there is none.
    pub fn for_image(image: &KernelImage) -> Option<Self> {
        let others = CANDIDATES.step_by(STEP as usize);
        [FIRST_CHOICE]
            .into_iter()
            .chain(others)
            .map(|start| start..start + SIZE)
            .take_while(|area| area.end <= CANDIDATES.end)
            .find(|area| {
                image
                    .segments
                    .iter()
                    .map(|segment| segment.physical_range())
                    .all(|taken| taken.end <= area.start || area.end <= taken.start)
            })
            .map(Self)
    }

    /// Where the boot information goes.
    pub fn information(&self) -> Range<u64> {
        self.0.start..self.gdt().into()
    }

    /// Where the GDTs go.
    pub fn gdt(&self) -> u32 {
        (self.0.end - GDT_SIZE * Loader::ALL.len() as u64) as u32
    }

    /// The first address behind it.
    pub fn end(&self) -> u64 {
        self.0.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::image::{Format, LoadSegment, StartMode};

    fn image(range: Range<u32>) -> KernelImage {
        let segment = LoadSegment {
            index: 0,
            file_offset: 0,
            file_size: 0,
            physical: range.start,
            virtual_address: range.start,
            memory_size: range.end - range.start,
            flags: 7,
        };
        KernelImage {
            format: Format::Elf32,
            entry: 0,
            linked_entry: 0,
            start: StartMode::ProtectedMode,
            segments: vec![segment],
            video: None,
        }
    }

    /// Where the area starts for an image with one segment.
    fn start(segment: Range<u32>) -> Option<u64> {
        Area::for_image(&image(segment)).map(|area| area.information().start)
    }

    #[test]
    fn the_area_makes_way_for_the_image() {
        assert_eq!(start(0x10_0000..0x20_0000), Some(0x9000));
        assert_eq!(start(0x9000..0xA000), Some(0x1000));
        assert_eq!(start(0x7C00..0x2_0000), Some(0x2_0000));
        assert_eq!(start(0x1000..0x9_0000), Some(0x9_0000));
        assert_eq!(start(0..0xA_0000), None);
    }
}
