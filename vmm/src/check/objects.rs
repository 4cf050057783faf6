//! What the kernel's ELF file says of its memory: where its variables lie, and what it is loaded with.
//!
//! Rules need no symbols; but where a stack begins and ends is nowhere in memory, and an array's symbol
//! knows it. What the file has put into memory is no stack: code, tables, strings. That is known of a
//! stripped kernel too. Addresses are as linked, which is what ESP0 is in kernels with paging and in those
//! without.

use crate::symbols::elf::{Elf, Type};
use std::sync::Arc;

/// A variable, or a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name as linked.
    pub name: String,
    /// Its first linked address.
    pub start: u32,
    /// The first address behind it.
    pub end: u32,
}

/// The variables and functions with a size, by address, and what memory was loaded with. A copy is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    variables: Arc<[Object]>,
    functions: Arc<[Object]>,
    /// Where labels without a type stand, which assembly seldom gives one.
    labels: Arc<[(u32, String)]>,
    /// Bytes of the file by linked address, in ascending order.
    loaded: Arc<[(u32, Vec<u8>)]>,
}

impl Objects {
    /// From a list of variables in any order.
    pub fn new(variables: Vec<Object>) -> Self {
        Objects { variables: sorted(variables), ..Objects::default() }
    }

    /// Those in the symbol table of an ELF32 file, and its loaded bytes; none if it is no such file.
    pub fn of_elf32(bytes: &[u8]) -> Self {
        let Some(elf) = Elf::parse(bytes) else { return Objects::default() };
        let mut loaded: Vec<(u32, Vec<u8>)> =
            elf.loaded().map(|(start, bytes)| (start, bytes.to_vec())).collect();
        loaded.sort_by_key(|(start, _)| *start);
        Objects { loaded: loaded.into(), ..Objects::default() }.with_symbols_of(bytes)
    }

    /// The same memory with the variables and functions of another file: the kernel before it was stripped.
    #[must_use]
    pub fn with_symbols_of(mut self, bytes: &[u8]) -> Self {
        if let Some(elf) = Elf::parse(bytes) {
            self.variables = of_type(&elf, Type::Object);
            self.functions = of_type(&elf, Type::Function);
            let labels = elf.symbols().into_iter().filter(|one| one.kind == Type::Label);
            self.labels = labels.map(|one| (one.start, one.name.to_owned())).collect();
        }
        self
    }

    /// No variable is known.
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// All variables, by address.
    pub fn variables(&self) -> &[Object] {
        &self.variables
    }

    /// Nothing at all is known of the file.
    pub fn knows_nothing(&self) -> bool {
        self.variables.is_empty() && self.loaded.is_empty()
    }

    /// The variable that holds the byte at `address`.
    pub fn at(&self, address: u32) -> Option<&Object> {
        holding(&self.variables, address)
    }

    /// The function that holds the byte at `address`.
    pub fn function_at(&self, address: u32) -> Option<&Object> {
        holding(&self.functions, address)
    }

    /// The code whose first four bytes, as the file has them, are `word`: where it lies, and its name. Labels without a type
    /// count as well.
    pub fn function_that_begins_with(&self, word: u32) -> Option<(u32, &str)> {
        let begins = |at: u32| self.loaded(at, 4) == Some(&word.to_le_bytes());
        let functions = self.functions.iter().map(|one| (one.start, one.name.as_str()));
        let labels = self.labels.iter().map(|(at, name)| (*at, name.as_str()));
        functions.chain(labels).find(|(at, _)| begins(*at))
    }

    /// The lowest address that the file puts bytes at.
    pub fn lowest(&self) -> Option<u32> {
        self.loaded.first().map(|(start, _)| *start)
    }

    /// The bytes that the file puts at `address`; none if it does not put as many there.
    pub fn loaded(&self, address: u32, length: usize) -> Option<&[u8]> {
        let behind = self.loaded.partition_point(|(start, _)| *start <= address);
        let (start, bytes) = self.loaded.get(behind.checked_sub(1)?)?;
        let from = (address - start) as usize;
        bytes.get(from..from.checked_add(length)?)
    }
}

fn holding(sorted: &[Object], address: u32) -> Option<&Object> {
    let behind = sorted.partition_point(|object| object.start <= address);
    sorted.get(behind.checked_sub(1)?).filter(|object| address < object.end)
}

fn sorted(mut objects: Vec<Object>) -> Arc<[Object]> {
    objects.retain(|object| object.start < object.end);
    objects.sort_by_key(|object| (object.start, object.end));
    objects.into()
}

/// The symbols of one type.
fn of_type(elf: &Elf<'_>, kind: Type) -> Arc<[Object]> {
    let symbols = elf.symbols();
    let objects = symbols.iter().filter(|symbol| symbol.kind == kind).filter_map(|symbol| {
        let end = symbol.start.checked_add(symbol.size)?;
        Some(Object { name: symbol.name.to_owned(), start: symbol.start, end })
    });
    sorted(objects.collect())
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

    #[test]
    fn what_the_file_puts_into_memory_is_known_where_it_puts_all_of_it() {
        let loaded = vec![(0x100, vec![1, 2, 3, 4]), (0x200, vec![5, 6])];
        let objects = Objects { loaded: loaded.into(), ..Objects::default() };
        assert_eq!(objects.loaded(0x101, 2), Some(&[2, 3][..]));
        assert_eq!(objects.loaded(0x200, 2), Some(&[5, 6][..]));
        assert_eq!(objects.loaded(0x103, 2), None);
        assert_eq!(objects.loaded(0xff, 1), None);
    }
}
