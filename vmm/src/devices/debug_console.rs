//! The debug console at port 0xE9: each byte written is console output.
//!
//! It comes from Bochs and is in QEMU as `isa-debugcon`. Reading the port gives its own number, by which
//! a kernel can tell that the console is there. It has no state, so there is no device to keep: output
//! goes where the serial port's goes, in the order of the writes.

/// What reading the port gives.
pub const PRESENT: u8 = 0xE9;
