//! The frames that were pushed and not yet popped, by address.

use super::stacks::TaskId;
use crate::entry::{Frame, Kind, Return};
use ia32::{General, Segment, Vector, Word};
use std::collections::BTreeMap;
use std::ops::Range;

/// A frame that was pushed and not yet popped.
#[derive(Clone, Copy, Debug)]
pub struct LiveFrame {
    /// The entry that pushed it.
    pub sequence: u64,
    /// The task that was running.
    pub task: Option<TaskId>,
    /// What raised the event.
    pub kind: Kind,
    /// Its vector.
    pub vector: Vector,
    /// CR3 of the address space that was interrupted.
    pub address_space: u32,
    /// Linear address of the TSS in TR.
    pub tss: u32,
    /// The words as they were pushed.
    pub frame: Frame,
    /// The general registers that were interrupted; ESP is the handler's.
    pub registers: General,
    /// ES, DS, FS and GS, with what the processor keeps of their descriptors.
    pub segments: [Segment; 4],
    /// Linear address of the handler.
    pub handler: u32,
    /// HLT stands right before the interrupted place.
    pub behind_halt: bool,
    /// The stack right below this one, whose frame was whole then.
    pub(in crate::check) below: Option<Below>,
}

/// How much above a stack's top is looked at to tell whether the stack above has grown over it.
pub(in crate::check) const ABOVE: usize = 64;

/// The frame on the stack right below, and the low end of the own stack, at an entry.
#[derive(Clone, Copy, Debug)]
pub(in crate::check) struct Below {
    /// Where the frame stands among the live ones.
    pub(in crate::check) slot: Slot,
    /// The entry that pushed it.
    pub(in crate::check) sequence: u64,
    /// What lies above it.
    pub(in crate::check) low_end: [u8; ABOVE],
}

impl LiveFrame {
    /// The event came from an outer ring.
    pub fn from_outer_ring(&self) -> bool {
        self.frame.shape.changes_stack
    }

    /// Where its EIP lies: an error code has been dropped by the time of the return.
    pub fn popped_from(&self) -> u32 {
        self.frame.address.wrapping_add(self.skip())
    }

    /// It came from an outer ring, and has the kernel's CS now, and another EIP: no task goes on, and the kernel idles.
    pub(in crate::check) fn leads_into_the_kernel(&self, returning: &Return) -> bool {
        self.from_outer_ring()
            && returning.frame.selector(Word::Cs) == Some(returning.state.cs().selector)
            && returning.frame.get(Word::Eip) != self.frame.get(Word::Eip)
    }

    pub(super) fn skip(&self) -> u32 {
        if self.frame.shape.error_code { self.frame.shape.word_size } else { 0 }
    }

    fn range(&self) -> Option<(u64, u64)> {
        let start = self.frame.physical?;
        Some((start, start + u64::from(self.frame.shape.size())))
    }
}

/// The number of a row in the table of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct Slot(u32);

/// One frame in the table, between those that were pushed before and after it.
#[derive(Clone, Debug)]
struct Row {
    live: LiveFrame,
    is_live: bool,
    older: Option<Slot>,
    newer: Option<Slot>,
}

/// All of them: a table of frames, in the order of their entries, and its slots by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    table: Vec<Row>,
    /// Slots that hold no frame.
    free: Vec<Slot>,
    oldest: Option<Slot>,
    newest: Option<Slot>,
    /// How many frames are live.
    count: usize,
    /// By physical address. No two overlap.
    by_physical: BTreeMap<u64, Slot>,
    /// By linear address and number of the entry; several address spaces may use one address.
    by_linear: BTreeMap<(u32, u64), Slot>,
    #[cfg(test)]
    visited: std::cell::Cell<u64>,
}

/// The live frames, oldest first.
#[derive(Clone, Debug)]
struct InOrder<'a> {
    frames: &'a Frames,
    first: Option<Slot>,
    last: Option<Slot>,
    left: usize,
}

