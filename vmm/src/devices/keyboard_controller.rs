//! The keyboard controller at ports 0x60 and 0x64, with a keyboard and a mouse that lies still.
//!
//! Sources: IBM PC AT Technical Reference, "Keyboard Controller" and "Keyboard"; IBM PS/2 Hardware
//! Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
//! ```text
//!  0x64  read: 0 output full · 2 self-test passed · 3 last was a command · 5 output is the mouse's
//!        write: a command; its argument follows at 0x60
//!  command byte   0 IRQ 1 · 1 IRQ 12 · 2 system flag · 4 keyboard off · 5 mouse off · 6 translate
//! ```
//! Commands take no time, so the input buffer is always empty. A key is pressed only where somebody types. A20 is always open:
//! closing it is remembered but has no effect.

use std::collections::VecDeque;

use super::device::Device;
use super::effect::{Effect, ResetLine};
use super::mouse::Mouse;
use super::scan_codes;

/// The keyboard's interrupt line.
pub const IRQ: u8 = 1;
/// The mouse's interrupt line.
pub const MOUSE_IRQ: u8 = 12;

const OUTPUT_FULL: u8 = 0x01;
const SELF_TEST_PASSED: u8 = 0x04;
const LAST_WAS_COMMAND: u8 = 0x08;
const NOT_LOCKED: u8 = 0x10;
const OUTPUT_OF_MOUSE: u8 = 0x20;

const INTERRUPT_OF_KEYBOARD: u8 = 0x01;
const INTERRUPT_OF_MOUSE: u8 = 0x02;
const KEYBOARD_OFF: u8 = 0x10;
const MOUSE_OFF: u8 = 0x20;
const TRANSLATE: u8 = 0x40;
const OUTPUT_PORT_RESET: u8 = 0x01;
const OUTPUT_PORT_A20: u8 = 0x02;

const ACKNOWLEDGE: u8 = 0xFA;
/// A guest that sends and never reads fills no more than this.
const LONGEST_QUEUE: usize = 256;

/// Where the next byte at port 0x60 goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    Keyboard,
    Mouse,
    /// A byte of the controller's memory; 0 is the command byte.
    Memory(u8),
    OutputPort,
    /// Back to port 0x60, as if the keyboard or the mouse had sent it.
    KeyboardOutput,
    MouseOutput,
}

/// The controller, the keyboard and the mouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyboardController {
    memory: [u8; 32],
    output_port: u8,
    /// A20 has been closed by the output port at any time.
    a20_was_closed: bool,
    destination: Destination,
    last_was_command: bool,
    /// The command to the keyboard whose argument comes next.
    argument_of: Option<u8>,
    scan_code_set: u8,
    mouse: Mouse,
    /// Port 0x64 has been read while nothing was there.
    looked_for: bool,
    /// Bytes for port 0x60, and whether they are the mouse's.
    output: VecDeque<(u8, bool)>,
}

impl Default for KeyboardController {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyboardController {
    /// A controller after a BIOS's self test, A20 open, interrupts off.
    pub fn new() -> Self {
        let mut memory = [0; 32];
        memory[0] = 0x04;
        Self {
            memory,
            output_port: 0x03,
            a20_was_closed: false,
            destination: Destination::Keyboard,
            last_was_command: false,
            argument_of: None,
            scan_code_set: 2,
            mouse: Mouse::default(),
            looked_for: false,
            output: VecDeque::new(),
        }
    }

    /// Reads port 0x64.
    pub fn status(&mut self) -> u8 {
        self.looked_for |= self.output.is_empty();
        let output = match self.output.front() {
            None => 0,
            Some((_, false)) => OUTPUT_FULL,
            Some((_, true)) => OUTPUT_FULL | OUTPUT_OF_MOUSE,
        };
        let command = if self.last_was_command { LAST_WAS_COMMAND } else { 0 };
        output | command | SELF_TEST_PASSED | NOT_LOCKED
    }

    /// Reads port 0x60: the oldest byte of output, 0 if there is none.
    pub fn read_data(&mut self) -> u8 {
        self.output.pop_front().map_or(0, |(byte, _)| byte)
    }

    /// Writes port 0x64. A pulse on bit 0 of the output port is the CPU's reset.
    pub fn command(&mut self, command: u8) -> Effect {
        self.last_was_command = true;
        self.destination = Destination::Keyboard;
        match command {
            0x20..=0x3F => self.send(self.memory[usize::from(command & 0x1F)], false),
            0x60..=0x7F => self.destination = Destination::Memory(command & 0x1F),
            0xA7 => self.memory[0] |= MOUSE_OFF,
            0xA8 => self.memory[0] &= !MOUSE_OFF,
            0xAA => self.send(0x55, false),
            0xA9 | 0xAB => self.send(0x00, false),
            0xAD => self.memory[0] |= KEYBOARD_OFF,
            0xAE => self.memory[0] &= !KEYBOARD_OFF,
            // The input port: keyboard not locked.
            0xC0 => self.send(0x80, false),
            0xD0 => self.send(self.output_port, false),
            0xD1 => self.destination = Destination::OutputPort,
            0xD2 => self.destination = Destination::KeyboardOutput,
            0xD3 => self.destination = Destination::MouseOutput,
            0xD4 => self.destination = Destination::Mouse,
            0xDD => self.set_output_port(self.output_port & !OUTPUT_PORT_A20),
            0xDF => self.output_port |= 0x02,
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
            Destination::Memory(at) => self.memory[usize::from(at)] = value,
            Destination::OutputPort => {
                self.set_output_port(value);
                if value & OUTPUT_PORT_RESET == 0 {
                    return Effect::Reset(ResetLine::KeyboardController);
                }
            }
            Destination::KeyboardOutput => self.send(value, false),
            Destination::MouseOutput => self.send(value, true),
            Destination::Mouse => {
                let mut answer = VecDeque::new();
                self.mouse.write(value, &mut answer);
                answer.into_iter().for_each(|byte| self.send(byte, true));
            }
            Destination::Keyboard => self.command_keyboard(value),
        }
        Effect::None
    }

