//! The first parallel port, 0x378 to 0x37A, with no printer on it.
//!
//! Source: IBM PC AT Technical Reference, "Serial/Parallel Adapter". Data and control are kept; the status
//! says what an open connector does: not busy, no acknowledge, no paper end, not selected, no error.

const STATUS: u8 = 0xDF & !0x10;

/// The data and control registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParallelPort {
    data: u8,
    control: u8,
}

impl ParallelPort {
    /// Reads register 0 (data), 1 (status) or 2 (control).
    pub fn read(&self, register: u8) -> u8 {
        match register {
            0 => self.data,
            1 => STATUS,
            _ => self.control | 0xE0,
        }
    }

    /// Writes register 0 (data) or 2 (control).
    pub fn write(&mut self, register: u8, value: u8) {
        match register {
            0 => self.data = value,
            1 => {}
            _ => self.control = value & 0x1F,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_and_never_busy() {
        let mut port = ParallelPort::default();
        port.write(0, 0x55);
        assert_eq!(port.read(0), 0x55);
        assert_eq!(port.read(1) & 0x80, 0x80);
        port.write(2, 0xFF);
        assert_eq!(port.read(2), 0xFF);
    }
}
