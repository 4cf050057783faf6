//! What has to be written down of a run on the clock of exits for it to repeat.
//!
//! What a guest does between two exits it decides alone, and time is what exits say. So all repeats by itself, but
//! for one thing: where a guest computes for long without an exit, it is preempted at a boundary that nothing names.
//! Such a preemption is kept with the whole state there:
//!
//! ```text
//!   exit n ───── computes ─────┬─ preempted: an interrupt ─► exit n+1 …
//!                              └─ kept: n, time, registers, the pages that changed since the preemption before
//!   again:  exit n ═══════════► the state is put in place, and the guest goes on from there
//! ```
//! Nobody looks for the boundary again: a loop that spins for a second costs nothing the second time.
//!
//! Beside that, a digest of the exits is kept now and then, so that a run that leaves its recording is caught.

mod delta;
#[cfg(feature = "program")]
mod file;

pub(crate) use delta::Page;
#[cfg(feature = "program")]
pub use file::{Identity, LARGEST, RecordingError, digest, read, write};

use crate::machine::{MemoryImage, VcpuImage};
use std::sync::Arc;

/// Exits between two digests.
pub(crate) const SPACING: u64 = 256;

/// One preemption, or where a run was cut off from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedState {
    /// Exits before it.
    pub(crate) exits: u64,
    /// Their digest.
    pub(crate) digest: u64,
    /// The guest's time after it, in nanoseconds.
    pub(crate) time: u64,
    /// The vCPU and the pages, packed.
    pub(crate) bytes: Arc<[u8]>,
}

/// How a recorded run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedEnd {
    /// Exits before it.
    pub(crate) exits: u64,
    /// Their digest.
    pub(crate) digest: u64,
    /// What ended it from outside.
    pub(crate) cut: Option<CutOff>,
}

/// How a run was ended from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CutOff {
    pub(crate) why: Cut,
    /// The guest has gone on since the last exit.
    pub(crate) ran: bool,
    /// The state there.
    pub(crate) state: RecordedState,
}

/// What ends a run from outside, at a boundary that nothing names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The time allowed was up.
    TimedOut,
    /// The user ended it.
    Stopped,
    /// The guest stands at an instruction that cannot be fetched.
    NoProgress,
}

/// All that was kept of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    pub(crate) states: Vec<RecordedState>,
    /// The low half of the digest behind each [`SPACING`] exits.
    pub(crate) digests: Vec<u32>,
    pub(crate) end: Option<RecordedEnd>,
}

impl Recording {
    /// How often the guest was preempted.
    pub fn preemptions(&self) -> usize {
        self.states.len()
    }
}

/// A state as bytes: the vCPU, then each page that is not as in `base`, which takes it in. `pages` are those that may
/// differ, `read` gives one as the guest has it.
pub(crate) fn pack(
    vcpu: &VcpuImage,
    base: &mut MemoryImage,
    pages: impl IntoIterator<Item = usize>,
    mut read: impl FnMut(usize, &mut Page),
) -> Arc<[u8]> {
    let mut bytes = vcpu.to_bytes();
    let mut now = [0; delta::PAGE];
    for page in pages {
        read(page, &mut now);
        let old = base.page(page);
        if *old == now {
            continue;
        }
        bytes.extend_from_slice(&(page as u32).to_le_bytes());
        delta::encode(old, &now, &mut bytes);
        base.set_page(page, &now);
    }
    bytes.into()
}

/// The vCPU of a packed state, and the pages that it has changed in `base`; none if the bytes are no such state of a
/// memory of so many pages.
pub(crate) fn unpack(
    bytes: &[u8],
    base: &mut MemoryImage,
    pages: usize,
) -> Option<(VcpuImage, Vec<usize>)> {
    let (vcpu, mut packed) = PackedPages::of(bytes, pages)?;
    let mut changed = Vec::new();
    while !packed.is_empty() {
        let (page, now) = packed.take(base)?;
        base.set_page(page, &now);
        changed.push(page);
    }
    Some((vcpu, changed))
}

/// The pages of a packed state, one after the other.
pub(crate) struct PackedPages<'a> {
    rest: &'a [u8],
    /// How many the memory has.
    pages: usize,
}

impl<'a> PackedPages<'a> {
    /// The vCPU of a packed state, and its pages; none if the bytes begin with no vCPU.
    pub(crate) fn of(bytes: &'a [u8], pages: usize) -> Option<(VcpuImage, Self)> {
        let (vcpu, rest) = VcpuImage::from_bytes(bytes)?;
        Some((vcpu, PackedPages { rest, pages }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next page's number and its bytes, which are kept as what differs from `base`; none if it is damaged.
    pub(crate) fn take(&mut self, base: &MemoryImage) -> Option<(usize, Page)> {
        let (number, rest) = self.rest.split_first_chunk::<4>()?;
        let page = u32::from_le_bytes(*number) as usize;
        self.rest = rest;
        if page >= self.pages {
            return None;
        }
        let mut now = *base.page(page);
        delta::decode(&mut now, &mut self.rest)?;
        Some((page, now))
    }
}
