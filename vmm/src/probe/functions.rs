//! Where a way out that nobody has seen is looked for.
//!
//! An IRET that only a computed jump or call reaches has no probe, and what returns by it is missed. That it was is
//! proved by an entry from an outer ring to which nothing had returned. Then the functions that the kernel's symbols
//! name are explored as well: the IRET is in one of them, or in what one of them calls, more often than not. A function
//! counts only if memory holds the bytes that its file has, so that the symbols of another kernel change nothing, and
//! no number is taken for an address of code on the way. A label says nothing of what stands there: it may be data.

use super::Probes;
use crate::machine::{LinearMemory, Machine, MachineError};
use crate::symbols::{FunctionStart, Symbols};

/// Returns that have to be missed until the functions are explored: one or two are of a kernel that starts its first
/// task in a way of its own.
const ENOUGH: u32 = 4;

/// What is known of the kernel's functions, and how often they were wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Functions {
    symbols: Symbols,
    missed: u32,
}

impl Probes {
    /// What names the kernel's functions. Nothing is read of it until it is wanted, which most runs never do.
    pub fn set_symbols(&mut self, symbols: Symbols) {
        self.functions = Functions { symbols, missed: 0 };
    }

    /// Where the functions begin that symbols name, in the order of addresses: those that memory holds.
    pub(crate) fn functions(&self, linear: &LinearMemory<'_>) -> Vec<u32> {
        let is_there = |start: &FunctionStart| {
            let mut bytes = [0; 8];
            let count = self.patches.read(linear, start.address, &mut bytes);
            count == bytes.len() && bytes == start.bytes
        };
        let all = self.functions.symbols.functions().into_iter().filter(is_there);
        all.map(|start| start.address).collect()
    }

    /// Something has returned to an outer ring, and nobody has seen how.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    #[cold]
    pub(crate) fn missed_return(&mut self, machine: &mut Machine) -> Result<(), MachineError> {
        let functions = &mut self.functions;
        functions.missed = functions.missed.saturating_add(1);
        if functions.missed != ENOUGH {
            return Ok(());
        }
        let linear = machine.linear();
        let roots = self.functions(&linear);
        let read = |address: u32, bytes: &mut [u8]| self.patches.read(&linear, address, bytes);
        let found = self.code.explore_surely(&roots, read);
        self.take_found(found);
        self.place_all(machine)
    }
}
