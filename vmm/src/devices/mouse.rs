//! A PS/2 mouse that lies still.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Mouse". It acknowledges each command and its
//! argument, resets, gives its ID, status and, when asked, a packet without movement; by itself it never
//! sends.

use std::collections::VecDeque;

const ACKNOWLEDGE: u8 = 0xFA;

/// What it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mouse {
    /// The command whose argument comes next.
    argument_of: Option<u8>,
    reporting: bool,
    scaled: bool,
    resolution: u8,
    rate: u8,
}

impl Default for Mouse {
    fn default() -> Self {
        Self { argument_of: None, reporting: false, scaled: false, resolution: 2, rate: 100 }
    }
}

impl Mouse {
    /// Takes a byte from the controller; answers go to `output`.
    pub fn write(&mut self, value: u8, output: &mut VecDeque<u8>) {
        output.push_back(ACKNOWLEDGE);
        match self.argument_of.take() {
            Some(0xE8) => return self.resolution = value & 3,
            Some(_) => return self.rate = value,
            None => {}
        }
        match value {
            0xE6 => self.scaled = false,
            0xE7 => self.scaled = true,
            0xE8 | 0xF3 => self.argument_of = Some(value),
            0xE9 => {
                let status = u8::from(self.reporting) << 5 | u8::from(self.scaled) << 4;
                output.extend([status, self.resolution, self.rate]);
            }
            0xEB => output.extend([0x08, 0, 0]),
            0xF2 => output.push_back(0x00),
            0xF4 => self.reporting = true,
            0xF5 => self.reporting = false,
            0xF6 => *self = Self::default(),
            0xFF => {
                *self = Self::default();
                output.extend([0xAA, 0x00]);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(mouse: &mut Mouse, bytes: &[u8]) -> Vec<u8> {
        let mut output = VecDeque::new();
        for byte in bytes {
            mouse.write(*byte, &mut output);
        }
        output.into()
    }

    #[test]
    fn it_answers_what_drivers_ask() {
        let mut mouse = Mouse::default();
        assert_eq!(answer(&mut mouse, &[0xFF]), [0xFA, 0xAA, 0x00]);
        assert_eq!(answer(&mut mouse, &[0xF2]), [0xFA, 0x00]);
        assert_eq!(answer(&mut mouse, &[0xF3, 200, 0xE8, 3, 0xF4]), [0xFA; 5]);
        assert_eq!(answer(&mut mouse, &[0xE9]), [0xFA, 0x20, 3, 200]);
        assert_eq!(answer(&mut mouse, &[0xEB]), [0xFA, 0x08, 0, 0]);
    }
}
