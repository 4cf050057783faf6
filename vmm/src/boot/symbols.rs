//! Function names by address.
//!
//! Symbols are an ornament: nothing is found, probed or judged by them, and a file without any, or with
//! a broken table, is as good as another. So reading them cannot fail; it can only find fewer.
//!
//! Functions (`STT_FUNC`) count, and so do untyped labels in executable sections, because assembly
//! routines often carry no type. A label without a size reaches to the next one or to the end of its
//! section. Names are kept as linked; demangling is left to whoever prints them.

use object::LittleEndian;
use object::elf::{FileHeader32, SHF_EXECINSTR, SHT_SYMTAB, STT_FUNC, STT_NOTYPE};
use object::read::elf::{FileHeader, SectionHeader, Sym};

/// A function and the linked addresses it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Its name as linked, not demangled.
    pub name: String,
    /// Its first linked address.
    pub start: u32,
    /// The first address behind it; 64-bit because that can be 4 GiB.
    pub end: u64,
}

/// The functions of a file, sorted by address, one for each start address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols(Vec<Symbol>);

impl Symbols {
    /// Reads the symbol table of an ELF32 file: a kernel, or a program passed as a module.
    pub fn of_elf32(bytes: &[u8]) -> Self {
        let mut found = read(bytes).unwrap_or_default();
        // Of several names for one address the function with a size says most; then the order of
        // names decides, so that the result does not depend on the linker's.
        found.sort_by(|(a, sized_a), (b, sized_b)| {
            (a.start, !sized_a, &a.name).cmp(&(b.start, !sized_b, &b.name))
        });
        found.dedup_by_key(|(symbol, _)| symbol.start);
        for index in 1..found.len() {
            let next = u64::from(found[index].0.start);
            let (symbol, sized) = &mut found[index - 1];
            if !*sized {
                symbol.end = symbol.end.min(next);
            }
        }
        Self(found.into_iter().map(|(symbol, _)| symbol).collect())
    }

    /// The function at a linked address, and how far into it the address lies in bytes.
    pub fn find(&self, address: u32) -> Option<(&Symbol, u32)> {
        let behind = self.0.partition_point(|symbol| symbol.start <= address);
        let symbol = self.0.get(behind.checked_sub(1)?)?;
        (u64::from(address) < symbol.end).then(|| (symbol, address - symbol.start))
    }

    /// The linked address of a function by its name.
    pub fn address_of(&self, name: &str) -> Option<u32> {
        self.iter().find(|symbol| symbol.name == name).map(|symbol| symbol.start)
    }

    /// All functions in ascending order of address.
    pub fn iter(&self) -> impl Iterator<Item = &Symbol> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Each symbol with whether the file gave its size.
fn read(bytes: &[u8]) -> Option<Vec<(Symbol, bool)>> {
    let endian = LittleEndian;
    let header = FileHeader32::<LittleEndian>::parse(bytes).ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let table = sections.symbols(endian, bytes, SHT_SYMTAB).ok()?;
    let mut found = Vec::new();
    for symbol in table.iter() {
        let kind = symbol.st_type();
        if symbol.is_undefined(endian) || (kind != STT_FUNC && kind != STT_NOTYPE) {
            continue;
        }
        let Ok(section) = sections.section(object::SectionIndex(symbol.st_shndx(endian).into()))
        else {
            continue;
        };
        if section.sh_flags(endian) & SHF_EXECINSTR == 0 {
            continue;
        }
        let Some(name) = table
            .symbol_name(endian, symbol)
            .ok()
            .and_then(|name| std::str::from_utf8(name).ok())
            .filter(|name| !name.is_empty())
        else {
            continue;
        };
        let start = symbol.st_value(endian);
        let size = symbol.st_size(endian);
        let end = match size {
            0 => u64::from(section.sh_addr(endian)) + u64::from(section.sh_size(endian)),
            size => u64::from(start) + u64::from(size),
        };
        let symbol = Symbol { name: name.to_owned(), start, end };
        found.push((symbol, size != 0));
    }
    Some(found)
}
