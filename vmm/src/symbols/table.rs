//! The symbols of one file by address.
//!
//! Functions and objects count, and so do untyped labels in what is loaded, because assembly seldom
//! gives types or sizes. A symbol with a size is where it says; one without reaches to the next symbol or
//! to the end of its section. Of several for one address the one that says most is kept.

use super::elf::Elf;
use object::LittleEndian;
use object::elf::{
    SHF_ALLOC, SHF_EXECINSTR, SHT_SYMTAB, STB_LOCAL, STT_FUNC, STT_NOTYPE, STT_OBJECT,
};
use object::read::elf::{SectionHeader, Sym};
use std::sync::Arc;

/// How labels begin that compilers make up.
const OF_COMPILERS: [&str; 3] = [".L", "$", "anon."];

/// A function, an object, or a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) start: u32,
    /// The first address behind it; 64-bit because that can be 4 GiB.
    end: u64,
    /// Not demangled.
    pub(super) name: String,
    pub(super) is_code: bool,
    rank: Rank,
}

/// How much a symbol says, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    unsized_: bool,
    untyped: bool,
    local: bool,
}

/// Which of two neighbours an address between them belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The one that starts there.
    Start,
    /// The one that ends there.
    End,
}

/// The symbols in ascending order of address, one for each start.
#[derive(Debug, Default)]
pub(super) struct Table {
    symbols: Vec<Symbol>,
    /// The greatest end of a symbol and all before it: where a look back may stop.
    reach: Vec<u64>,
}

impl Table {
    pub(super) fn of(elf: Elf<'_>) -> Self {
        let mut symbols = read(elf).unwrap_or_default();
        // The order of names comes last, so that the result does not depend on the linker's.
        symbols.sort_by(|a, b| (a.start, a.rank, &a.name).cmp(&(b.start, b.rank, &b.name)));
        symbols.dedup_by_key(|symbol| symbol.start);
        for index in 1..symbols.len() {
            let next = u64::from(symbols[index].start);
            let symbol = &mut symbols[index - 1];
            if symbol.rank.unsized_ {
                symbol.end = symbol.end.min(next);
            }
        }
        let reach = symbols.iter().scan(0, |reach, symbol| {
            *reach = symbol.end.max(*reach);
            Some(*reach)
        });
        let reach = reach.collect();
        Table { symbols, reach }
    }

    pub(super) fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Where code has a symbol.
    #[cfg(test)]
    pub(super) fn code_addresses(&self) -> Vec<u32> {
        let code = self.symbols.iter().filter(|symbol| symbol.is_code);
        code.map(|symbol| symbol.start).collect()
    }

    pub(super) fn find(&self, address: u32, at: At) -> Option<&Symbol> {
        let ends = || {
            self.innermost(address, |symbol| {
                symbol.end == u64::from(address) && !symbol.is_code && !symbol.rank.unsized_
            })
        };
        let holds = || {
            self.innermost(address, |symbol| {
                u64::from(address) < symbol.end || (symbol.start == address)
            })
        };
        match at {
            At::Start => holds().or_else(ends),
            At::End => ends().or_else(holds),
        }
    }

    /// The last symbol that begins at or before the address and fits; one with a size before a label.
    fn innermost(&self, address: u32, fits: impl Fn(&Symbol) -> bool) -> Option<&Symbol> {
        let behind = self.symbols.partition_point(|symbol| symbol.start <= address);
        let mut label = None;
        for index in (0..behind).rev() {
            if self.reach[index] < u64::from(address) {
                break;
            }
            let symbol = &self.symbols[index];
            if !fits(symbol) {
                continue;
            }
            if !symbol.rank.unsized_ {
                return Some(symbol);
            }
            label = label.or(Some(symbol));
        }
        label
    }
}

/// A name for a terminal: demangled, of bearable length, and without anything that moves a cursor.
pub(super) fn readable(name: &str) -> Arc<str> {
    const LONGEST: usize = 60;
    let name = match rustc_demangle::try_demangle(name) {
        Ok(demangled) => shortened(&format!("{demangled:#}")),
        Err(_) => name.to_owned(),
    };
    let mut text: String = name
        .chars()
        .take(LONGEST)
        .map(|letter| if letter.is_control() || is_unseen(letter) { '?' } else { letter })
        .collect();
    if name.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    text.into()
}

/// A path of Rust's without its beginning: `idle::body` for `micro::task::idle::body`, and `Line::write_str`
/// for `<user::print::Line as core::fmt::Write>::write_str`.
fn shortened(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, letter) in path.char_indices() {
        match letter {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' if path[..at].ends_with('-') => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && path[at..].starts_with("::") => {
                parts.push(&path[start..at]);
                start = at + 2;
            }
            _ => {}
        }
    }
    parts.push(path.get(start..).unwrap_or_default());
    let last = parts.len().saturating_sub(2);
    let parts: Vec<String> = parts[last..].iter().map(|part| own_type(part)).collect();
    parts.join("::")
}

/// The type of `<Type as Trait>`, by the last part of its name.
fn own_type(part: &str) -> String {
    let Some(inner) = part.strip_prefix('<').and_then(|part| part.strip_suffix('>')) else {
        return part.to_owned();
    };
    let name = inner.split(" as ").next().unwrap_or(inner);
    let plain = name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, ':' | '_'));
    match name.rsplit("::").next() {
        Some(last) if plain => last.to_owned(),
        _ => part.to_owned(),
    }
}

/// Letters that change how those around them are shown: the marks of writing direction and the like.
fn is_unseen(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn read(elf: Elf<'_>) -> Option<Vec<Symbol>> {
    let endian = LittleEndian;
    let sections = elf.sections()?;
    let table = sections.symbols(endian, elf.bytes, SHT_SYMTAB).ok()?;
    let mut found = Vec::new();
    for symbol in table.iter() {
        let kind = symbol.st_type();
        if symbol.is_undefined(endian) || !matches!(kind, STT_FUNC | STT_OBJECT | STT_NOTYPE) {
            continue;
        }
        let Ok(section) = sections.section(object::SectionIndex(symbol.st_shndx(endian).into()))
        else {
            continue;
        };
        if section.sh_flags(endian) & SHF_ALLOC == 0 {
            continue;
        }
        let name = table.symbol_name(endian, symbol).ok();
        let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) else { continue };
        if name.is_empty() || OF_COMPILERS.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let start = symbol.st_value(endian);
        let size = symbol.st_size(endian);
        let begins = section.sh_addr(endian);
        let ends = u64::from(begins) + u64::from(section.sh_size(endian));
        // A linker script counts with it: a physical address, or a size.
        if size == 0 && (start < begins || u64::from(start) > ends) {
            continue;
        }
        let end = match size {
            0 => ends,
            size => u64::from(start) + u64::from(size),
        };
        found.push(Symbol {
            start,
            end,
            name: name.to_owned(),
            is_code: section.sh_flags(endian) & SHF_EXECINSTR != 0 && kind != STT_OBJECT,
            rank: Rank {
                unsized_: size == 0,
                untyped: kind == STT_NOTYPE,
                local: symbol.st_bind() == STB_LOCAL,
            },
        });
    }
    Some(found)
}
