//! Names for what a run shows: the instruction that an entry interrupted, the end of a stack.

use crate::entry::Entry;
use crate::symbols::{Place, SeenCode, Symbols};
use ia32::{State, Word};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// How many instructions' names are kept. Most kernels are entered from a few hundred places.
const KEPT: usize = 1 << 16;

/// What tells one instruction from another that has the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    eip: u32,
    behind: Option<[u8; 2]>,
    first: Option<u8>,
    after: bool,
}

/// Symbols, and the names that were found.
#[derive(Debug, Default)]
pub(super) struct Names {
    symbols: Symbols,
    found: FxHashMap<Key, Option<Arc<Named>>>,
}

/// A place, and the text of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) place: Place,
    pub(super) text: String,
}

impl Names {
    pub(super) fn new(symbols: Symbols) -> Self {
        Names { symbols, found: FxHashMap::default() }
    }

    pub(super) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The instruction that was interrupted, as a name; looked up once for each.
    pub(super) fn of_entry(&mut self, entry: &Entry) -> Option<Arc<Named>> {
        if self.symbols.is_empty() {
            return None;
        }
        let key = Key {
            eip: entry.frame.get(Word::Eip)?,
            behind: entry.code.behind,
            first: entry.code.instruction().first().copied(),
            after: entry.is_behind_its_instruction(),
        };
        if let Some(known) = self.found.get(&key) {
            return known.clone();
        }
        if self.found.len() == KEPT {
            self.found.clear();
        }
        let name = interrupted(&self.symbols, entry)
            .map(|place| Arc::new(Named { text: place.to_string(), place }));
        self.found.insert(key, name.clone());
        name
    }

    /// What ends at a linear address.
    pub(super) fn of_top(&self, address: u32) -> Option<String> {
        self.symbols.describe_top(address).map(|place| place.short())
    }

    /// The kernel's own instruction.
    pub(super) fn of_instruction(&self, state: &State) -> Option<Place> {
        self.symbols.describe_code(state.eip, SeenCode::default())
    }
}

/// The instruction that an entry interrupted.
pub(super) fn interrupted(symbols: &Symbols, entry: &Entry) -> Option<Place> {
    if entry.origin.virtual_8086 {
        return None;
    }
    let eip = entry.frame.get(Word::Eip)?;
    let behind = entry.code.behind.as_ref().map_or(&[][..], |bytes| bytes);
    let seen = SeenCode { behind, at: entry.code.instruction() };
    if entry.is_behind_its_instruction() {
        symbols.describe_behind(eip, seen)
    } else {
        symbols.describe_code(eip, seen)
    }
}

#[cfg(test)]
mod tests {
    use crate::entry::Kind;
    use crate::trace::schema::samples;
    use ia32::Vector;

    /// EIP is what comes next, and what was stepped may have been a jump to it.
    #[test]
    fn a_single_step_is_not_behind_the_instruction_that_stands_before_eip() {
        let (mut entry, _) = samples::some_entry([1; 40], [1, 1], 1);
        entry.kind = Kind::Trap;
        entry.vector = Vector::DB;
        entry.code.behind = Some([0x90, 0x90]);
        assert!(!entry.is_behind_its_instruction());
        entry.code.behind = Some([0x90, 0xf1]);
        assert!(entry.is_behind_its_instruction(), "INT1");
        entry.vector = Vector::BP;
        assert!(entry.is_behind_its_instruction());
        entry.kind = Kind::Fault;
        assert!(!entry.is_behind_its_instruction());
    }
}
