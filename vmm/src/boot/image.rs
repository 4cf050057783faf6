//! What was found in a kernel file, whatever its format: where its bytes go and where it starts.

use std::ops::Range;

use super::framebuffer::VideoMode;

/// A file format that esp0 can boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// ELF32 with a Multiboot header.
    Elf32,
    /// Any file whose Multiboot header carries its load addresses, or for which an address was given.
    Flat,
    /// Linux's bzImage.
    Linux,
    /// A BIOS, which finds and loads what there is to boot.
    Firmware,
}

/// By which protocol a kernel is booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Multiboot 1.
    Multiboot1,
    /// Multiboot 2.
    Multiboot2,
    /// Linux's own.
    Linux,
}

/// In which mode the processor is to be when it enters a kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StartMode {
    /// 32-bit protected mode with flat segments, as Multiboot has it.
    #[default]
    ProtectedMode,
    /// Real mode, at this address; the image asks for it by a note.
    RealMode {
        /// The segment: CS.
        cs: u16,
        /// The offset in it: IP.
        ip: u16,
    },
}

impl StartMode {
    /// The physical address of CS:IP in real mode (SDM vol. 3A, "Real-address mode").
    pub const fn real_mode_address(cs: u16, ip: u16) -> u32 {
        (cs as u32) * 16 + ip as u32
    }
}

/// One piece of the file and its place in guest memory. Addresses and sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSegment {
    /// Index of the program header; 0 in a flat image.
    pub index: usize,
    /// Where its bytes start in the file.
    pub file_offset: u32,
    /// How many bytes the file holds of it.
    pub file_size: u32,
    /// Physical address of its first byte (`p_paddr`).
    pub physical: u32,
    /// Address for which it was linked (`p_vaddr`).
    pub virtual_address: u32,
    /// Bytes it takes in memory; what the file does not hold is zero (bss).
    pub memory_size: u32,
    /// ELF `p_flags`: 1 execute, 2 write, 4 read.
    pub flags: u32,
}

impl LoadSegment {
    /// Physical addresses it takes, 64-bit because the end can lie at 4 GiB.
    pub fn physical_range(&self) -> Range<u64> {
        let start = u64::from(self.physical);
        start..start + u64::from(self.memory_size)
    }

    /// The part of [`Self::physical_range`] that comes from the file: all code is there, bss is not.
    pub fn loaded_range(&self) -> Range<u64> {
        let start = u64::from(self.physical);
        start..start + u64::from(self.file_size)
    }

    /// Whether its pages are meant to be executed (`PF_X`).
    pub fn is_executable(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether its pages are meant to be written (`PF_W`).
    pub fn is_writable(&self) -> bool {
        self.flags & 2 != 0
    }

    /// The physical address of a linked address, if the file holds the byte there.
    pub fn to_physical(&self, virtual_address: u32) -> Option<u32> {
        let offset = virtual_address.checked_sub(self.virtual_address)?;
        (offset < self.file_size).then(|| self.physical.checked_add(offset)).flatten()
    }
}

/// A kernel image, described.
#[derive(Debug, Clone)]
pub struct KernelImage {
    /// The format of the file.
    pub format: Format,
    /// Physical address of the first instruction.
    pub entry: u32,
    /// The entry point as the file gives it; differs from `entry` if that is a linked address.
    pub linked_entry: u32,
    /// In which mode it wants to be entered.
    pub start: StartMode,
    /// Its segments with a size in memory, in file order. Never empty.
    pub segments: Vec<LoadSegment>,
    /// The graphics mode that it asks for; none for text.
    pub video: Option<VideoMode>,
}

impl KernelImage {
    /// The first physical address behind the highest segment, bss included.
    pub fn end(&self) -> u64 {
        self.segments.iter().map(|segment| segment.physical_range().end).max().unwrap_or(0)
    }

    /// The lowest physical address of a segment.
    pub fn start(&self) -> u64 {
        self.segments.iter().map(|segment| segment.physical_range().start).min().unwrap_or(0)
    }

    /// Turns the entry point of a file into a physical address.
    ///
    /// Multiboot enters with paging off, so EIP is physical (section 3.2). Linkers of higher-half
    /// kernels leave either a physical entry point or a linked one (0xC0100000 and the like). An
    /// address inside the loaded bytes of a segment is physical; failing that, one inside the linked
    /// addresses of a segment is translated by that segment. `None` if it is neither.
    pub fn physical_entry(segments: &[LoadSegment], linked_entry: u32) -> Option<u32> {
        if segments.iter().any(|segment| segment.loaded_range().contains(&u64::from(linked_entry)))
        {
            return Some(linked_entry);
        }
        segments.iter().find_map(|segment| segment.to_physical(linked_entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGHER_HALF: LoadSegment = LoadSegment {
        index: 0,
        file_offset: 0x1000,
        file_size: 0x800,
        physical: 0x10_0000,
        virtual_address: 0xC010_0000,
        memory_size: 0x2000,
        flags: 5,
    };

    #[test]
    fn a_linked_entry_point_is_translated_and_a_physical_one_is_kept() {
        let entry = |address| KernelImage::physical_entry(&[HIGHER_HALF], address);
        assert_eq!(entry(0xC010_0010), Some(0x10_0010));
        assert_eq!(entry(0x10_0010), Some(0x10_0010));
        assert_eq!(entry(0xC010_0800), None, "bss holds no code");
        assert_eq!(entry(0x0F_FFFF), None);
    }

    #[test]
    fn a_segment_may_end_exactly_at_four_gibibytes() {
        let last = LoadSegment { physical: 0xFFFF_F000, memory_size: 0x1000, ..HIGHER_HALF };
        assert_eq!(last.physical_range().end, 1 << 32);
    }
}
