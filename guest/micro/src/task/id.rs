//! Task identifiers.
//!
//! A place in the table is used again, an identifier is not: above the place it has the number of
//! tasks that were there before. So whoever keeps the identifier of a task that is gone gets an
//! error, and never another task. (After 2²³ tasks in one place it starts again.)

use abi::task::{PLACE_BITS, TASKS};

/// What a task is called by other tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u32);

impl Id {
    /// The idle task's.
    pub(crate) const IDLE: Self = Self(0);

    /// The first, second, … task in a place of the table.
    pub(super) const fn new(place: u32, generation: u32) -> Self {
        Self(generation << PLACE_BITS & i32::MAX as u32 | place)
    }

    /// What a program passed, which may be anything.
    pub(crate) const fn claimed(number: u32) -> Self {
        Self(number)
    }

    /// As programs see it. It is never negative.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// Its place in the table, if it is one.
    pub(crate) const fn place(self) -> u32 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }
}

const _: () = assert!(Id::new(TASKS - 1, 0).place() == TASKS - 1);
