//! The system calls, by their number in EAX. Any vector of [`VECTORS`] will do.

use core::ops::RangeInclusive;

/// Gates that ring 3 may use: four, so that `broken-plain` has four beginnings of handlers to show.
pub(crate) const VECTORS: RangeInclusive<u8> = 0x80..=0x83;

/// Ends the task.
pub(crate) const EXIT: u32 = 0;
/// Writes the byte in BL to the console.
pub(crate) const WRITE: u32 = 1;
/// Lets the other task run.
pub(crate) const YIELD: u32 = 2;
/// Does nothing.
pub(crate) const NOTHING: u32 = 3;
