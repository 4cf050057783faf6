//! The console: one port that takes strings, or else the first serial port.

use crate::{OneCpu, port};
use abi::port::{COM1, CONSOLE, CONSOLE_PRESENT};
use core::cell::Cell;
use core::fmt;

#[derive(Clone, Copy)]
enum Device {
    /// Nothing has been written yet.
    Unknown,
    /// The port of [`CONSOLE`].
    Port,
    /// The port of [`COM1`].
    Serial,
}

// SAFETY: only kernel code with interrupts closed writes to the console.
static DEVICE: OneCpu<Cell<Device>> = unsafe { OneCpu::new(Cell::new(Device::Unknown)) };

/// Writes bytes to the console. The first use finds out which it is.
pub fn write(bytes: &[u8]) {
    if let Device::Unknown = DEVICE.get() {
        DEVICE.set(find());
    }
    match DEVICE.get() {
        // SAFETY: the console port takes bytes and does nothing else.
        Device::Port => unsafe { port::write_all(CONSOLE, bytes) },
        _ => bytes.iter().for_each(|&byte| send(byte)),
    }
}

fn find() -> Device {
    // SAFETY: reading the port has no effect, whether it is there or not.
    if unsafe { port::read(CONSOLE) } == CONSOLE_PRESENT {
        return Device::Port;
    }
    // No interrupts; divisor 1 (115,200 baud); 8 bits, no parity, one stop bit.
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 0x03)] {
        // SAFETY: the registers of a serial port, which moves no memory.
        unsafe { port::write(COM1 + register, value) };
    }
    Device::Serial
}

/// Sends one byte through the serial port, as soon as its transmitter is empty.
fn send(byte: u8) {
    const LINE_STATUS: u16 = COM1 + 5;
    const EMPTY: u8 = 1 << 5;
    // SAFETY: as in `find`.
    unsafe {
        while port::read(LINE_STATUS) & EMPTY == 0 {}
        port::write(COM1, byte);
    }
}

/// A line in the making: it goes out as one string, when it is full or dropped.
pub struct Line {
    text: [u8; 160],
    length: usize,
}

impl Line {
    /// Writes one formatted line, and the end of the line.
    pub fn print(text: fmt::Arguments<'_>) {
        let mut line = Self { text: [0; 160], length: 0 };
        // A formatter that fails has written what it could: there is nobody to tell.
        let _ = fmt::write(&mut line, text);
        let _ = fmt::Write::write_str(&mut line, "\n");
    }

    fn flush(&mut self) {
        write(&self.text[..self.length]);
        self.length = 0;
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.length == self.text.len() {
                self.flush();
            }
            self.text[self.length] = byte;
            self.length += 1;
        }
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes a formatted line to the console, in one piece.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::console::Line::print(::core::format_args!($($argument)*))
    };
}
