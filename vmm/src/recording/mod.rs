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
use std::fmt;
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

/// A page as the guest has it.
pub(crate) enum Now<'a> {
    /// It is that of an image, which it is shared with.
    In(&'a MemoryImage),
    /// It is in no image.
    Alone(Box<Page>),
}

/// A state as bytes: the vCPU, then each page that is not as in `base`, which takes it in. `pages` are those that may
/// differ, `now` gives one as the guest has it.
pub(crate) fn pack<'a>(
    vcpu: &VcpuImage,
    base: &mut MemoryImage,
    pages: impl IntoIterator<Item = usize>,
    mut now: impl FnMut(usize) -> Now<'a>,
) -> Arc<[u8]> {
    let mut bytes = vcpu.to_bytes();
    for page in pages {
        match now(page) {
            Now::In(image) => {
                append(page, base.page(page), image.page(page), &mut bytes);
                base.take_page(image, page);
            }
            Now::Alone(now) => {
                if append(page, base.page(page), &now, &mut bytes) {
                    base.set_page(page, &now);
                }
            }
        }
    }
    bytes.into()
}

/// Appends a page as what differs from `old`; nothing, and false, if that is the same.
fn append(page: usize, old: &Page, now: &Page, bytes: &mut Vec<u8>) -> bool {
    let differs = old != now;
    if differs {
        bytes.extend_from_slice(&(page as u32).to_le_bytes());
        delta::encode(old, now, bytes);
    }
    differs
}

/// An image as what differs from another one of the same size.
#[derive(Clone)]
pub(crate) struct PackedImage {
    beside: MemoryImage,
    bytes: Arc<[u8]>,
}

impl PackedImage {
    /// `image` as what differs from `beside`.
    pub(crate) fn of(image: &MemoryImage, beside: &MemoryImage) -> Self {
        let mut bytes = Vec::new();
        for page in image.pages_apart(beside) {
            append(page, beside.page(page), image.page(page), &mut bytes);
        }
        PackedImage { beside: beside.clone(), bytes: bytes.into() }
    }

    /// The image.
    pub(crate) fn unpack(&self) -> MemoryImage {
        let mut image = self.beside.clone();
        let mut packed = PackedPages { rest: &self.bytes, pages: usize::MAX };
        while let Some((page, now)) = packed.take(&self.beside) {
            image.set_page(page, &now);
        }
        image
    }

    /// What it is packed beside.
    pub(crate) fn beside(&self) -> &MemoryImage {
        &self.beside
    }

    /// Bytes that it takes beside that.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for PackedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedImage").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_comes_back_from_what_differs_from_another() {
        let page = |byte: u8| std::array::from_fn::<u8, { delta::PAGE }, _>(|at| at as u8 ^ byte);
        let mut beside = MemoryImage::zero(4 << 20);
        (0..1000).for_each(|number| beside.set_page(number, &page(number as u8)));
        let mut image = beside.clone();
        for number in 100..1024 {
            let mut bytes = *image.page(number);
            bytes[number] ^= 1;
            image.set_page(number, &bytes);
        }
        image.set_page(7, &[0; delta::PAGE]);
        let packed = PackedImage::of(&image, &beside);
        assert!(packed.size() < 20 * 924 + 2 * delta::PAGE, "{}", packed.size());
        let back = packed.unpack();
        assert!((0..1024).all(|number| back.page(number) == image.page(number)));
        assert_eq!(back.pages_in_neither(&beside, &beside), 924);
        assert_eq!(PackedImage::of(&image, &image.clone()).size(), 0);
    }
}
