//! Time, in ticks of the timer.

use arch::OneCpu;
use core::cell::Cell;

/// Ticks a second, if the command line does not say otherwise.
pub(crate) const HZ: u32 = 100;

// SAFETY: used by kernel code with interrupts closed.
static TICKS: OneCpu<Cell<u32>> = unsafe { OneCpu::new(Cell::new(0)) };

/// A moment, in ticks since the start. It wraps around, after 49 days at 1,000 Hz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u32);

impl Moment {
    /// The moment that many ticks from now.
    pub(crate) fn in_ticks(ticks: u32) -> Self {
        Self(TICKS.get().wrapping_add(ticks))
    }

    /// Whether it is now or was before, if it is less than half of all ticks away.
    pub(crate) fn has_come(self) -> bool {
        TICKS.get().wrapping_sub(self.0) as i32 >= 0
    }
}

/// Another tick has come.
pub(crate) fn advance() {
    TICKS.set(TICKS.get().wrapping_add(1));
}

/// How many ticks there have been.
pub(crate) fn ticks() -> u32 {
    TICKS.get()
}
