//! The end of the machine.

use crate::{cpu, port};
use abi::port::EXIT;

/// Powers the machine off, with a verdict of one byte: see [`abi::port::EXIT`].
///
/// On a machine that has no such port it stops for good.
pub fn off(verdict: u8) -> ! {
    // SAFETY: the exit port moves no memory.
    unsafe { port::write(EXIT, verdict) };
    cpu::stop()
}
