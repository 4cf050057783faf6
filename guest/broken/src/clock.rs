//! The tick.

use arch::OneCpu;
use core::cell::Cell;

/// Ticks of the timer since the start. The tasks read it as well: there is no paging.
// SAFETY: written by the timer's handler alone, with interrupts closed.
pub(crate) static TICKS: OneCpu<Cell<u32>> = unsafe { OneCpu::new(Cell::new(0)) };

/// Counts a tick; gives how many there were.
pub(crate) fn tick() -> u32 {
    TICKS.set(TICKS.get() + 1);
    TICKS.get()
}
