//! The system control ports 0x61 and 0x92 and the chipset's reset control at 0xCF9.
//!
//! Sources: IBM PS/2 Hardware Interface Technical Reference, "System Control Port A" (0x92) and "B"
//! (0x61); Intel 82371SB data sheet (PIIX3), "Reset Control Register" (0xCF9).
//! ```text
//!  0x61  bit 0 speaker gate · 1 speaker data · 2, 3 checks off · 4 refresh toggle · 5 counter 2 OUT
//!  0x92  bit 0 fast reset · 1 A20 open
//!  0xCF9 bit 1 hard reset · 2 reset the CPU when it goes from 0 to 1
//! ```
//! A20 is open whatever bit 1 of 0x92 says: guest memory is flat.

use super::effect::{Effect, ResetLine};
use super::pit::Pit;

/// What the guest has written to the three ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemControl {
    /// Bits 3–0 of port 0x61.
    speaker: u8,
    a20_closed: bool,
    /// At any time.
    a20_was_closed: bool,
    reset_control: u8,
}

impl SystemControl {
    /// Reads port 0x61; the timer supplies bits 4 and 5.
    pub fn read_speaker(&self, pit: &Pit) -> u8 {
        self.speaker | u8::from(pit.refresh_toggle()) << 4 | u8::from(pit.speaker_out()) << 5
    }

    /// Writes port 0x61; bit 0 is the gate of the timer's counter 2.
    pub fn write_speaker(&mut self, value: u8, pit: &mut Pit) {
        self.speaker = value & 0x0F;
        pit.set_speaker_gate(value & 1 != 0);
    }

    /// Reads port 0x92.
    pub fn read_fast_a20(&self) -> u8 {
        if self.a20_closed { 0x00 } else { 0x02 }
    }

    /// Writes port 0x92.
    pub fn write_fast_a20(&mut self, value: u8) -> Effect {
        self.a20_closed = value & 0x02 == 0;
        self.a20_was_closed |= self.a20_closed;
        match value & 0x01 {
            0 => Effect::None,
            _ => Effect::Reset(ResetLine::FastReset),
        }
    }

    /// A20 has been closed here, which has no effect.
    pub fn a20_was_closed(&self) -> bool {
        self.a20_was_closed
    }

    /// It is forgotten that A20 has been closed.
    pub fn forget_a20(&mut self) {
        self.a20_was_closed = false;
    }

    /// Reads port 0xCF9.
    pub fn read_reset_control(&self) -> u8 {
        self.reset_control
    }

    /// Writes port 0xCF9.
    pub fn write_reset_control(&mut self, value: u8) -> Effect {
        let rises = value & !self.reset_control & 0x04 != 0;
        self.reset_control = value;
        if rises { Effect::Reset(ResetLine::ResetControl) } else { Effect::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a20_is_open_at_first_and_fast_reset_resets() {
        let mut control = SystemControl::default();
        assert_eq!(control.read_fast_a20(), 0x02);
        assert_eq!(control.write_fast_a20(0x02), Effect::None);
        assert!(!control.a20_was_closed());
        assert_eq!(control.write_fast_a20(0x00), Effect::None);
        assert_eq!(control.write_fast_a20(0x02), Effect::None);
        assert!(control.a20_was_closed());
        assert_eq!(control.write_fast_a20(0x03), Effect::Reset(ResetLine::FastReset));
    }

    #[test]
    fn reset_control_resets_when_its_bit_rises() {
        let mut control = SystemControl::default();
        assert_eq!(control.write_reset_control(0x02), Effect::None);
        assert_eq!(control.write_reset_control(0x06), Effect::Reset(ResetLine::ResetControl));
        assert_eq!(control.write_reset_control(0x06), Effect::None);
    }

    #[test]
    fn port_0x61_opens_the_speaker_counters_gate_and_shows_its_output() {
        let mut control = SystemControl::default();
        let mut pit = Pit::new();
        pit.control(0xB0);
        pit.write(2, 10);
        pit.write(2, 0);
        pit.advance_to(1_000_000);
        assert_eq!(control.read_speaker(&pit) & 0x21, 0x00, "the gate is closed");
        control.write_speaker(0x01, &mut pit);
        pit.advance_to(2_000_000);
        assert_eq!(control.read_speaker(&pit) & 0x21, 0x21);
    }
}
