//! The keyboard controller at ports 0x60 and 0x64, as far as kernels poke at it without a keyboard.
//!
//! Source: IBM PC AT Technical Reference, "Keyboard Controller". A kernel resets the machine through it,
//! opens A20 through it, drains it, and initialises a keyboard. The keyboard acknowledges every command
//! and no key is ever pressed. A20 is always open, and closing it is remembered but has no effect.

use std::collections::VecDeque;

use super::bus::{Effect, ResetLine};

/// The keyboard's interrupt line.
pub const IRQ: u8 = 1;

const OUTPUT_FULL: u8 = 0x01;
const SELF_TEST_PASSED: u8 = 0x04;
const LAST_WAS_COMMAND: u8 = 0x08;
const INTERRUPT_ON_OUTPUT: u8 = 0x01;
const OUTPUT_PORT_RESET: u8 = 0x01;

const ACKNOWLEDGE: u8 = 0xFA;

/// Where the next byte at port 0x60 goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    Keyboard,
    CommandByte,
    OutputPort,
    Nowhere,
}

/// The controller and its silent keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyboardController {
    command_byte: u8,
    output_port: u8,
    destination: Destination,
    last_was_command: bool,
    output: VecDeque<u8>,
}

impl Default for KeyboardController {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyboardController {
    /// A controller after a BIOS's self test, A20 open, interrupts off.
    pub fn new() -> Self {
        Self {
            command_byte: 0x04,
            output_port: 0x03,
            destination: Destination::Keyboard,
            last_was_command: false,
            output: VecDeque::new(),
        }
    }

    /// Reads port 0x64. The input buffer is always empty: commands take no time.
    pub fn status(&self) -> u8 {
        let full = if self.output.is_empty() { 0 } else { OUTPUT_FULL };
        let command = if self.last_was_command { LAST_WAS_COMMAND } else { 0 };
        full | command | SELF_TEST_PASSED
    }

    /// Reads port 0x60: the oldest byte of output, 0 if there is none.
    pub fn read_data(&mut self) -> u8 {
        self.output.pop_front().unwrap_or(0)
    }

    /// Writes port 0x64. A pulse on bit 0 of the output port is the CPU's reset.
    pub fn command(&mut self, command: u8) -> Effect {
        self.last_was_command = true;
        self.destination = Destination::Keyboard;
        match command {
            0x20 => self.output.push_back(self.command_byte),
            0x60 => self.destination = Destination::CommandByte,
            0xAA => self.output.push_back(0x55),
            0xA9 | 0xAB => self.output.push_back(0x00),
            0xD0 => self.output.push_back(self.output_port),
            0xD1 => self.destination = Destination::OutputPort,
            0xD2..=0xD4 => self.destination = Destination::Nowhere,
            0xF0..=0xFF if command & OUTPUT_PORT_RESET == 0 => {
                return Effect::Reset(ResetLine::KeyboardController);
            }
            _ => {}
        }
        Effect::None
    }

    /// Writes port 0x60: the argument of a command, or a command for the keyboard.
    pub fn write_data(&mut self, value: u8) -> Effect {
        self.last_was_command = false;
        match std::mem::replace(&mut self.destination, Destination::Keyboard) {
            Destination::CommandByte => self.command_byte = value,
            Destination::OutputPort => {
                self.output_port = value;
                if value & OUTPUT_PORT_RESET == 0 {
                    return Effect::Reset(ResetLine::KeyboardController);
                }
            }
            Destination::Nowhere => {}
            Destination::Keyboard => {
                self.output.push_back(ACKNOWLEDGE);
                match value {
                    0xFF => self.output.push_back(0xAA),
                    0xF2 => self.output.extend([0xAB, 0x83]),
                    _ => {}
                }
            }
        }
        Effect::None
    }

    /// The level of the interrupt line.
    pub fn interrupt_line(&self) -> bool {
        self.command_byte & INTERRUPT_ON_OUTPUT != 0 && !self.output.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reset_pulse_resets() {
        let mut controller = KeyboardController::new();
        let reset = Effect::Reset(ResetLine::KeyboardController);
        assert_eq!(controller.status() & 0x02, 0, "ready for a command");
        assert_eq!(controller.command(0xFE), reset);
        assert_eq!(controller.command(0xFF), Effect::None, "no line is pulsed");
        assert_eq!(controller.command(0xD1), Effect::None);
        assert_eq!(controller.write_data(0xDF), Effect::None, "A20 on");
        let _ = controller.command(0xD1);
        assert_eq!(controller.write_data(0xDE), reset);
    }

    #[test]
    fn the_self_tests_pass_and_the_keyboard_answers() {
        let mut controller = KeyboardController::new();
        let _ = controller.command(0xAA);
        assert_eq!(controller.status() & OUTPUT_FULL, 1);
        assert_eq!(controller.read_data(), 0x55);
        let _ = controller.write_data(0xFF);
        assert_eq!([controller.read_data(), controller.read_data()], [0xFA, 0xAA]);
        assert_eq!(controller.status() & OUTPUT_FULL, 0);
        assert_eq!(controller.read_data(), 0);
    }

    #[test]
    fn output_interrupts_once_the_command_byte_allows_it() {
        let mut controller = KeyboardController::new();
        let _ = controller.write_data(0xF4);
        assert!(!controller.interrupt_line());
        let _ = controller.command(0x60);
        let _ = controller.write_data(0x05);
        assert!(controller.interrupt_line());
        let _ = controller.command(0x20);
        assert_eq!(controller.read_data(), 0xFA);
        assert_eq!(controller.read_data(), 0x05);
        assert!(!controller.interrupt_line());
    }
}