impl<'a> Iterator for InOrder<'a> {
    type Item = (Slot, &'a LiveFrame);

    fn next(&mut self) -> Option<Self::Item> {
        let slot = self.first.filter(|_| self.left > 0)?;
        let row = self.frames.row(slot);
        self.first = row.newer;
        self.left -= 1;
        Some((slot, &row.live))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl DoubleEndedIterator for InOrder<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let slot = self.last.filter(|_| self.left > 0)?;
        let row = self.frames.row(slot);
        self.last = row.older;
        self.left -= 1;
        Some((slot, &row.live))
    }
}

impl ExactSizeIterator for InOrder<'_> {}

impl Frames {
    /// Oldest first.
    pub(super) fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (Slot, &LiveFrame)> + ExactSizeIterator {
        InOrder { frames: self, first: self.oldest, last: self.newest, left: self.count }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    fn row(&self, slot: Slot) -> &Row {
        &self.table[slot.0 as usize]
    }

    #[inline]
    fn row_mut(&mut self, slot: Slot) -> &mut Row {
        &mut self.table[slot.0 as usize]
    }

    /// The frame in a slot that holds one, or from which one was taken out last.
    #[inline]
    pub(super) fn at(&self, slot: Slot) -> &LiveFrame {
        &self.row(slot).live
    }

    /// The slot holds the frame that this entry pushed.
    pub(super) fn holds(&self, slot: Slot, sequence: u64) -> bool {
        let row = self.row(slot);
        row.is_live && row.live.sequence == sequence
    }

    /// Those that begin in this range of linear addresses, lowest first.
    #[inline]
    pub(super) fn within(&self, addresses: Range<u32>) -> impl Iterator<Item = (Slot, &LiveFrame)> {
        self.by_linear
            .range((addresses.start, 0)..(addresses.end, 0))
            .inspect(|_| self.visit())
            .map(|(_, slot)| (*slot, self.at(*slot)))
    }

    /// Those that share a byte with this range of physical memory.
    #[inline]
    pub(super) fn overlapping(
        &self,
        start: u64,
        end: u64,
    ) -> impl Iterator<Item = (Slot, &LiveFrame)> {
        // No frame has more than forty bytes.
        self.by_physical
            .range(start.saturating_sub(40)..end)
            .inspect(|_| self.visit())
            .map(|(_, slot)| (*slot, self.at(*slot)))
            .filter(move |(_, live)| live.range().is_some_and(|(_, other)| start < other))
    }

    /// The live frame that starts where `frame` does. One in the same page frame at another linear
    /// address is a dead task's: its memory serves another stack now.
    #[inline]
    pub(super) fn pushed_at(&self, frame: &Frame) -> Option<(Slot, &LiveFrame)> {
        let start = frame.physical?;
        self.overlapping(start, start + 4).find(|(_, live)| {
            live.frame.physical.map(|physical| physical + u64::from(live.skip())) == Some(start)
                && live.popped_from() == frame.address
        })
    }

    pub(super) fn insert(&mut self, live: LiveFrame) {
        let row = Row { live, is_live: false, older: None, newer: None };
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.row_mut(slot) = row;
                slot
            }
            None => {
                self.table.push(row);
                Slot(self.table.len() as u32 - 1)
            }
        };
        self.put_back(slot);
    }

    /// Takes a frame out. Its slot keeps it until it is [released](Self::release): so it can be put back.
    pub(super) fn take_out(&mut self, slot: Slot) {
        let row = self.row_mut(slot);
        row.is_live = false;
        let (older, newer) = (row.older, row.newer);
        let LiveFrame { sequence, frame: Frame { address, physical, .. }, .. } = row.live;
        match older {
            Some(older) => self.row_mut(older).newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => self.row_mut(newer).older = older,
            None => self.newest = older,
        }
        self.count -= 1;
        if let Some(physical) = physical
            && self.by_physical.get(&physical) == Some(&slot)
        {
            self.by_physical.remove(&physical);
        }
        self.by_linear.remove(&(address, sequence));
    }

    /// The frame that was taken out of this slot is live.
    pub(super) fn put_back(&mut self, slot: Slot) {
        let LiveFrame { sequence, frame: Frame { address, physical, .. }, .. } = *self.at(slot);
        let mut older = self.newest;
        while let Some(later) = older.filter(|one| self.at(*one).sequence > sequence) {
            older = self.row(later).older;
        }
        let newer = match older {
            Some(older) => self.row_mut(older).newer.replace(slot),
            None => self.oldest.replace(slot),
        };
        match newer {
            Some(newer) => self.row_mut(newer).older = Some(slot),
            None => self.newest = Some(slot),
        }
        let row = self.row_mut(slot);
        (row.is_live, row.older, row.newer) = (true, older, newer);
        self.count += 1;
        if let Some(physical) = physical {
            self.by_physical.insert(physical, slot);
        }
        self.by_linear.insert((address, sequence), slot);
    }

    /// A slot whose frame was taken out may hold another.
    pub(super) fn release(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    /// Takes a frame out for good.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.take_out(slot);
        self.release(slot);
    }

    /// How many have been looked at.
    #[cfg(test)]
    pub(super) fn visited(&self) -> u64 {
        self.visited.get()
    }

    #[inline]
    pub(super) fn visit(&self) {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
    }
}

/// `live` was pushed into the memory of `frame`, at another linear address: the memory has changed its
/// owner since, and whoever pushed it there is dead.
pub(super) fn is_elsewhere(live: &LiveFrame, frame: &Frame) -> bool {
    let (Some(old), Some(new)) = (live.frame.physical, frame.physical) else { return false };
    let (old_size, new_size) = (live.frame.shape.size(), frame.shape.size());
    old < new + u64::from(new_size)
        && new < old + u64::from(old_size)
        && old.wrapping_sub(new) as u32 != live.frame.address.wrapping_sub(frame.address)
}
