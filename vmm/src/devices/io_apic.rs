//! The I/O APIC at 0xFEC00000: from interrupt lines to messages for the local APIC.
//!
//! Source: Intel 82093AA data sheet (290566).
//! ```text
//!  0xFEC00000  index     00 ID · 01 version · 02 arbitration · 10 + 2n, 11 + 2n redirection n
//!  0xFEC00010  data      of the register at the index
//!
//!  redirection   63–56 destination · 16 masked · 15 level · 14 remote IRR · 13 active low
//!                11 logical · 10–8 mode · 7–0 vector
//! ```
//! An edge at a masked pin is lost, as the data sheet says; a level that lasts is delivered when the pin is
//! unmasked, and again after each end of interrupt.

/// Where its registers lie.
pub const BASE: u64 = 0xFEC0_0000;
/// Bytes of its page.
pub const SIZE: u64 = 0x1000;
/// Its pins.
pub const PINS: usize = 24;

/// Version 0x11, the highest pin in bits 23–16.
const VERSION: u32 = (PINS as u32 - 1) << 16 | 0x11;
const MASKED: u64 = 1 << 16;
const LEVEL: u64 = 1 << 15;
const REMOTE_IRR: u64 = 1 << 14;
const LOGICAL: u64 = 1 << 11;
/// What can be written of a redirection: not delivery status and remote IRR.
const WRITABLE: u64 = 0xFF00_0000_0001_AFFF;

/// What goes over the APIC bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The interrupt's vector.
    pub vector: u8,
    /// Delivery mode: 0 fixed, 1 lowest priority, …, 7 external.
    pub mode: u8,
    /// Its end has to be told to the I/O APIC.
    pub level_triggered: bool,
    /// Physical ID or logical destination.
    pub destination: u8,
    /// Which of the two.
    pub logical: bool,
}

/// The registers and the levels of the pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoApic {
    index: u8,
    id: u32,
    redirections: [u64; PINS],
    lines: u32,
}

impl Default for IoApic {
    fn default() -> Self {
        Self { index: 0, id: 0, redirections: [MASKED; PINS], lines: 0 }
    }
}

impl IoApic {
    /// Reads the double word at `offset` in its page.
    pub fn read(&self, offset: u16) -> u32 {
        match offset & 0xFF {
            0x00 => self.index.into(),
            0x10 => self.register(),
            _ => 0,
        }
    }

    /// Writes the double word at `offset` in its page; what a pin that was unmasked sends.
    pub fn write(&mut self, offset: u16, value: u32) -> Option<Message> {
        match (offset & 0xFF, self.index) {
            (0x00, _) => self.index = value as u8,
            (0x10, 0x00) => self.id = value & 0x0F00_0000,
            (0x10, 0x10..=0x3F) => {
                let pin = usize::from(self.index - 0x10) / 2;
                let high = self.index & 1 != 0;
                let entry = &mut self.redirections[pin];
                let new = if high {
                    *entry & 0xFFFF_FFFF | u64::from(value) << 32
                } else {
                    *entry & !0xFFFF_FFFF | u64::from(value)
                };
                *entry = new & WRITABLE | *entry & REMOTE_IRR;
                if *entry & LEVEL == 0 {
                    *entry &= !REMOTE_IRR;
                }
                return self.level(pin);
            }
            _ => {}
        }
        None
    }

    fn register(&self) -> u32 {
        match self.index {
            0x00 | 0x02 => self.id,
            0x01 => VERSION,
            0x10..=0x3F => {
                let entry = self.redirections[usize::from(self.index - 0x10) / 2];
                if self.index & 1 == 0 { entry as u32 } else { (entry >> 32) as u32 }
            }
            _ => 0,
        }
    }

