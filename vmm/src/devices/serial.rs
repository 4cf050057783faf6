//! The serial ports: a 16550 at 0x3F8 on IRQ 4, and another at 0x2F8 on IRQ 3. At the second there is nobody: what is sent
//! there goes nowhere, and nothing comes.
//!
//! Source: National Semiconductor PC16550D data sheet, sections 8.4 to 8.8.
//!
//! On a PC's adapter OUT2 gates the interrupt line (IBM PC AT Technical Reference, "Serial/Parallel
//! Adapter"). Here it does not, as in QEMU, on which most small kernels are written: many never set it.
//!
//! vm-superio's `Serial` keeps the registers, the receive FIFO and loopback. Interrupts are derived here
//! instead, because its model is a trigger for an event and a PC's is a line: it reports two causes at
//! once as a third one, forgets received data when the identification register is read, raises no second
//! transmitter interrupt unless that register was read, and knows neither OUT2 nor the FIFO control
//! register. Linux lives with all that; a small kernel's first driver does not.

use std::collections::VecDeque;
use std::convert::Infallible;

use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The one at 0x3F8, whose other end is the console.
    First,
    /// The one at 0x2F8.
    Second,
}

impl Port {
    /// Its interrupt line (IBM PC AT Technical Reference, "Serial/Parallel Adapter").
    pub const fn irq(self) -> u8 {
        match self {
            Port::First => 4,
            Port::Second => 3,
        }
    }
}

const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
const INTERRUPT_IDENTIFICATION: u8 = 2;
const FIFO_CONTROL: u8 = 2;
const LINE_CONTROL: u8 = 3;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;

const DIVISOR_LATCH: u8 = 0x80;
const DATA_READY: u8 = 0x01;
const ENABLE_RECEIVED: u8 = 0x01;
const ENABLE_TRANSMITTER: u8 = 0x02;
/// In loopback no interrupt leaves the chip's adapter.
const LOOPBACK: u8 = 0x10;
/// The adapter passes interrupts on.
const OUT2: u8 = 0x08;

const NO_CAUSE: u8 = 0x01;
const CAUSE_TRANSMITTER: u8 = 0x02;
const CAUSE_RECEIVED: u8 = 0x04;
const FIFOS_ENABLED: u8 = 0xC0;

/// vm-superio's trigger, connected to nothing.
#[derive(Debug, Clone, Copy)]
struct Unconnected;

impl Trigger for Unconnected {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The port, what was sent through it, and what waits to be received.
#[derive(Debug)]
pub struct SerialPort {
    uart: Serial<Unconnected, NoEvents, Vec<u8>>,
    input: VecDeque<u8>,
    interrupt_enable: u8,
    fifos_enabled: bool,
    /// The guest has read the data register.
    received_from: bool,
    /// The transmitter has emptied and nobody has asked why it interrupts.
    transmitter_emptied: bool,
    /// How many bytes were written to the divisor since its latch was opened last.
    divisor_writes: u32,
    /// What was written to the divisor's high byte, and would enable interrupts beside it.
    enabled_behind_latch: Option<u8>,
    /// The modem control register, where the line was high while OUT2 was clear.
    interrupted_without_out2: Option<u8>,
}

impl Default for SerialPort {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for SerialPort {
    fn clone(&self) -> Self {
        let output = self.uart.writer().clone();
        let uart = Serial::from_state(&self.uart.state(), Unconnected, NoEvents, output)
            // Only a FIFO longer than the FIFO is refused.
            .unwrap_or_else(|_| Serial::new(Unconnected, Vec::new()));
        Self { uart, input: self.input.clone(), ..*self }
    }
}

impl SerialPort {
    /// A port after reset: no interrupt before the kernel enables one.
    pub fn new() -> Self {
        let mut uart = Serial::new(Unconnected, Vec::new());
        // A write to this register has no way to fail.
        let _ = uart.write(MODEM_CONTROL, 0);
        Self {
            uart,
            input: VecDeque::new(),
            interrupt_enable: 0,
            fifos_enabled: false,
            received_from: false,
            transmitter_emptied: false,
            divisor_writes: 0,
            enabled_behind_latch: None,
            interrupted_without_out2: None,
        }
    }

