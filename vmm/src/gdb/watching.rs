//! The words that gdb watches.
//!
//! A word is where the page tables have it when it is named, whatever they say later: a program's variable stays that
//! program's. Who names one before paging is on, as one may at a kernel's first instruction, means where it will be: there
//! it is looked for until it is mapped.

use crate::run::Run;
use crate::timeline::{Touched, Watched};
use gdbstub::target::ext::breakpoints::WatchKind;
use std::collections::BTreeSet;

/// Bytes of the longest word.
const LONGEST: u64 = 8;

/// What is watched, by linear address. It crosses no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Word {
    pub(super) address: u32,
    /// In bytes, 8 at most.
    pub(super) length: u8,
}

impl Word {
    /// Where it is; none if that is not mapped, or no RAM.
    pub(super) fn watched(&self, run: &Run) -> Option<Watched> {
        let linear = run.machine().linear();
        let physical = linear.paging.translate(linear.memory, self.address)?;
        let Word { address, length } = *self;
        let in_ram = physical + u64::from(length) <= linear.memory.size();
        in_ram.then_some(Watched { physical, length, address })
    }
}

/// A range in words of 8 bytes, and what is left at its ends.
pub(super) fn words(address: u32, length: u32) -> impl Iterator<Item = Word> {
    let start = u64::from(address);
    let end = (start + u64::from(length)).min(u64::from(u32::MAX) + 1);
    let starts = std::iter::successors(Some(start), |at| Some((at / LONGEST + 1) * LONGEST));
    starts.take_while(move |at| *at < end).map(move |at| Word {
        address: at as u32,
        length: ((at / LONGEST + 1) * LONGEST).min(end).saturating_sub(at) as u8,
    })
}

/// The words that gdb watches.
#[derive(Debug, Default)]
pub(super) struct Watching {
    watched: BTreeSet<Watched>,
    /// Those that are mapped nowhere yet.
    unmapped: BTreeSet<Word>,
}

impl Watching {
    pub(super) fn add(&mut self, word: Word, run: &Run) {
        match word.watched(run) {
            Some(watched) => drop(self.watched.insert(watched)),
            None => drop(self.unmapped.insert(word)),
        }
    }

    pub(super) fn remove(&mut self, Word { address, length }: Word) {
        self.unmapped.retain(|word| (word.address, word.length) != (address, length));
        self.watched.retain(|word| (word.address, word.length) != (address, length));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watched.is_empty() && self.unmapped.is_empty()
    }

    /// Those that are mapped.
    pub(super) fn words(&self) -> &BTreeSet<Watched> {
        &self.watched
    }

    /// Looks whether one has been mapped meanwhile.
    pub(super) fn look(&mut self, run: &Run) {
        let watched = &mut self.watched;
        self.unmapped.retain(|word| match word.watched(run) {
            Some(found) => {
                watched.insert(found);
                false
            }
            None => true,
        });
    }

    /// One of them may have been changed on the way to where the run is, on which these pages were written.
    pub(super) fn concerns(&self, run: &Run, pages: &[usize]) -> bool {
        self.watched.iter().any(|word| word.is_in(pages))
            || self.unmapped.iter().any(|word| word.watched(run).is_some())
    }
}

/// The words of which gdb wants to know who uses them: each instruction is looked at.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// Who reads them.
    pub(super) reads: Watching,
    /// Who reads or writes them.
    pub(super) accesses: Watching,
}

impl Used {
    pub(super) fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.accesses.is_empty()
    }

    /// Where words are that are watched in this way; for changes it is `changes`.
    pub(super) fn whose<'w>(
        &'w mut self,
        changes: &'w mut Watching,
        kind: WatchKind,
    ) -> &'w mut Watching {
        match kind {
            WatchKind::Write => changes,
            WatchKind::Read => &mut self.reads,
            WatchKind::ReadWrite => &mut self.accesses,
        }
    }

    pub(super) fn look(&mut self, run: &Run) {
        self.reads.look(run);
        self.accesses.look(run);
    }

    /// Those that are mapped.
    pub(super) fn words(&self) -> Vec<Touched> {
        let words = |watching: &Watching, reads_only: bool| -> Vec<Touched> {
            watching.words().iter().map(|word| Touched { word: *word, reads_only }).collect()
        };
        let mut all = words(&self.reads, true);
        all.extend(words(&self.accesses, false));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_into_words_that_cross_no_page() {
        let cut = |address, length| -> Vec<(u32, u8)> {
            words(address, length).map(|word| (word.address, word.length)).collect()
        };
        assert_eq!(cut(0x1000, 4), [(0x1000, 4)]);
        assert_eq!(cut(0x1ffe, 4), [(0x1ffe, 2), (0x2000, 2)]);
        assert_eq!(cut(0x1003, 14), [(0x1003, 5), (0x1008, 8), (0x1010, 1)]);
        assert_eq!(cut(0xffff_fffe, 9), [(0xffff_fffe, 2)]);
        assert_eq!(cut(0x1000, 0), []);
    }
}
