//! A recorded state that the guest is stepped towards, as what tells it from others.
//!
//! Of the pages that have changed only digests are kept: a guest that fills its memory may have changed all of them, and
//! there are enough copies of those.

use crate::machine::{ACCESSED_AND_DIRTY, Memory, MemoryImage, Paging};
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
    changed: Vec<(usize, Digests)>,
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
        let mut changed: BTreeMap<usize, Digests> =
            all.map(|page| (page, Digests::of(zero.page(page)))).collect();
        let (vcpu, mut packed) = PackedPages::of(&then.bytes, pages)?;
        while !packed.is_empty() {
            let (page, now) = packed.take(base.as_ref().unwrap_or(&zero))?;
            changed.insert(page, Digests::of(&now));
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

    /// Memory is its own, the vCPU being in `now`, where `written` are the pages that were written since the state before.
    /// What the processor has noted in page tables depends on what it had cached, and tells nothing.
    pub(super) fn has_memory_of(
        &mut self,
        now: &State,
        memory: &Memory,
        patched: &PatchedPages,
        written: impl IntoIterator<Item = usize>,
    ) -> bool {
        let tables = Paging::from(now).table_pages(memory);
        let digest_now = |page: usize| {
            let bytes = patched.read(memory, page);
            digest(&bytes, tables.contains(&page))
        };
        let differs =
            |(page, then): &(usize, Digests)| digest_now(*page) != then.with(tables.contains(page));
        if let Some(index) = self.changed.iter().position(differs) {
            // It is likely to be the one that differs the next time.
            self.changed.swap(0, index);
            return false;
        }
        // What was written meanwhile has to be as it was before, too.
        let Some(base) = &self.base else { return true };
        let changed: BTreeSet<usize> = self.changed.iter().map(|(page, _)| *page).collect();
        written
            .into_iter()
            .filter(|page| !changed.contains(page))
            .all(|page| digest_now(page) == digest(base.page(page), tables.contains(&page)))
    }
}

/// What tells a page from others: as it is, and as a page table.
#[derive(Clone, Copy, Debug)]
struct Digests {
    whole: u64,
    as_table: u64,
}

impl Digests {
    fn of(page: &Page) -> Self {
        Digests { whole: digest(page, false), as_table: digest(page, true) }
    }

    fn with(&self, is_table: bool) -> u64 {
        if is_table { self.as_table } else { self.whole }
    }
}

/// The bytes of a page as one number; of a page table without accessed and dirty bits.
fn digest(page: &Page, is_table: bool) -> u64 {
    let noted = u64::from(ACCESSED_AND_DIRTY) << 32 | u64::from(ACCESSED_AND_DIRTY);
    let counts = if is_table { !noted } else { u64::MAX };
    page.as_chunks::<8>().0.iter().fold(0, |digest, word| {
        let word = u64::from_le_bytes(*word) & counts;
        let mixed = (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_by_each_of_its_bytes_and_a_table_not_by_what_the_processor_notes() {
        let page: Page = std::array::from_fn(|at| (at * 7) as u8);
        for at in [0, 3, 4, 1021, 4095] {
            let mut other = page;
            other[at] ^= 0x20;
            assert_ne!(digest(&page, false), digest(&other, false), "{at}");
            assert_eq!(digest(&page, true) == digest(&other, true), at % 4 == 0, "{at}");
            other[at] ^= 0x30;
            assert_ne!(digest(&page, true), digest(&other, true), "{at}");
        }
    }
}
