//! Guest memory as it was at some moment, kept as a value.
//!
//! Pages are shared: an image that is made after another one holds only the pages that have changed since,
//! and points to the other's for the rest. So many can be kept, and each can be gone back to.
//!
//! ```text
//!   image ─► groups of 512 pages ─► pages      none: all zero
//!              shared as a whole      shared one by one
//! ```

use super::Memory;
use super::noted::differs;
use std::fmt;
use std::sync::Arc;

pub(super) const PAGE: usize = 4096;
const PAGES_IN_GROUP: usize = 512;

type Page = [u8; PAGE];
type Group = [Option<Arc<Page>>; PAGES_IN_GROUP];

/// Guest memory as it was at some moment. A copy shares all pages.
#[derive(Clone)]
pub struct MemoryImage {
    groups: Vec<Arc<Group>>,
}

impl fmt::Debug for MemoryImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryImage").field("pages", &self.pages()).finish()
    }
}

impl MemoryImage {
    /// An image of all of `memory`.
    pub(super) fn of(memory: &Memory) -> Self {
        let pages = (memory.size() as usize).div_ceil(PAGE);
        let mut image = MemoryImage::zero(memory.size());
        image.update(memory, 0..pages);
        image
    }

    /// A memory of so many bytes that are all zero.
    pub(crate) fn zero(size: u64) -> Self {
        let groups = (size as usize).div_ceil(PAGE).div_ceil(PAGES_IN_GROUP);
        let zero: Arc<Group> = Arc::new([const { None }; PAGES_IN_GROUP]);
        MemoryImage { groups: vec![zero; groups] }
    }

    /// The page with this number has these bytes.
    pub(crate) fn set_page(&mut self, page: usize, bytes: &[u8; PAGE]) {
        if let Some(group) = self.groups.get_mut(page / PAGES_IN_GROUP) {
            let kept = (*bytes != ZERO).then(|| Arc::new(*bytes));
            Arc::make_mut(group)[page % PAGES_IN_GROUP] = kept;
        }
    }

