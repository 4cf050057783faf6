//! The I/O ports that a driver may use.
//!
//! The TSS has a bitmap, one bit for each, that the processor asks when ring 3 uses IN or OUT (Intel
//! SDM vol. 1, 19.5.2). A task's own ranges are put into it when the task is switched to. Most tasks
//! have none: for them the TSS says that there is no map, and the last driver's stays as it is.

use crate::segments;
use abi::call::Error;
use arch::OneCpu;
use arch::tss::PORTS;
use core::cell::Cell;
use core::ops::Range;

/// How many ranges of ports a task can have.
const RANGES: usize = 4;

/// The ports that a task may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    /// First port and count of each.
    ranges: [(u16, u16); RANGES],
    count: u8,
}

/// What the map says, whether it is in use or not.
// SAFETY: used by kernel code with interrupts closed.
static MAP: OneCpu<Cell<Ports>> = unsafe { OneCpu::new(Cell::new(Ports::NONE)) };

/// Whether any port is open: almost never, so each switch asks this first.
// SAFETY: as above.
static ANY_OPEN: OneCpu<Cell<bool>> = unsafe { OneCpu::new(Cell::new(false)) };

/// Whether any port is open.
pub(crate) fn is_any_open() -> bool {
    ANY_OPEN.get()
}

impl Ports {
    pub(crate) const NONE: Self = Self { ranges: [(0, 0); RANGES], count: 0 };

    /// Whether these are no ports at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// These and another range.
    pub(crate) fn with(mut self, range: Range<u32>) -> Result<Self, Error> {
        let free = self.ranges.get_mut(usize::from(self.count)).ok_or(Error::NoMemory)?;
        if range.is_empty() || range.end > PORTS {
            return Err(Error::BadArgument);
        }
        *free = (range.start as u16, range.len() as u16);
        self.count += 1;
        Ok(self)
    }

    /// Opens these ports to ring 3, and no others.
    pub(crate) fn open(self) {
        if !self.is_empty() && MAP.get() != self {
            MAP.get().each(|port| segments::open_port(port, false));
            self.each(|port| segments::open_port(port, true));
            MAP.set(self);
        }
        segments::use_port_map(!self.is_empty());
        ANY_OPEN.set(!self.is_empty());
    }

    fn each(self, what: impl Fn(u16)) {
        for (first, count) in &self.ranges[..usize::from(self.count)] {
            (*first..first + count).for_each(&what);
        }
    }
}