    fn set_output_port(&mut self, value: u8) {
        self.output_port = value;
        self.a20_was_closed |= value & OUTPUT_PORT_A20 == 0;
    }

    /// A20 has been closed here, which has no effect.
    pub fn a20_was_closed(&self) -> bool {
        self.a20_was_closed
    }

    /// It is forgotten that A20 has been closed.
    pub fn forget_a20(&mut self) {
        self.a20_was_closed = false;
    }

    /// Whether somebody listens to the keyboard: it interrupts, or a key has been looked for.
    pub fn is_listened_to(&self) -> bool {
        self.memory[0] & KEYBOARD_OFF == 0
            && (self.memory[0] & INTERRUPT_OF_KEYBOARD != 0 || self.looked_for)
    }

    /// Somebody types this, on an American keyboard.
    pub fn type_text(&mut self, text: &[u8]) {
        for byte in text {
            let set_1 = self.scan_code_set == 1 || self.memory[0] & TRANSLATE != 0;
            self.type_codes(&scan_codes::of(*byte, set_1));
        }
    }

    /// Bytes from the keyboard, as scan codes.
    pub fn type_codes(&mut self, codes: &[u8]) {
        codes.iter().for_each(|code| self.send(*code, false));
    }

    /// "Commands from the System".
    fn command_keyboard(&mut self, value: u8) {
        self.send(ACKNOWLEDGE, false);
        match self.argument_of.take() {
            Some(0xF0) if value == 0 => return self.send(self.scan_code_set, false),
            Some(0xF0) => return self.scan_code_set = value,
            Some(_) => return,
            None => {}
        }
        match value {
            0xED | 0xF0 | 0xF3 => self.argument_of = Some(value),
            0xEE => {
                // Echo is answered by itself.
                self.output.pop_back();
                self.send(0xEE, false);
            }
            0xF2 => [0xAB, 0x83].iter().for_each(|byte| self.send(*byte, false)),
            0xFF => self.send(0xAA, false),
            _ => {}
        }
    }

    fn send(&mut self, byte: u8, of_mouse: bool) {
        if self.output.len() < LONGEST_QUEUE {
            self.output.push_back((byte, of_mouse));
        }
    }
}

impl Device for KeyboardController {
    fn drive(&self, line: &mut dyn FnMut(u8, bool)) {
        let full_with = |mouse| self.output.front().is_some_and(|(_, of)| *of == mouse);
        line(IRQ, self.memory[0] & INTERRUPT_OF_KEYBOARD != 0 && full_with(false));
        line(MOUSE_IRQ, self.memory[0] & INTERRUPT_OF_MOUSE != 0 && full_with(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(controller: &KeyboardController) -> Vec<u8> {
        let mut high = Vec::new();
        controller.drive(&mut |irq, level| {
            if level {
                high.push(irq);
            }
        });
        high
    }

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
    fn what_is_typed_comes_as_the_codes_that_the_kernel_has_asked_for() {
        let mut controller = KeyboardController::new();
        assert!(!controller.is_listened_to());
        let _ = controller.command(0x60);
        let _ = controller.write_data(0x45);
        assert!(controller.is_listened_to());
        controller.type_text(b"a");
        assert_eq!(lines(&controller), [1]);
        assert_eq!([controller.read_data(), controller.read_data()], [0x1E, 0x9E]);
        let _ = controller.command(0x60);
        let _ = controller.write_data(0x05);
        controller.type_text(b"a");
        assert_eq!([(); 3].map(|()| controller.read_data()), [0x1C, 0xF0, 0x1C]);
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
    fn a_keyboard_command_with_an_argument_takes_the_next_byte() {
        let mut controller = KeyboardController::new();
        for byte in [0xED, 0x02, 0xF0, 0x00, 0xEE] {
            let _ = controller.write_data(byte);
        }
        let answer: Vec<u8> = (0..6).map(|_| controller.read_data()).collect();
        assert_eq!(answer, [0xFA, 0xFA, 0xFA, 0xFA, 0x02, 0xEE]);
    }

    #[test]
    fn the_mouse_answers_behind_its_prefix_and_its_bytes_are_marked() {
        let mut controller = KeyboardController::new();
        let _ = controller.command(0x60);
        let _ = controller.write_data(0x03);
        let _ = controller.command(0xD4);
        let _ = controller.write_data(0xF4);
        assert_eq!(controller.status() & 0x21, 0x21);
        assert_eq!(lines(&controller), [12]);
        assert_eq!(controller.read_data(), 0xFA);
        assert!(lines(&controller).is_empty());
    }

    #[test]
    fn output_interrupts_once_the_command_byte_allows_it() {
        let mut controller = KeyboardController::new();
        let _ = controller.write_data(0xF4);
        assert!(lines(&controller).is_empty());
        let _ = controller.command(0x60);
        let _ = controller.write_data(0x05);
        assert_eq!(lines(&controller), [1]);
        let _ = controller.command(0x20);
        assert_eq!(controller.read_data(), 0xFA);
        assert_eq!(controller.read_data(), 0x05);
        assert!(lines(&controller).is_empty());
    }
}
