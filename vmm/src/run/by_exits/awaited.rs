//! A recorded state that the guest is stepped towards, as what tells it from others.
//!
//! Of the pages that have changed only digests are kept: a guest that fills its memory may have changed all of them, and
//! there are enough copies of those.

use crate::machine::{Memory, MemoryImage, without_noted};
use crate::probe::PatchedPages;
use crate::recording::{PackedPages, Page, RecordedState};
use ia32::{Eflags, State};
use std::collections::{BTreeMap, BTreeSet};

/// A recorded state that the guest is stepped towards.
#[derive(Debug)]
pub(super) struct Awaited {
    exits: u64,
    state: State,
    /// Memory at the state before; none if there was none.
    base: Option<MemoryImage>,
    /// The pages that changed since, in the order in which they are looked at.
    changed: Vec<(usize, u64)>,
}

impl Awaited {
    /// What tells `then`, whose pages are packed beside `base`; none if it is damaged.
    pub(super) fn new(
        then: &RecordedState,
        base: Option<MemoryImage>,
        memory: &Memory,
    ) -> Option<Self> {
        let pages = (memory.size() / 4096) as usize;
        let zero = MemoryImage::zero(memory.size());
        // The first one is all of memory, zero where it says nothing.
        let all = if base.is_none() { 0..pages } else { 0..0 };
        let mut changed: BTreeMap<usize, u64> =
            all.map(|page| (page, digest(zero.page(page)))).collect();
        let (vcpu, mut packed) = PackedPages::of(&then.bytes, pages)?;
        while !packed.is_empty() {
            let (page, now) = packed.take(base.as_ref().unwrap_or(&zero))?;
            changed.insert(page, digest(&now));
        }
        let changed = changed.into_iter().collect();
        Some(Awaited { exits: then.exits, state: vcpu.state(), base, changed })
    }

    /// It is this one.
    pub(super) fn is(&self, then: &RecordedState) -> bool {
        self.exits == then.exits
    }

    /// The registers are its own. RF and TF may be esp0's.
    pub(super) fn has_registers_of(&self, now: &State) -> bool {
        let seen = |state: &State| {
            let selectors = state.segments.map(|segment| segment.selector);
            let flags = state.eflags.without(Eflags::RF).without(Eflags::TF);
            (state.general, state.eip, flags, selectors, state.cr0, state.cr2, state.cr3)
        };
        seen(&self.state) == seen(now)
    }

    /// Memory is its own, where `written` are the pages that were written since the state before.
    pub(super) fn has_memory_of(
        &mut self,
        memory: &Memory,
        patched: &PatchedPages,
        written: impl IntoIterator<Item = usize>,
    ) -> bool {
        let now = |page: usize| digest(&patched.read(memory, page));
        if let Some(index) = self.changed.iter().position(|(page, then)| now(*page) != *then) {
            // It is likely to be the one that differs the next time.
            self.changed.swap(0, index);
            return false;
        }
        // What was written meanwhile has to be as it was before, too.
        let Some(base) = &self.base else { return true };
        let changed: BTreeSet<usize> = self.changed.iter().map(|(page, _)| *page).collect();
        let mut others = written.into_iter().filter(|page| !changed.contains(page));
        others.all(|page| now(page) == digest(base.page(page)))
    }
}

/// The bytes of a page as one number, without what a processor notes in page tables.
fn digest(page: &Page) -> u64 {
    page.as_chunks::<8>().0.iter().fold(0, |digest, bytes| {
        let mixed = (digest ^ without_noted(*bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_by_each_of_its_bytes() {
        let page: Page = std::array::from_fn(|at| (at * 7) as u8);
        for at in [0, 3, 4, 1021, 4095] {
            let mut other = page;
            other[at] ^= 0x10;
            assert_ne!(digest(&page), digest(&other), "{at}");
        }
        // Accessed, of an entry that is present.
        let mut other = page;
        assert_eq!(page[12] & 1, 0);
        other[12] ^= 0x20;
        assert_ne!(digest(&page), digest(&other));
        assert_eq!(page[28] & 0x25, 4);
        let [mut clear, mut set] = [page; 2];
        clear[28] |= 1;
        set[28] |= 0x21;
        assert_eq!(digest(&clear), digest(&set));
    }
}
