//! The two 8259 interrupt controllers of a PC.
//!
//! The second hangs on input 2 of the first. Both are told to give vectors behind those of the
//! processor, and everything but the timer is masked.

use crate::port;
use abi::vector::{IRQ, SPURIOUS_FIRST, SPURIOUS_SECOND};

const FIRST: u16 = 0x20;
const SECOND: u16 = 0xA0;

/// Start of initialisation, in cascade, with a fourth word (ICW1).
const START: u8 = 0x11;
/// Vectors come from ICW2; 8086 mode (ICW4).
const MODE_8086: u8 = 0x01;
/// The highest interrupt in service is done (OCW2).
const END: u8 = 0x20;
/// The next read gives the in-service register (OCW3).
const READ_IN_SERVICE: u8 = 0x0B;

/// Sets both up: vectors from [`IRQ`] on, only the timer open.
pub fn start() {
    let words = [
        (FIRST, START),
        (SECOND, START),
        (FIRST + 1, IRQ),
        (SECOND + 1, IRQ + 8),
        (FIRST + 1, 1 << 2),
        (SECOND + 1, 2),
        (FIRST + 1, MODE_8086),
        (SECOND + 1, MODE_8086),
        (FIRST + 1, !1),
        (SECOND + 1, !0),
    ];
    for (port, word) in words {
        // SAFETY: the ports of the 8259s, which move no memory.
        unsafe { port::write(port, word) };
    }
}

/// Lets no more interrupts of a line (0 to 15) through.
pub fn mask(line: u8) {
    change_mask(line, |mask, bit| mask | bit);
}

/// Lets interrupts of a line through; those of the second controller need line 2 as well.
pub fn unmask(line: u8) {
    if line >= 8 {
        change_mask(2, |mask, bit| mask & !bit);
    }
    change_mask(line, |mask, bit| mask & !bit);
}

fn change_mask(line: u8, change: impl Fn(u8, u8) -> u8) {
    let controller = if line >= 8 { SECOND } else { FIRST };
    // SAFETY: as in `start`.
    unsafe {
        let mask = port::read(controller + 1);
        port::write(controller + 1, change(mask, 1 << (line % 8)));
    }
}

/// Tells the controllers that the interrupt of this vector has been taken.
pub fn end_of_interrupt(vector: u8) {
    if vector >= IRQ + 8 {
        // SAFETY: as in `start`.
        unsafe { port::write(SECOND, END) };
    }
    // SAFETY: as in `start`.
    unsafe { port::write(FIRST, END) };
}

/// Whether the vector came without a cause: the request had vanished when the processor asked.
///
/// Such an interrupt is not in service, so it must not be ended; but if the second controller sent
/// it, the first one believes in it and has to be told. This function does so.
pub fn is_spurious(vector: u8) -> bool {
    match vector {
        SPURIOUS_FIRST => !in_service(FIRST, 7),
        SPURIOUS_SECOND if !in_service(SECOND, 7) => {
            // SAFETY: as in `start`.
            unsafe { port::write(FIRST, END) };
            true
        }
        _ => false,
    }
}

fn in_service(controller: u16, input: u8) -> bool {
    // SAFETY: as in `start`.
    let in_service = unsafe {
        port::write(controller, READ_IN_SERVICE);
        port::read(controller)
    };
    in_service & 1 << input != 0
}