    /// Drives a pin; what it sends.
    pub fn set_line(&mut self, pin: usize, high: bool) -> Option<Message> {
        let bit = 1 << pin;
        let rises = high && self.lines & bit == 0;
        self.lines = if high { self.lines | bit } else { self.lines & !bit };
        let entry = *self.redirections.get(pin)?;
        if entry & LEVEL != 0 {
            return self.level(pin);
        }
        (rises && entry & MASKED == 0).then(|| message(entry))
    }

    /// A level-triggered pin sends as long as its line is high, once for each end of interrupt.
    fn level(&mut self, pin: usize) -> Option<Message> {
        let entry = &mut self.redirections[pin];
        let due = *entry & (MASKED | LEVEL | REMOTE_IRR) == LEVEL && self.lines & (1 << pin) != 0;
        if !due {
            return None;
        }
        *entry |= REMOTE_IRR;
        Some(message(*entry))
    }

    /// The interrupt with `vector` has ended: the pins that sent it may send again.
    pub fn end_of_interrupt(&mut self, vector: u8) -> Vec<Message> {
        let mut again = Vec::new();
        for pin in 0..PINS {
            let entry = &mut self.redirections[pin];
            if *entry as u8 == vector && *entry & REMOTE_IRR != 0 {
                *entry &= !REMOTE_IRR;
                again.extend(self.level(pin));
            }
        }
        again
    }

    /// Whether a pin can interrupt.
    pub fn is_open(&self, pin: usize) -> bool {
        self.redirections.get(pin).is_some_and(|entry| entry & MASKED == 0)
    }

    /// Whether the 8259's INTR on pin 0 is passed on as an external interrupt.
    pub fn passes_external(&self) -> bool {
        let entry = self.redirections[0];
        entry & MASKED == 0 && entry >> 8 & 7 == 7
    }
}

fn message(entry: u64) -> Message {
    Message {
        vector: entry as u8,
        mode: (entry >> 8 & 7) as u8,
        level_triggered: entry & LEVEL != 0,
        destination: (entry >> 56) as u8,
        logical: entry & LOGICAL != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(apic: &mut IoApic, pin: u8, low: u32, high: u32) -> Option<Message> {
        apic.write(0x00, u32::from(0x11 + 2 * pin));
        apic.write(0x10, high);
        apic.write(0x00, u32::from(0x10 + 2 * pin));
        apic.write(0x10, low)
    }

    #[test]
    fn it_has_24_pins_all_masked() {
        let mut apic = IoApic::default();
        apic.write(0, 1);
        assert_eq!(apic.read(0x10), 0x0017_0011);
        assert!((0..PINS).all(|pin| !apic.is_open(pin)));
        apic.write(0, 0);
        apic.write(0x10, 0xFF00_0000);
        assert_eq!(apic.read(0x10), 0x0F00_0000);
    }

    #[test]
    fn an_edge_is_sent_once_and_lost_at_a_masked_pin() {
        let mut apic = IoApic::default();
        assert_eq!(apic.set_line(4, true), None);
        assert_eq!(program(&mut apic, 4, 0x24, 0x0100_0000), None, "lost");
        apic.set_line(4, false);
        let message = apic.set_line(4, true).unwrap();
        assert_eq!((message.vector, message.destination), (0x24, 1));
        assert!(!message.level_triggered);
        assert_eq!(apic.set_line(4, true), None);
    }

    #[test]
    fn a_level_is_sent_again_after_each_end_of_interrupt() {
        let mut apic = IoApic::default();
        assert_eq!(apic.set_line(11, true), None);
        let message = program(&mut apic, 11, 0x802B, 0).unwrap();
        assert!(message.level_triggered);
        assert_eq!(apic.read(0x10), 0xC02B, "remote IRR");
        assert_eq!(apic.set_line(11, true), None);
        assert_eq!(apic.end_of_interrupt(0x2B), [message]);
        apic.set_line(11, false);
        assert_eq!(apic.end_of_interrupt(0x2B), []);
        assert_eq!(apic.read(0x10), 0x802B);
    }
}
