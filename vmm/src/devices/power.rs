//! ACPI's fixed hardware: power off, a status that never changes, and the power management timer.
//!
//! Source: ACPI Specification 1.0b, section 4.7. The ports are those of QEMU's machine, where many kernels
//! look without reading the tables.
//! ```text
//!  0x600 status · 0x602 enable · 0x604 control: 0 SCI on, 12–10 sleep type, 13 sleep · 0x608 timer
//! ```
//! The timer counts 3.579545 MHz of the guest's time in 24 bits. There is nothing to wake up from, so any
//! sleep is a power-off.

use super::device::Device;
use super::effect::Effect;

/// The event block: status and enable.
pub const EVENT: u16 = 0x600;
/// The control block.
pub const CONTROL: u16 = 0x604;
/// The timer.
pub const TIMER: u16 = 0x608;
/// Where Bochs and older QEMUs have the control block.
pub const OLD_CONTROL: u16 = 0xB004;

const SCI_ENABLE: u16 = 1;
const SLEEP: u16 = 1 << 13;

/// The registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Power {
    enable: u16,
    control: u16,
    now: u64,
}

impl Default for Power {
    fn default() -> Self {
        Self { enable: 0, control: SCI_ENABLE, now: 0 }
    }
}

impl Power {
    /// Reads a register.
    pub fn read(&self, port: u16) -> u32 {
        match port {
            0x602 => self.enable.into(),
            CONTROL | OLD_CONTROL => self.control.into(),
            // 315/88 MHz.
            TIMER => (u128::from(self.now) * 315 / 88_000) as u32 & 0x00FF_FFFF,
            _ => 0,
        }
    }

    /// Writes a register.
    pub fn write(&mut self, port: u16, value: u16) -> Effect {
        match port {
            0x602 => self.enable = value,
            CONTROL | OLD_CONTROL => {
                self.control = value & !SLEEP | SCI_ENABLE;
                if value & SLEEP != 0 {
                    return Effect::PowerOff(0);
                }
            }
            _ => {}
        }
        Effect::None
    }
}

impl Device for Power {
    fn advance_to(&mut self, now: u64) {
        self.now = self.now.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_powers_off_and_nothing_else_does() {
        let mut power = Power::default();
        assert_eq!(power.write(CONTROL, 0x0001), Effect::None);
        assert_eq!(power.read(CONTROL), 1, "ACPI is on");
        assert_eq!(power.write(CONTROL, 0x2000), Effect::PowerOff(0));
    }

    #[test]
    fn the_timer_counts_3_58_mhz_in_24_bits() {
        let mut power = Power::default();
        power.advance_to(1_000_000_000);
        assert_eq!(power.read(TIMER), 3_579_545);
        power.advance_to(10_000_000_000);
        assert_eq!(power.read(TIMER), 35_795_454 & 0xFF_FFFF);
    }
}
