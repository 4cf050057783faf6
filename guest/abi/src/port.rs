//! I/O ports, and what is read from and written to them.

/// The console: bytes written here appear on it, most cheaply with `REP OUTSB`, a string at a time.
///
/// It exists if a read gives [`CONSOLE_PRESENT`]; otherwise the console is the serial port [`COM1`].
pub const CONSOLE: u16 = 0xE9;

/// What reading [`CONSOLE`] gives where there is one. A port without a device reads 0xFF.
pub const CONSOLE_PRESENT: u8 = 0xE9;

/// The first of the eight ports of the first serial port, an 8250 or better.
pub const COM1: u16 = 0x3F8;

/// A byte written here ends the machine: [`EXIT_OK`] or anything else for failure.
pub const EXIT: u16 = 0xF4;

/// Powered off, all is well.
pub const EXIT_OK: u8 = 0;

/// The kernel panicked.
pub const EXIT_PANIC: u8 = 1;
