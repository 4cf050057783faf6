//! The section headers of an ELF kernel, for a kernel that wants its own symbols.
//!
//! Source: System V ABI, "Sections"; Multiboot Specification 0.6.96, section 3.3, on flag 5. As GRUB does, the
//! symbol table and the string tables, which no program header loads, are put into memory where there is
//! room behind everything else, and their headers say where they are.

use std::ops::Range;

use super::image::KernelImage;

const HEADER_SIZE: usize = 40;
const TYPE: usize = 4;
const ADDRESS: usize = 12;
const OFFSET: usize = 16;
const SIZE: usize = 20;
const SYMBOLS: u32 = 2;
const STRINGS: u32 = 3;

/// The table, ready to be put into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sections {
    /// The headers, 40 bytes each.
    pub headers: Vec<u8>,
    /// Which section holds the sections' names.
    pub names: u32,
    /// Parts of the file and the physical address at which each belongs.
    pub loaded: Vec<(Range<usize>, u32)>,
}

impl Sections {
    /// Bytes of a header.
    pub const HEADER_SIZE: u32 = HEADER_SIZE as u32;

    /// The sections of `file`, whose unloaded ones may take memory from `from` on, up to `end`; `None`
    /// if it has none that can be read.
    pub fn of(file: &[u8], image: &KernelImage, from: u64, end: u64) -> Option<Self> {
        let half = |at: usize| Some(u16::from_le_bytes(*file.get(at..)?.first_chunk()?));
        if !file.starts_with(b"\x7fELF\x01\x01") || half(0x2E)? as usize != HEADER_SIZE {
            return None;
        }
        let offset = u32::from_le_bytes(*file.get(0x20..)?.first_chunk()?) as usize;
        let (count, names) = (half(0x30)? as usize, half(0x32)?);
        let mut headers = file.get(offset..offset.checked_add(count * HEADER_SIZE)?)?.to_vec();
        if count == 0 {
            return None;
        }
        let mut next = from.max(image.end()).next_multiple_of(4096);
        let mut loaded = Vec::new();
        for header in headers.chunks_exact_mut(HEADER_SIZE) {
            let field = |at: usize| header.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
            if !matches!(field(TYPE)?, SYMBOLS | STRINGS) || field(ADDRESS)? != 0 {
                continue;
            }
            let start = field(OFFSET)? as usize;
            let part = start..start.checked_add(field(SIZE)? as usize)?;
            let address = next;
            if part.end > file.len() || address + part.len() as u64 > end {
                continue;
            }
            next = (address + part.len() as u64).next_multiple_of(16);
            header[ADDRESS..ADDRESS + 4].copy_from_slice(&(address as u32).to_le_bytes());
            loaded.push((part, address as u32));
        }
        Some(Self { headers, names: names.into(), loaded })
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        (self.headers.len() / HEADER_SIZE) as u32
    }
}