    /// Reads register 0–7.
    pub fn read(&mut self, register: u8) -> u8 {
        match register {
            DATA if !self.divisor_latch() => {
                self.received_from = true;
                let byte = self.uart.read(DATA);
                self.refill();
                byte
            }
            INTERRUPT_IDENTIFICATION => {
                let cause = self.cause();
                if cause == CAUSE_TRANSMITTER {
                    self.transmitter_emptied = false;
                }
                let fifos = if self.fifos_enabled { FIFOS_ENABLED } else { 0 };
                cause | fifos
            }
            _ => self.uart.read(register),
        }
    }

    /// Writes register 0–7. Says whether the interrupt line fell meanwhile, if only to rise again.
    #[must_use]
    pub fn write(&mut self, register: u8, value: u8) -> bool {
        let was_high = self.interrupt_line();
        let mut fell = false;
        match register {
            DATA if !self.divisor_latch() => {
                self.transmitter_emptied = false;
                fell = was_high && !self.interrupt_line();
                self.forward(register, value);
                self.transmitter_emptied = true;
            }
            INTERRUPT_ENABLE if !self.divisor_latch() => {
                // The holding register is always empty, so enabling its interrupt raises it at once.
                if value & !self.interrupt_enable & ENABLE_TRANSMITTER != 0 {
                    self.transmitter_emptied = true;
                }
                self.interrupt_enable = value & 0x0F;
                self.enabled_behind_latch = None;
                self.forward(register, value);
            }
            FIFO_CONTROL => {
                self.fifos_enabled = value & 0x01 != 0;
                if value & 0x02 != 0 {
                    self.empty_fifo();
                }
            }
            _ => {
                self.note(register, value);
                self.forward(register, value);
                self.refill();
            }
        }
        fell || (was_high && !self.interrupt_line())
    }

    /// The level of the interrupt line.
    pub fn interrupt_line(&mut self) -> bool {
        let control = self.uart.read(MODEM_CONTROL);
        let line = control & LOOPBACK == 0 && self.cause() != NO_CAUSE;
        if line && control & OUT2 == 0 {
            self.interrupted_without_out2 = Some(control);
        }
        line
    }

    /// How many bytes were written to the divisor while its latch is open, and the line control register; none if it is closed.
    pub fn behind_latch(&self) -> Option<(u8, u32)> {
        let line = self.uart.state().line_control;
        (line & DIVISOR_LATCH != 0).then_some((line, self.divisor_writes))
    }

    /// What was written to the divisor in place of the interrupt enable register, where no interrupt is enabled.
    pub fn enabled_behind_latch(&self) -> Option<u8> {
        self.enabled_behind_latch.filter(|_| self.interrupt_enable == 0)
    }

    /// The modem control register without OUT2, with which an interrupt left the port.
    pub fn interrupted_without_out2(&self) -> Option<u8> {
        self.interrupted_without_out2
    }

    /// Remembers what is written to the divisor, and how.
    fn note(&mut self, register: u8, value: u8) {
        match register {
            LINE_CONTROL => self.divisor_writes = 0,
            DATA => self.divisor_writes = self.divisor_writes.saturating_add(1),
            // The least speed that anybody uses has 1 there, or 0 where it is higher.
            INTERRUPT_ENABLE => {
                self.enabled_behind_latch = Some(value).filter(|value| (1..=0x0f).contains(value));
            }
            _ => {}
        }
    }

    /// Whether the guest has ever listened: it has read data, or has the receiver interrupt.
    pub fn is_listened_to(&self) -> bool {
        self.received_from || self.interrupt_enable & ENABLE_RECEIVED != 0
    }

    /// Queues bytes for the guest to receive, without a limit: the FIFO takes them as it empties.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        self.refill();
    }