    /// Takes these pages of `memory` in.
    pub(super) fn update(&mut self, memory: &Memory, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            let start = (page * PAGE) as u64;
            let Some(group) = self.groups.get_mut(page / PAGES_IN_GROUP) else { continue };
            let index = page % PAGES_IN_GROUP;
            let known: &[u8] = group[index].as_deref().map_or(&ZERO, |page| page);
            if memory.equals(start, known) {
                continue;
            }
            let mut bytes = Arc::new(ZERO);
            let read = Arc::get_mut(&mut bytes).and_then(|bytes| memory.read(start, bytes));
            if read.is_some() {
                Arc::make_mut(group)[index] = (*bytes != ZERO).then_some(bytes);
            }
        }
    }

    /// Writes to `memory` what this image has in another way than `now`, and what of `touched` is not as
    /// here.
    pub(super) fn write_to(
        &self,
        memory: &mut Memory,
        now: &MemoryImage,
        touched: impl IntoIterator<Item = usize>,
    ) {
        for (number, (then, now)) in self.groups.iter().zip(&now.groups).enumerate() {
            if Arc::ptr_eq(then, now) {
                continue;
            }
            for (index, (then, now)) in then.iter().zip(now.iter()).enumerate() {
                let same = match (then, now) {
                    (None, None) => true,
                    (Some(then), Some(now)) => Arc::ptr_eq(then, now),
                    _ => false,
                };
                if !same {
                    self.write_page(memory, number * PAGES_IN_GROUP + index);
                }
            }
        }
        for page in touched {
            self.write_page(memory, page);
        }
    }

    fn write_page(&self, memory: &mut Memory, page: usize) {
        let bytes = self.page(page);
        let start = (page * PAGE) as u64;
        if !memory.equals(start, bytes) {
            // It was read from there.
            let _ = memory.write(start, bytes);
        }
    }

    /// The page with this number.
    pub(crate) fn page(&self, page: usize) -> &[u8; PAGE] {
        let group = self.groups.get(page / PAGES_IN_GROUP);
        group.and_then(|group| group[page % PAGES_IN_GROUP].as_deref()).map_or(&ZERO, |page| page)
    }

    /// How many pages it holds that are not zero, shared ones too.
    pub fn pages(&self) -> usize {
        self.groups.iter().map(|group| group.iter().flatten().count()).sum()
    }

    /// How many are zero.
    pub(crate) fn zero_pages(&self) -> usize {
        self.groups.len() * PAGES_IN_GROUP - self.pages()
    }

    /// The same bytes, shared or not, but for what a processor notes in page tables, and where `counts` says no of a
    /// physical address.
    pub fn is_that_of(&self, other: &MemoryImage, counts: impl Fn(u64) -> bool) -> bool {
        let groups = self.groups.iter().zip(&other.groups).enumerate();
        groups.filter(|(_, (one, two))| !Arc::ptr_eq(one, two)).all(|(group, (one, two))| {
            one.iter().zip(two.iter()).enumerate().all(|(index, pair)| {
                if let (Some(one), Some(two)) = pair
                    && Arc::ptr_eq(one, two)
                {
                    return true;
                }
                let bytes = |page: &Option<Arc<Page>>| page.as_deref().map_or(ZERO, |page| *page);
                let start = ((group * PAGES_IN_GROUP + index) * PAGE) as u64;
                let (one, two) = (bytes(pair.0), bytes(pair.1));
                one == two
                    || (0..PAGE).all(|at| {
                        let address = start + at as u64;
                        differs(address, one[at], two[at]) == 0 || !counts(address)
                    })
            })
        })
    }

    /// The page with this number is that of `other`, and both hold it together.
    pub(crate) fn take_page(&mut self, other: &MemoryImage, page: usize) {
        self.hold_together(other, page, |_, _| true);
    }

    /// Holds those of these pages that are the same in `other` together with it.
    pub(crate) fn share(&mut self, other: &MemoryImage, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            self.hold_together(other, page, |one, two| one == two);
        }
    }

    fn hold_together(
        &mut self,
        other: &MemoryImage,
        page: usize,
        may: impl FnOnce(&Option<Arc<Page>>, &Option<Arc<Page>>) -> bool,
    ) {
        let (number, index) = (page / PAGES_IN_GROUP, page % PAGES_IN_GROUP);
        let (Some(one), Some(two)) = (self.groups.get_mut(number), other.groups.get(number)) else {
            return;
        };
        if !is_shared(&one[index], &two[index]) && may(&one[index], &two[index]) {
            Arc::make_mut(one)[index].clone_from(&two[index]);
        }
    }

    /// The numbers of the pages that are not shared with `other`: all others are the same.
    pub(crate) fn pages_apart<'a>(
        &'a self,
        other: &'a MemoryImage,
    ) -> impl Iterator<Item = usize> + 'a {
        let groups = self.groups.iter().zip(&other.groups).enumerate();
        groups.filter(|(_, (one, two))| !Arc::ptr_eq(one, two)).flat_map(|(number, (one, two))| {
            let pages = one.iter().zip(two.iter()).enumerate();
            let apart = pages
                .filter(|(_, (one, two))| !is_shared(one, two) && (one.is_some() || two.is_some()));
            apart.map(move |(index, _)| number * PAGES_IN_GROUP + index)
        })
    }

    /// How many pages it holds that `other` does not share.
    pub fn pages_beside(&self, other: &MemoryImage) -> usize {
        self.pages_in_neither(other, other)
    }

    /// How many pages it holds that neither of two others shares.
    pub(crate) fn pages_in_neither(&self, one: &MemoryImage, two: &MemoryImage) -> usize {
        let groups = self.groups.iter().zip(one.groups.iter().zip(&two.groups));
        groups
            .filter(|(own, (one, two))| !Arc::ptr_eq(own, one) && !Arc::ptr_eq(own, two))
            .flat_map(|(own, (one, two))| own.iter().zip(one.iter().zip(two.iter())))
            .filter(|(own, (one, two))| {
                own.is_some() && !is_shared(own, one) && !is_shared(own, two)
            })
            .count()
    }
}

