//! What an ELF32 file says of a guest: its symbols, its sections and its loaded bytes. Everything in it is a
//! claim: a size or an offset that leads out of the file is as good as none. How a file is put into memory is
//! decided in `boot`, which refuses what is wrong; here nothing is refused, only less is found.

use super::demangle::demangled;
use object::LittleEndian;
use object::elf::{
    FileHeader32, PT_LOAD, SHF_ALLOC, SHF_COMPRESSED, SHF_EXECINSTR, SHT_SYMTAB, STB_LOCAL,
    STT_FUNC, STT_NOTYPE, STT_OBJECT,
};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use std::ops::Range;

type Header = FileHeader32<LittleEndian>;

/// What a symbol says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Function,
    Object,
    /// Nothing: assembly seldom gives types.
    Label,
}

/// The section that a symbol lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Its linked addresses; 64-bit because the end can be 4 GiB.
    pub(super) addresses: Range<u64>,
    pub(super) is_loaded: bool,
    pub(super) is_code: bool,
}

/// A symbol that the file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ElfSymbol<'a> {
    /// As linked.
    pub(crate) name: &'a str,
    pub(crate) start: u32,
    /// In bytes; 0 where the file does not say.
    pub(crate) size: u32,
    pub(crate) kind: Type,
    pub(super) is_local: bool,
    /// None for a number that a linker script defines.
    pub(super) section: Option<Section>,
}

/// Where a function begins, and what the file has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionStart {
    /// Linked address.
    pub address: u32,
    /// Its first bytes.
    pub bytes: [u8; 8],
}

/// A file whose headers can be read.
#[derive(Clone, Copy)]
pub(crate) struct Elf<'a> {
    header: &'a Header,
    bytes: &'a [u8],
}

impl<'a> Elf<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::parse(bytes).ok()?;
        header.is_little_endian().then_some(Elf { header, bytes })
    }

    pub(super) fn entry(&self) -> u32 {
        self.header.e_entry(LittleEndian)
    }

    /// The symbols that are defined and have a name; functions, objects and labels.
    pub(crate) fn symbols(&self) -> Vec<ElfSymbol<'a>> {
        self.read_symbols().unwrap_or_default()
    }

    /// Where the symbol of that name is: the name as linked, or demangled.
    pub(super) fn address_of(&self, name: &str) -> Option<u32> {
        let symbols = self.symbols();
        let linked = symbols.iter().filter(|symbol| symbol.name == name);
        let rank = |symbol: &&ElfSymbol<'_>| {
            (symbol.kind != Type::Function, symbol.is_local, symbol.start)
        };
        let demangled = || {
            let is_it = |symbol: &&ElfSymbol<'_>| demangled(symbol.name).as_deref() == Some(name);
            symbols.iter().filter(is_it).min_by_key(rank)
        };
        linked.min_by_key(rank).or_else(demangled).map(|symbol| symbol.start)
    }

    /// Where the functions begin that it loads the code of.
    pub(super) fn functions(&self) -> Vec<FunctionStart> {
        let symbols = self.symbols();
        let starts = symbols.iter().filter(|symbol| symbol.kind == Type::Function);
        let starts = starts.filter_map(|symbol| {
            let address = symbol.start;
            let bytes = *self.loaded_bytes(address, 8)?.first_chunk()?;
            Some(FunctionStart { address, bytes })
        });
        starts.collect()
    }

    fn read_symbols(&self) -> Option<Vec<ElfSymbol<'a>>> {
        let endian = LittleEndian;
        let sections = self.sections()?;
        let table = sections.symbols(endian, self.bytes, SHT_SYMTAB).ok()?;
        let read = |symbol: &'a <Header as FileHeader>::Sym| {
            let kind = match symbol.st_type() {
                STT_FUNC => Type::Function,
                STT_OBJECT => Type::Object,
                STT_NOTYPE => Type::Label,
                _ => return None,
            };
            let name = std::str::from_utf8(table.symbol_name(endian, symbol).ok()?).ok()?;
            let index = object::SectionIndex(symbol.st_shndx(endian).into());
            let section = sections.section(index).ok().map(|section| {
                let start = u64::from(section.sh_addr(endian));
                let flags = section.sh_flags(endian);
                Section {
                    addresses: start..start + u64::from(section.sh_size(endian)),
                    is_loaded: flags & SHF_ALLOC != 0,
                    is_code: flags & SHF_EXECINSTR != 0,
                }
            });
            let (start, size) = (symbol.st_value(endian), symbol.st_size(endian));
            let is_local = symbol.st_bind() == STB_LOCAL;
            let found = ElfSymbol { name, start, size, kind, is_local, section };
            (!symbol.is_undefined(endian) && !name.is_empty()).then_some(found)
        };
        Some(table.iter().filter_map(read).collect())
    }

    fn sections(&self) -> Option<SectionTable<'a, Header>> {
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

    /// The bytes that the file puts into memory, each part with its linked address.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let segments = self.header.program_headers(LittleEndian, self.bytes).unwrap_or_default();
        segments.iter().filter(|segment| segment.p_type(LittleEndian) == PT_LOAD).filter_map(
            |segment| {
                let bytes = segment.data(LittleEndian, self.bytes).ok()?;
                Some((segment.p_vaddr(LittleEndian), bytes))
            },
        )
    }

    /// The first of `length` bytes that are loaded from a linked address on; at least one.
    pub(super) fn loaded_bytes(&self, address: u32, length: usize) -> Option<&'a [u8]> {
        self.loaded().find_map(|(start, bytes)| {
            let from = address.checked_sub(start)? as usize;
            let left = bytes.get(from..).filter(|left| !left.is_empty())?;
            Some(&left[..length.min(left.len())])
        })
    }
}