    /// Moves what the guest has sent to the end of `console`.
    pub fn drain_output_into(&mut self, console: &mut Vec<u8>) {
        console.append(self.uart.writer_mut());
    }

    /// What the guest has sent goes nowhere.
    pub fn discard_output(&mut self) {
        self.uart.writer_mut().clear();
    }

    /// What the identification register says: received data before an empty transmitter (table IV).
    fn cause(&mut self) -> u8 {
        if self.interrupt_enable & ENABLE_RECEIVED != 0 && self.data_ready() {
            CAUSE_RECEIVED
        } else if self.interrupt_enable & ENABLE_TRANSMITTER != 0 && self.transmitter_emptied {
            CAUSE_TRANSMITTER
        } else {
            NO_CAUSE
        }
    }

    fn data_ready(&mut self) -> bool {
        self.uart.read(LINE_STATUS) & DATA_READY != 0
    }

    fn divisor_latch(&mut self) -> bool {
        self.uart.read(LINE_CONTROL) & DIVISOR_LATCH != 0
    }

    fn forward(&mut self, register: u8, value: u8) {
        // The output is a Vec and the trigger does nothing: neither can fail.
        let _ = self.uart.write(register, value);
    }

    /// Behind the divisor latch the FIFO is out of reach, so the latch is opened for the while.
    fn empty_fifo(&mut self) {
        let line_control = self.uart.read(LINE_CONTROL);
        self.forward(LINE_CONTROL, line_control & !DIVISOR_LATCH);
        while self.data_ready() {
            self.uart.read(DATA);
        }
        self.forward(LINE_CONTROL, line_control);
        self.refill();
    }

