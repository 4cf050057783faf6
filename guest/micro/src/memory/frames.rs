//! Page frames: 4 KiB of physical memory each, counted by how many [`Frame`]s hold it.
//!
//! Memory that was never used is handed out in the order of the loader's map, past everything that
//! the loader filled. What comes back is kept in a list that runs through the frames themselves,
//! each holding the address of the next, and is used first. A frame is zeroed when it is handed
//! out: what a task finds in it depends on nothing that was there before.
//!
//! A page can belong to several address spaces after a fork, so frames have owners to count: 16 bits
//! for each frame of the machine, in memory set aside at the start.

use super::kernel::{MAPPED, virtual_address};
use abi::layout::{LOAD, PAGE};
use arch::OneCpu;
use arch::multiboot::Info;
use core::cell::{Cell, RefCell};
use core::ops::Range;

/// A share in a page frame. When the last one is dropped the frame is free.
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
    /// How many owners each frame has, by its number.
    owners: &'static [Cell<u16>],
    in_use: u32,
    total: u32,
}

// SAFETY: used by kernel code with interrupts closed.
static FRAMES: OneCpu<RefCell<Frames>> = unsafe {
    OneCpu::new(RefCell::new(Frames {
        fresh: Ranges::NONE,
        occupied: Ranges::NONE,
        returned: None,
        owners: &[],
        in_use: 0,
        total: 0,
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
    frames.set_counts_aside();
    frames.total = frames.count_fresh();
}

/// The end of physical memory, as far as the kernel uses it.
pub(crate) fn total() -> u32 {
    FRAMES.borrow().end()
}

/// How many frames are in use, and how many are not.
pub(crate) fn counts() -> (u32, u32) {
    let frames = FRAMES.borrow();
    (frames.in_use, frames.total - frames.in_use)
}

impl Frame {
    /// A frame full of zeros, or `None` if memory is used up.
    pub(crate) fn allocate() -> Option<Self> {
        let frame = Self::allocate_as_it_is()?;
        // SAFETY: the frame is mapped, and nobody else has it.
        unsafe { frame.pointer().write_bytes(0, PAGE as usize) };
        Some(frame)
    }

    /// A frame with whatever is in it, for a caller who fills it.
    pub(crate) fn allocate_as_it_is() -> Option<Self> {
        let frames = &mut *FRAMES.borrow_mut();
        let address = frames.take()?;
        frames.in_use += 1;
        frames.owners(address).set(1);
        Some(Self(address))
    }

    /// Another share in the frame; `None` if there are as many as can be counted.
    pub(crate) fn share(&self) -> Option<Self> {
        let frames = FRAMES.borrow();
        let owners = frames.owners(self.0);
        owners.set(owners.get().checked_add(1)?);
        Some(Self(self.0))
    }

    /// Whether somebody else has a share in it.
    pub(crate) fn is_shared(&self) -> bool {
        FRAMES.borrow().owners(self.0).get() > 1
    }

    /// Its physical address.
    pub(crate) fn address(&self) -> u32 {
        self.0
    }

    /// Where the kernel reads and writes it.
    pub(crate) fn pointer(&self) -> *mut u8 {
        virtual_address(self.0)
    }

    /// Gives up the share to something that keeps the address, such as a page table.
    pub(crate) fn into_address(self) -> u32 {
        let address = self.0;
        core::mem::forget(self);
        address
    }

    /// The share again that was given up.
    ///
    /// # Safety
    /// The address came from [`Frame::into_address`], and what kept it forgets it now.
    pub(crate) unsafe fn from_address(address: u32) -> Self {
        Self(address)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let frames = &mut *FRAMES.borrow_mut();
        let owners = frames.owners(self.0);
        owners.set(owners.get() - 1);
        if owners.get() == 0 {
            let next = self.pointer().cast::<Option<u32>>();
            // SAFETY: the frame is mapped, and was its owner's alone until now.
            unsafe { next.write(frames.returned) };
            frames.returned = Some(self.0);
            frames.in_use -= 1;
        }
    }
}

impl Frames {
    fn take(&mut self) -> Option<u32> {
        if let Some(frame) = self.returned {
            // SAFETY: `drop` has put this there, and nobody had the frame since.
            self.returned = unsafe { virtual_address(frame).cast::<Option<u32>>().read() };
            return Some(frame);
        }
        self.take_fresh()
    }

    fn take_fresh(&mut self) -> Option<u32> {
        loop {
            let fresh = self.fresh.all_mut().iter_mut().find(|range| range.start < range.end)?;
            let frame = fresh.start..fresh.start + PAGE;
            match self.occupied.all().iter().find(|used| overlap(used, &frame)) {
                Some(used) => fresh.start = used.end.next_multiple_of(PAGE),
                None => {
                    fresh.start = frame.end;
                    return Some(frame.start);
                }
            }
        }
    }

    /// Takes memory for the counts: the first run of frames that is long enough. A shorter run
    /// before it is left alone.
    fn set_counts_aside(&mut self) {
        let count = self.end() / PAGE;
        let bytes = count * size_of::<u16>() as u32;
        let mut run = 0..0;
        while run.len() < bytes as usize {
            let frame = self.take_fresh().expect("no room to count frames in");
            if frame != run.end {
                run = frame..frame;
            }
            run.end = frame + PAGE;
        }
        let counts = virtual_address(run.start).cast::<Cell<u16>>();
        // SAFETY: the frames are mapped, follow each other, and are nobody else's from now on;
        // zeros are counts.
        self.owners = unsafe {
            counts.write_bytes(0, count as usize);
            core::slice::from_raw_parts(counts, count as usize)
        };
    }

    fn count_fresh(&self) -> u32 {
        let free = |frame: &u32| {
            !self.occupied.all().iter().any(|used| overlap(used, &(*frame..*frame + PAGE)))
        };
        let frames = |range: &Range<u32>| range.clone().step_by(PAGE as usize).filter(free).count();
        self.fresh.all().iter().map(frames).sum::<usize>() as u32
    }

    fn end(&self) -> u32 {
        self.fresh.all().iter().map(|range| range.end).max().unwrap_or(0)
    }

    fn owners(&self, address: u32) -> &'static Cell<u16> {
        &self.owners[(address / PAGE) as usize]
    }
}

fn overlap(a: &Range<u32>, b: &Range<u32>) -> bool {
    a.start < b.end && b.start < a.end
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
