//! The tick: time, and the end of a task's turn.

use crate::task::{Task, scheduler};
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

/// The timer's interrupt: wakes whose time has come, and ends the turn of the task that runs.
pub(crate) fn tick() {
    TICKS.set(TICKS.get().wrapping_add(1));
    Task::current().count_tick();
    scheduler::wake_sleepers();
    scheduler::end_turn();
}

/// How many ticks there have been.
pub(crate) fn ticks() -> u32 {
    TICKS.get()
}
