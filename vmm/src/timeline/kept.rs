//! The checkpoints of a run, so many that going back is short and memory is bounded.
//!
//! They are taken at intervals of events. When there are too many, or they hold too much memory beside one image of the
//! guest's, each second one goes and the interval doubles: the way to any place grows with the length of the run, and
//! memory does not. Where somebody looks around, a few more lie close to each other; the oldest of those goes first.

use super::{Here, Place};
use crate::run::Checkpoint;
use std::collections::VecDeque;

/// Events between two checkpoints, at first.
const SPACING: u64 = 16;
/// Checkpoints at intervals, at most.
const MOST: usize = 512;
/// Checkpoints where somebody looks around, at most.
const MOST_NEAR: usize = 24;
const PAGE: u64 = 4096;
/// What a checkpoint holds beside memory: registers, devices, probes, and what a checker remembers.
const BESIDE: u64 = 64 << 10;

/// A checkpoint and where it was taken.
#[derive(Debug)]
pub(super) struct Kept<M> {
    pub(super) place: Place,
    pub(super) here: Here,
    pub(super) state: Checkpoint,
    pub(super) memory: M,
    /// Bytes that the one before does not hold.
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Shelf<M> {
    /// By place.
    spaced: Vec<Kept<M>>,
    near: VecDeque<Kept<M>>,
    spacing: u64,
    /// Bytes that may be held beside one image of memory.
    limit: u64,
    /// Bytes that are zero in the first one: a guest that fills them has one whole image of memory then.
    room: u64,
}

impl<M> Shelf<M> {
    pub(super) fn new(limit: u64) -> Self {
        Shelf { spaced: Vec::new(), near: VecDeque::new(), spacing: SPACING, limit, room: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.spaced.clear();
        self.near.clear();
        self.spacing = SPACING;
    }

    /// A checkpoint is to be taken at this event.
    pub(super) fn is_due(&self, event: u64) -> bool {
        self.spaced.last().is_none_or(|last| event >= last.place.event + self.spacing)
    }

    pub(super) fn has(&self, place: Place) -> bool {
        self.all().any(|kept| kept.place == place)
    }

    pub(super) fn keep(&mut self, place: Place, here: Here, state: Checkpoint, memory: M) {
        if self.spaced.is_empty() {
            self.room = state.zero_pages() as u64 * PAGE;
        }
        let mut kept = Kept { place, here, state, memory, bytes: 0 };
        kept.bytes = self.spaced.last().map_or(0, |last| bytes_beside(&kept, last));
        self.spaced.push(kept);
        self.thin();
    }

    pub(super) fn keep_near(&mut self, place: Place, here: Here, state: Checkpoint, memory: M) {
        let mut kept = Kept { place, here, state, memory, bytes: 0 };
        kept.bytes = self.before(place).map_or(0, |last| bytes_beside(&kept, last));
        self.near.push_back(kept);
        while self.near.len() > MOST_NEAR
            || (self.near.len() > 1 && bytes(&self.near) > self.limit / 4)
        {
            self.near.pop_front();
            // What it shared with that one it now holds alone.
            let Some(first) = self.near.front() else { break };
            let last = self.spaced.iter().rfind(|kept| kept.place <= first.place);
            let alone = last.map_or(first.bytes, |last| bytes_beside(first, last));
            if let Some(first) = self.near.front_mut() {
                first.bytes = alone;
            }
        }
        self.thin();
    }

    /// Every second one goes while there is too much; the first stays.
    fn thin(&mut self) {
        while self.spaced.len() > 1
            && (self.spaced.len() > MOST
                || bytes(&self.spaced) > self.room + self.limit / 4 * 3
                || self.size().1 > self.room + self.limit)
        {
            let mut odd = false;
            self.spaced.retain(|_| {
                odd = !odd;
                odd
            });
            self.spacing *= 2;
            let held: Vec<u64> =
                self.spaced.windows(2).map(|pair| bytes_beside(&pair[1], &pair[0])).collect();
            for (kept, bytes) in self.spaced.iter_mut().skip(1).zip(held) {
                kept.bytes = bytes;
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Kept<M>> {
        self.spaced.iter().chain(&self.near)
    }

    /// The last one that lies at `place` or before it.
    pub(super) fn before(&self, place: Place) -> Option<&Kept<M>> {
        self.all().filter(|kept| kept.place <= place).max_by_key(|kept| kept.place)
    }

    /// The last of those at intervals that lies at `place` or before it, and has something `wanted` with it.
    pub(super) fn at_intervals_before(
        &self,
        place: Place,
        wanted: impl Fn(&M) -> bool,
    ) -> Option<(Place, M)>
    where
        M: Clone,
    {
        let mut kept = self.spaced.iter().rev().filter(|kept| kept.place <= place);
        let last = kept.find(|kept| wanted(&kept.memory))?;
        Some((last.place, last.memory.clone()))
    }

    /// How many there are, and the bytes that they hold beside the first one.
    pub(super) fn size(&self) -> (usize, u64) {
        (self.spaced.len() + self.near.len(), bytes(&self.spaced) + bytes(&self.near))
    }
}

fn bytes<'a, M: 'a>(kept: impl IntoIterator<Item = &'a Kept<M>>) -> u64 {
    kept.into_iter().map(|kept| kept.bytes).sum()
}

fn bytes_beside<M>(one: &Kept<M>, other: &Kept<M>) -> u64 {
    one.state.pages_beside(&other.state) as u64 * PAGE + BESIDE
}
