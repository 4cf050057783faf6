//! A page of the kernel's that one page directory maps, and the one in use does not.
//!
//! ```text
//!  directory of task 1   [832] ─► table ─► d0000000      the heap has grown while task 1 ran
//!  directory of task 2   [832]    empty                  and faults when task 2 does
//! ```
//! Kernels that give each task a directory copy the kernel's part when a task is made. What is mapped later, by a new page
//! table, is in one of them only, unless the handler of page faults copies it (as Linux does for vmalloc).

use super::Aftermath;
use super::explained::Explained;
use crate::check::ChangedWord;
use crate::entry::{Fault, Reach, Walk};
use ia32::{State, Vector};

/// So many directories are remembered.
const KEPT: usize = 16;
const PRESENT: u32 = 1;
const USER: u64 = 1 << 2;
/// Accessed and dirty, which the processor sets.
const MARKS: u32 = 0x60;
/// From here on linear addresses are the kernel's, in kernels that share them with programs.
const HIGH: u32 = 0x8000_0000;

/// The page directories that ring 0 has been seen with.
#[derive(Clone, Debug, Default)]
pub(super) struct Directories(Vec<u32>);

impl Directories {
    #[inline]
    pub(super) fn see(&mut self, state: &State) {
        if state.paging() && !self.0.contains(&state.cr3) {
            self.add(state.cr3);
        }
    }

    #[cold]
    fn add(&mut self, directory: u32) {
        if self.0.len() < KEPT {
            self.0.push(directory);
        }
    }

    /// Says which other directory maps what `fault` met.
    pub(super) fn explain(&self, fault: &Fault, aftermath: &Aftermath<'_>) -> Option<Explained> {
        let code = fault.error_code()?;
        if fault.vector != Vector::PF || fault.ring != 0 || code & PRESENT != 0 {
            return None;
        }
        let here = &fault.after;
        let reach = Reach { user: false, write: code & 2 != 0 };
        let lacks = fault.walk.as_ref()?.levels().last()?;
        let maps = |directory: &u32| {
            let state = State { cr3: *directory, ..*here };
            let walk = Walk::of(aftermath.memory, &state, here.cr2)?;
            let level = walk.levels().next()?;
            let entry = level.entry?;
            let is_kernels = entry & USER == 0 || here.cr2 >= HIGH;
            (walk.denies(reach).is_none() && is_kernels).then_some((
                *directory,
                level.address,
                entry,
            ))
        };
        let others = self.0.iter().filter(|directory| **directory != here.cr3);
        let (directory, at, entry) = others.filter_map(maps).next()?;
        let word = ChangedWord { address: at as u32, physical: at, value: entry as u32 };
        Some(
            Explained::because(format!(
                "CR3 {directory:08x} maps that page, by the entry at physical {}; CR3 is {:08x} now, and its entry \
                 at physical {} is empty: they have not the same part of the kernel",
                aftermath.place(at as u32),
                here.cr3,
                aftermath.place(lacks.address as u32),
            ))
            .advise(
                "put each new entry of the kernel's part into all page directories, or make its page tables before the first \
                 directory is copied, so that all share them",
            )
            .stored_in(Some(word), !MARKS),
        )
    }
}
