//! Where the kernel's variables lie, as its ELF file says.
//!
//! Rules need no symbols; but where a stack begins and ends is nowhere in memory, and an array's symbol
//! knows it. Addresses are as linked, which is what ESP0 is in kernels with paging and in those without.

use object::LittleEndian;
use object::elf::{FileHeader32, SHT_SYMTAB, STT_OBJECT};
use object::read::elf::{FileHeader, Sym};

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name as linked.
    pub name: String,
    /// Its first linked address.
    pub start: u32,
    /// The first address behind it.
    pub end: u32,
}

/// The variables with a size, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects(Vec<Object>);

impl Objects {
    /// From a list in any order.
    pub fn new(mut objects: Vec<Object>) -> Self {
        objects.retain(|object| object.start < object.end);
        objects.sort_by_key(|object| (object.start, object.end));
        Objects(objects)
    }

    /// Those in the symbol table of an ELF32 file; none if it has no table or is no such file.
    pub fn of_elf32(bytes: &[u8]) -> Self {
        Objects::new(read(bytes).unwrap_or_default())
    }

    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object that holds the byte at `address`.
    pub fn at(&self, address: u32) -> Option<&Object> {
        let behind = self.0.partition_point(|object| object.start <= address);
        self.0.get(behind.checked_sub(1)?).filter(|object| address < object.end)
    }
}

fn read(bytes: &[u8]) -> Option<Vec<Object>> {
    let endian = LittleEndian;
    let header = FileHeader32::<LittleEndian>::parse(bytes).ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let table = sections.symbols(endian, bytes, SHT_SYMTAB).ok()?;
    let objects = table.iter().filter_map(|symbol| {
        if symbol.is_undefined(endian) || symbol.st_type() != STT_OBJECT {
            return None;
        }
        let name = std::str::from_utf8(table.symbol_name(endian, symbol).ok()?).ok()?;
        let start = symbol.st_value(endian);
        let end = start.checked_add(symbol.st_size(endian))?;
        Some(Object { name: name.to_owned(), start, end })
    });
    Some(objects.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_looked_up_in_the_object_that_holds_it() {
        let object = |name: &str, start, end| Object { name: name.into(), start, end };
        let objects = Objects::new(vec![
            object("b", 0x30, 0x40),
            object("none", 5, 5),
            object("a", 0x10, 0x20),
        ]);
        let name = |address| objects.at(address).map(|object| object.name.as_str());
        assert_eq!(
            [0xf, 0x10, 0x1f, 0x20, 0x30].map(name),
            [None, Some("a"), Some("a"), None, Some("b")]
        );
        assert_eq!(Objects::of_elf32(b"no file"), Objects::default());
    }
}
