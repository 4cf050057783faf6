//! What names need of an ELF32 file: its sections and its loaded bytes. Everything in it is a claim: a
//! size or an offset that leads out of the file is as good as none.

use object::LittleEndian;
use object::elf::{FileHeader32, PT_LOAD, SHF_COMPRESSED};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};

pub(super) type Header = FileHeader32<LittleEndian>;

/// A file whose headers can be read.
#[derive(Clone, Copy)]
pub(super) struct Elf<'a> {
    header: &'a Header,
    pub(super) bytes: &'a [u8],
}

impl<'a> Elf<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::parse(bytes).ok()?;
        header.is_little_endian().then_some(Elf { header, bytes })
    }

    pub(super) fn entry(&self) -> u32 {
        self.header.e_entry(LittleEndian)
    }

    pub(super) fn sections(&self) -> Option<SectionTable<'a, Header>> {
        self.header.sections(LittleEndian, self.bytes).ok()
    }

    /// The bytes of a section, unless they are compressed or not in this file.
    pub(super) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let (_, section) = self.sections()?.section_by_name(LittleEndian, name.as_bytes())?;
        let plain = section.sh_flags(LittleEndian) & SHF_COMPRESSED == 0;
        plain.then(|| section.data(LittleEndian, self.bytes).ok()).flatten()
    }

    /// The linked address of a physical one, where they differ: what a kernel of the higher half executes
    /// before it has paging.
    pub(super) fn linked(&self, physical: u32) -> Option<u32> {
        let segments = self.header.program_headers(LittleEndian, self.bytes).ok()?;
        segments.iter().find_map(|segment| {
            let offset = physical.checked_sub(segment.p_paddr(LittleEndian))?;
            let loaded = segment.p_type(LittleEndian) == PT_LOAD
                && offset < segment.p_memsz(LittleEndian)
                && segment.p_paddr(LittleEndian) != segment.p_vaddr(LittleEndian);
            loaded.then(|| segment.p_vaddr(LittleEndian).checked_add(offset)).flatten()
        })
    }

    /// The first of `length` bytes that are loaded from a linked address on; at least one.
    pub(super) fn loaded_bytes(&self, address: u32, length: usize) -> Option<&'a [u8]> {
        let segments = self.header.program_headers(LittleEndian, self.bytes).ok()?;
        segments.iter().find_map(|segment| {
            let offset = address.checked_sub(segment.p_vaddr(LittleEndian))?;
            let left =
                segment.p_filesz(LittleEndian).checked_sub(offset).filter(|left| *left > 0)?;
            let start = segment.p_offset(LittleEndian).checked_add(offset)? as usize;
            let end = start.checked_add(length.min(left as usize))?;
            let loaded = segment.p_type(LittleEndian) == PT_LOAD;
            loaded.then(|| self.bytes.get(start..end)).flatten()
        })
    }
}