static ZERO: Page = [0; PAGE];

/// It is one page that both hold.
fn is_shared(one: &Option<Arc<Page>>, two: &Option<Arc<Page>>) -> bool {
    matches!((one, two), (Some(one), Some(two)) if Arc::ptr_eq(one, two))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(memory: &mut Memory, page: u64, byte: u8) {
        memory.write(page * PAGE as u64 + 7, &[byte]).unwrap();
    }

    fn byte(memory: &Memory, page: u64) -> u8 {
        memory.read_array::<1>(page * PAGE as u64 + 7).unwrap()[0]
    }

    #[test]
    fn an_image_can_be_gone_back_to_over_many_levels() {
        let mut memory = Memory::detached(4 << 20).unwrap();
        let mut images = vec![MemoryImage::of(&memory)];
        for level in 1..=20_u8 {
            write(&mut memory, u64::from(level) * 37, level);
            write(&mut memory, 3, level);
            let mut next = images.last().unwrap().clone();
            next.update(&memory, [usize::from(level) * 37, 3]);
            images.push(next);
        }
        let mut now = images.last().unwrap().clone();
        for level in [5_u8, 20, 0, 11] {
            images[usize::from(level)].write_to(&mut memory, &now, []);
            now = images[usize::from(level)].clone();
            assert_eq!(byte(&memory, 3), level);
            for other in 1..=20_u8 {
                let expected = if other <= level { other } else { 0 };
                assert_eq!(byte(&memory, u64::from(other) * 37), expected, "level {level}");
            }
        }
    }

    #[test]
    fn what_has_not_changed_is_shared_and_what_is_zero_costs_nothing() {
        let mut memory = Memory::detached(4 << 20).unwrap();
        write(&mut memory, 600, 1);
        write(&mut memory, 5, 1);
        let first = MemoryImage::of(&memory);
        assert_eq!(first.pages(), 2);
        write(&mut memory, 5, 2);
        let mut second = first.clone();
        second.update(&memory, [5, 600]);
        assert_eq!((second.pages(), second.pages_beside(&first)), (2, 1));
        write(&mut memory, 5, 0);
        second.update(&memory, [5]);
        assert_eq!((second.pages(), second.pages_beside(&first)), (1, 0));
    }

    #[test]
    fn equal_pages_are_held_together_where_that_is_asked_for() {
        let mut memory = Memory::detached(4 << 20).unwrap();
        write(&mut memory, 600, 1);
        write(&mut memory, 5, 1);
        let one = MemoryImage::of(&memory);
        let mut two = MemoryImage::zero(4 << 20);
        two.set_page(600, one.page(600));
        two.set_page(5, &[7; PAGE]);
        assert_eq!(two.pages_beside(&one), 2);
        two.share(&one, [5, 600, 1 << 30]);
        assert_eq!(two.pages_beside(&one), 1);
        assert_eq!(two.page(5), &[7; PAGE]);
        assert_eq!(two.pages_in_neither(&one, &two.clone()), 0);
        two.take_page(&one, 5);
        two.take_page(&one, 1 << 30);
        assert_eq!(two.pages_beside(&one), 0);
        assert_eq!(two.page(5), one.page(5));
    }

    #[test]
    fn pages_that_were_touched_since_are_put_back() {
        let mut memory = Memory::detached(1 << 20).unwrap();
        let image = MemoryImage::of(&memory);
        write(&mut memory, 9, 4);
        image.write_to(&mut memory, &image.clone(), [9]);
        assert_eq!(byte(&memory, 9), 0);
    }
}
