//! The symbols of one file by address.
//!
//! Functions and objects count, and so do untyped labels in what is loaded, because assembly seldom
//! gives types or sizes. A symbol with a size is where it says; one without reaches to the next symbol or
//! to the end of its section. Of several for one address the one that says most is kept.

use super::demangle::{demangled, shortened};
use super::elf::{Elf, ElfSymbol, Type};
use std::ops::Range;
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
        let mut symbols: Vec<Symbol> = elf.symbols().iter().filter_map(symbol).collect();
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
    let name = demangled(name).map_or_else(|| name.to_owned(), |path| shortened(&path));
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

/// Letters that change how those around them are shown: the marks of writing direction and the like.
fn is_unseen(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What a symbol of the file is to whoever looks for names; none if it names no place in memory.
fn symbol(found: &ElfSymbol<'_>) -> Option<Symbol> {
    let ElfSymbol { name, start, size, kind, is_local, .. } = *found;
    let section = found.section.as_ref().filter(|section| section.is_loaded)?;
    if OF_COMPILERS.iter().any(|start| name.starts_with(start)) {
        return None;
    }
    let Range { start: begins, end: ends } = section.addresses;
    let from = u64::from(start);
    // A linker script counts with it: a physical address, or a size.
    if size == 0 && (from < begins || from > ends) {
        return None;
    }
    let end = if size == 0 { ends } else { from + u64::from(size) };
    let rank = Rank { unsized_: size == 0, untyped: kind == Type::Label, local: is_local };
    let is_code = section.is_code && kind != Type::Object;
    Some(Symbol { start, end, name: name.to_owned(), is_code, rank })
}