    fn refill(&mut self) {
        let count = self.uart.fifo_capacity().min(self.input.len());
        if count == 0 {
            return;
        }
        let bytes: Vec<u8> = self.input.iter().take(count).copied().collect();
        // In loopback mode it takes none.
        let taken = self.uart.enqueue_raw_bytes(&bytes).unwrap_or(0);
        self.input.drain(..taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(port: &mut SerialPort, register: u8, value: u8) {
        let _ = port.write(register, value);
    }

    fn output(port: &mut SerialPort) -> Vec<u8> {
        let mut console = Vec::new();
        port.drain_output_into(&mut console);
        console
    }

    #[test]
    fn what_is_written_comes_out_in_order_and_the_transmitter_is_always_ready() {
        let mut port = SerialPort::new();
        for byte in *b"esp0" {
            assert_eq!(port.read(LINE_STATUS) & 0x60, 0x60);
            write(&mut port, DATA, byte);
        }
        assert_eq!(output(&mut port), b"esp0");
        assert_eq!(output(&mut port), b"");
    }

    #[test]
    fn the_usual_initialisation_and_loopback_test_pass() {
        let mut port = SerialPort::new();
        for (register, value) in [(1, 0), (3, 0x80), (0, 3), (1, 0), (3, 3), (2, 0xC7), (4, 0x1E)] {
            write(&mut port, register, value);
        }
        write(&mut port, DATA, 0xAE);
        assert_eq!(port.read(DATA), 0xAE);
        write(&mut port, MODEM_CONTROL, 0x0F);
        assert_eq!(output(&mut port), b"", "neither the divisor nor the loopback byte was sent");
        assert_eq!(port.read(INTERRUPT_IDENTIFICATION), 0xC1);
    }

    #[test]
    fn received_data_raises_the_line_until_the_last_byte_is_read() {
        let mut port = SerialPort::new();
        write(&mut port, INTERRUPT_ENABLE, ENABLE_RECEIVED);
        port.receive(b"ab");
        assert!(port.interrupt_line());
        assert_eq!(port.read(INTERRUPT_IDENTIFICATION), CAUSE_RECEIVED);
        assert!(port.interrupt_line(), "asking for the cause does not take the data");
        assert_eq!(port.read(DATA), b'a');
        assert!(port.interrupt_line());
        assert_eq!(port.read(DATA), b'b');
        assert!(!port.interrupt_line());
        assert_eq!(port.read(LINE_STATUS) & DATA_READY, 0);
    }

    #[test]
    fn more_input_than_the_fifo_holds_is_not_lost() {
        let mut port = SerialPort::new();
        let sent: Vec<u8> = (0..=255).collect();
        port.receive(&sent);
        let received: Vec<u8> = (0..256).map(|_| port.read(DATA)).collect();
        assert_eq!(received, sent);
    }

    #[test]
    fn the_transmitter_interrupts_when_enabled_and_after_each_byte() {
        let mut port = SerialPort::new();
        write(&mut port, INTERRUPT_ENABLE, ENABLE_TRANSMITTER);
        assert!(port.interrupt_line());
        assert_eq!(port.read(INTERRUPT_IDENTIFICATION), CAUSE_TRANSMITTER);
        assert!(!port.interrupt_line(), "reading the cause clears it");
        assert!(!port.write(DATA, b'x'), "the line was low and has risen");
        assert!(port.interrupt_line());
        assert!(port.write(DATA, b'y'), "a new edge without a look at the cause");
        assert!(port.interrupt_line());
        assert!(port.write(INTERRUPT_ENABLE, 0));
        assert!(!port.interrupt_line());
    }

    #[test]
    fn out2_is_not_asked_for_and_in_loopback_no_interrupt_leaves_the_port() {
        let mut port = SerialPort::new();
        write(&mut port, INTERRUPT_ENABLE, 0x0F);
        assert!(port.interrupt_line());
        write(&mut port, MODEM_CONTROL, LOOPBACK);
        assert!(!port.interrupt_line());
    }

    #[test]
    fn what_is_written_behind_the_divisor_latch_is_told() {
        let mut port = SerialPort::new();
        write(&mut port, LINE_CONTROL, DIVISOR_LATCH | 3);
        for byte in *b"text" {
            write(&mut port, DATA, byte);
        }
        write(&mut port, INTERRUPT_ENABLE, ENABLE_RECEIVED);
        assert_eq!(port.behind_latch(), Some((DIVISOR_LATCH | 3, 4)));
        assert_eq!(port.enabled_behind_latch(), Some(ENABLE_RECEIVED));
        write(&mut port, LINE_CONTROL, 3);
        assert_eq!(port.behind_latch(), None);
        assert_eq!(port.enabled_behind_latch(), Some(ENABLE_RECEIVED));
        write(&mut port, INTERRUPT_ENABLE, ENABLE_RECEIVED);
        assert_eq!(port.enabled_behind_latch(), None);
        assert_eq!(port.interrupted_without_out2(), None, "nothing has come");
        port.receive(b"a");
        assert!(port.interrupt_line());
        assert_eq!(port.interrupted_without_out2(), Some(0));
    }

    #[test]
    fn the_fifo_control_register_empties_the_fifo() {
        let mut port = SerialPort::new();
        port.receive(b"abc");
        write(&mut port, FIFO_CONTROL, 0x02);
        assert_eq!(port.read(LINE_STATUS) & DATA_READY, 0);
        port.receive(b"abc");
        write(&mut port, LINE_CONTROL, DIVISOR_LATCH | 3);
        write(&mut port, FIFO_CONTROL, 0x02);
        assert_eq!(port.read(LINE_STATUS) & DATA_READY, 0, "behind the divisor latch too");
        assert_eq!(port.read(LINE_CONTROL), DIVISOR_LATCH | 3);
    }

    #[test]
    fn a_clone_goes_on_where_the_original_was() {
        let mut port = SerialPort::new();
        port.receive(b"in");
        write(&mut port, 7, 0x5A);
        write(&mut port, DATA, b'o');
        let mut copy = port.clone();
        assert_eq!(copy.read(7), 0x5A);
        assert_eq!(copy.read(DATA), b'i');
        assert_eq!(output(&mut copy), b"o");
        assert_eq!(port.read(DATA), b'i', "and leaves it alone");
    }
}
