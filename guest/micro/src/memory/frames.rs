//! Page frames: 4 KiB of physical memory each, owned by whoever holds the [`Frame`].
//!
//! Memory that was never used is handed out in the order of the loader's map, past everything that
//! the loader filled. What comes back is kept in a list that runs through the frames themselves,
//! each holding the address of the next, and is used first. A frame is zeroed when it is handed
//! out: what a task finds in it depends on nothing that was there before.

use super::kernel::{MAPPED, virtual_address};
use abi::layout::{LOAD, PAGE};
use arch::OneCpu;
use arch::multiboot::Info;
use core::cell::RefCell;
use core::ops::Range;

/// One page frame. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Frame(u32);

struct Frames {
    /// Stretches of memory that the loader's map calls usable; the first one starts with the next
    /// frame to hand out.
    fresh: Ranges<8>,
    /// What the loader filled, and the kernel.
    occupied: Ranges<48>,
    /// The frame that came back last.
    returned: Option<u32>,
}

// SAFETY: used by kernel code with interrupts closed.
static FRAMES: OneCpu<RefCell<Frames>> = unsafe {
    OneCpu::new(RefCell::new(Frames {
        fresh: Ranges::NONE,
        occupied: Ranges::NONE,
        returned: None,
    }))
};

/// Reads the loader's memory map. The first MiB is left alone: a PC has its own things in there.
pub(super) fn start(info: Info) {
    let frames = &mut *FRAMES.borrow_mut();
    frames.occupied.push(LOAD..super::kernel::image_end());
    info.occupied().for_each(|range| frames.occupied.push(range));
    for region in info.memory().filter(|region| region.is_memory) {
        let limit = |address: u64| address.clamp(LOAD.into(), MAPPED.into()) as u32;
        let start = limit(region.start).next_multiple_of(PAGE);
        let end = limit(region.start.saturating_add(region.length)) / PAGE * PAGE;
        if start < end {
            frames.fresh.push(start..end);
        }
    }
    assert!(frames.fresh.count > 0, "the loader's map shows no memory above 1 MiB");
}

/// The end of physical memory, as far as the kernel uses it.
pub(crate) fn total() -> u32 {
    let frames = FRAMES.borrow();
    frames.fresh.all().iter().map(|range| range.end).max().unwrap_or(0)
}

impl Frame {
    /// A frame full of zeros, or `None` if memory is used up.
    pub(crate) fn allocate() -> Option<Self> {
        let frame = FRAMES.borrow_mut().take()?;
        // SAFETY: the frame is mapped, and nobody else has it.
        unsafe { virtual_address(frame).write_bytes(0, PAGE as usize) };
        Some(Self(frame))
    }

    /// Its physical address.
    pub(crate) fn address(&self) -> u32 {
        self.0
    }

    /// Gives up the frame to something that keeps its address, such as a page table.
    pub(crate) fn into_address(self) -> u32 {
        let address = self.0;
        core::mem::forget(self);
        address
    }

    /// The owner again of a frame that was given up.
    ///
    /// # Safety
    /// The address came from [`Frame::into_address`], and nothing uses it any more.
    pub(crate) unsafe fn from_address(address: u32) -> Self {
        Self(address)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let frames = &mut *FRAMES.borrow_mut();
        let next = virtual_address(self.0).cast::<Option<u32>>();
        // SAFETY: the frame is mapped, and was its owner's alone until now.
        unsafe { next.write(frames.returned) };
        frames.returned = Some(self.0);
    }
}

impl Frames {
    fn take(&mut self) -> Option<u32> {
        if let Some(frame) = self.returned {
            // SAFETY: `drop` has put this there, and nobody had the frame since.
            self.returned = unsafe { virtual_address(frame).cast::<Option<u32>>().read() };
            return Some(frame);
        }
        loop {
            let fresh = self.fresh.all_mut().iter_mut().find(|range| range.start < range.end)?;
            let frame = fresh.start..fresh.start + PAGE;
            let overlaps = |used: &&Range<u32>| used.start < frame.end && frame.start < used.end;
            match self.occupied.all().iter().find(overlaps) {
                Some(used) => fresh.start = used.end.next_multiple_of(PAGE),
                None => {
                    fresh.start = frame.end;
                    return Some(frame.start);
                }
            }
        }
    }
}

/// A short list of ranges.
struct Ranges<const MAX: usize> {
    ranges: [Range<u32>; MAX],
    count: usize,
}

impl<const MAX: usize> Ranges<MAX> {
    const NONE: Self = Self { ranges: [const { 0..0 }; MAX], count: 0 };

    fn push(&mut self, range: Range<u32>) {
        assert!(self.count < MAX, "the loader's information has more than {MAX} pieces");
        self.ranges[self.count] = range;
        self.count += 1;
    }

    fn all(&self) -> &[Range<u32>] {
        &self.ranges[..self.count]
    }

    fn all_mut(&mut self) -> &mut [Range<u32>] {
        &mut self.ranges[..self.count]
    }
}
