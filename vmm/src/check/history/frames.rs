//! The frames that were pushed and not yet popped, by address.

use super::stacks::TaskId;
use crate::entry::{Frame, Kind};
use ia32::{General, Segment, Vector};
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
    /// What lay above the frame, where that is another stack's low end.
    pub above: Option<[u8; ABOVE]>,
}

/// How much above a stack's top is looked at to tell whether the stack above has grown over it.
pub(in crate::check) const ABOVE: usize = 64;

impl LiveFrame {
    /// The event came from an outer ring.
    pub fn from_outer_ring(&self) -> bool {
        self.frame.shape.changes_stack
    }

    /// Where its EIP lies: an error code has been dropped by the time of the return.
    pub fn popped_from(&self) -> u32 {
        self.frame.address.wrapping_add(self.skip())
    }

    pub(super) fn skip(&self) -> u32 {
        if self.frame.shape.error_code { self.frame.shape.word_size } else { 0 }
    }

    fn range(&self) -> Option<(u64, u64)> {
        let start = self.frame.physical?;
        Some((start, start + u64::from(self.frame.shape.size())))
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    /// By number of the entry.
    live: BTreeMap<u64, LiveFrame>,
    /// By physical address. No two overlap.
    by_physical: BTreeMap<u64, u64>,
    /// By linear address; several address spaces may use one.
    by_linear: BTreeMap<(u32, u64), ()>,
    #[cfg(test)]
    visited: std::cell::Cell<u64>,
}

impl Frames {
    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &LiveFrame> + ExactSizeIterator {
        self.live.values()
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// The frame that this entry pushed.
    pub(super) fn get(&self, sequence: u64) -> Option<&LiveFrame> {
        self.live.get(&sequence)
    }

    /// Those that begin in this range of linear addresses, lowest first.
    pub(super) fn within(&self, addresses: Range<u32>) -> impl Iterator<Item = &LiveFrame> {
        self.by_linear
            .range((addresses.start, 0)..(addresses.end, 0))
            .inspect(|_| self.visit())
            .filter_map(|((_, sequence), ())| self.live.get(sequence))
    }

    /// Those that share a byte with this range of physical memory.
    pub(super) fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &LiveFrame> {
        // No frame has more than forty bytes.
        self.by_physical
            .range(start.saturating_sub(40)..end)
            .inspect(|_| self.visit())
            .filter_map(|(_, sequence)| self.live.get(sequence))
            .filter(move |live| live.range().is_some_and(|(_, other)| start < other))
    }

    /// The live frame that starts where `frame` does. One in the same page frame at another linear
    /// address is a dead task's: its memory serves another stack now.
    #[inline]
    pub(super) fn pushed_at(&self, frame: &Frame) -> Option<&LiveFrame> {
        let start = frame.physical?;
        self.overlapping(start, start + 4).find(|live| {
            live.frame.physical.map(|physical| physical + u64::from(live.skip())) == Some(start)
                && live.popped_from() == frame.address
        })
    }

    pub(super) fn insert(&mut self, live: LiveFrame) {
        if let Some(physical) = live.frame.physical {
            self.by_physical.insert(physical, live.sequence);
        }
        self.by_linear.insert((live.frame.address, live.sequence), ());
        self.live.insert(live.sequence, live);
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<LiveFrame> {
        let live = self.live.remove(&sequence)?;
        if let Some(physical) = live.frame.physical
            && self.by_physical.get(&physical) == Some(&sequence)
        {
            self.by_physical.remove(&physical);
        }
        self.by_linear.remove(&(live.frame.address, sequence));
        Some(live)
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
