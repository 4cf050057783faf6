//! The VGA's registers, as far as text mode 3 reads and writes them.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Video Graphics Array". Text memory at 0xB8000
//! is RAM, so writing to the screen costs no exit; what is here answers a kernel that asks where the cursor
//! is, waits for the retrace, loads a palette, or moves the screen by its start address.
//! ```text
//!  0x3C0 attribute index and data, in turn · 0x3C1 its data · 0x3C2 miscellaneous · 0x3C4/5 sequencer
//!  0x3C6–9 palette · 0x3CC miscellaneous · 0x3CE/F graphics · 0x3D4/5 CRTC · 0x3DA status, resets 0x3C0
//! ```
//! What is set is kept and read back; it changes no picture but by the start address and the cursor.

use std::ops::Range;

use super::device::Device;

/// Columns of the screen.
pub const COLUMNS: usize = 80;
/// Its rows.
pub const ROWS: usize = 25;
/// Where text memory lies.
pub const TEXT: Range<u64> = 0xB_8000..0xC_0000;

const START_HIGH: usize = 0x0C;
const CURSOR_HIGH: usize = 0x0E;

/// 70 pictures a second; of each the last 1/16 is the vertical retrace.
const PICTURE: u64 = 14_268_000;
const RETRACE: u64 = PICTURE / 16;
/// 31.5 kHz; the last quarter is blanked.
const LINE: u64 = 31_778;

/// Mode 3 as a BIOS sets it: CRTC registers 00 to 18 (IBM's table for 80 × 25, 16 dots high).
const MODE_3: [u8; 25] = [
    0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0x00, 0x00, 0x00, 0x00,
    0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF,
];

/// A block of registers behind an index.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    index: u8,
    registers: [u8; 32],
}

impl Block {
    fn new(contents: &[u8]) -> Self {
        let mut registers = [0; 32];
        registers[..contents.len()].copy_from_slice(contents);
        Self { index: 0, registers }
    }

    fn read(&self) -> u8 {
        self.registers[usize::from(self.index) % 32]
    }

    fn write(&mut self, value: u8) {
        self.registers[usize::from(self.index) % 32] = value;
    }
}

/// The registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vga {
    crtc: Block,
    sequencer: Block,
    graphics: Block,
    attribute: Block,
    /// The next write to 0x3C0 is data.
    attribute_data_next: bool,
    miscellaneous: u8,
    palette: Vec<u8>,
    palette_mask: u8,
    /// Byte index into the palette for reads and for writes.
    palette_at: (usize, usize),
    now: u64,
}

impl Default for Vga {
    fn default() -> Self {
        let attributes = [
            0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x0C, 0,
            0x0F, 8,
        ];
        Self {
            crtc: Block::new(&MODE_3),
            sequencer: Block::new(&[3, 0, 3, 0, 2]),
            graphics: Block::new(&[0, 0, 0, 0, 0, 0x10, 0x0E, 0, 0xFF]),
            attribute: Block::new(&attributes),
            attribute_data_next: false,
            miscellaneous: 0x67,
            palette: vec![0; 768],
            palette_mask: 0xFF,
            palette_at: (0, 0),
            now: 0,
        }
    }
}

impl Vga {
    /// Reads a port from 0x3C0 to 0x3DF; `None` if it has no register there.
    pub fn read(&mut self, port: u16) -> Option<u8> {
        Some(match port {
            0x3C0 => self.attribute.index,
            0x3C1 => self.attribute.read(),
            0x3C2 => 0x10, // Input status 0: a colour monitor.
            0x3C4 => self.sequencer.index,
            0x3C5 => self.sequencer.read(),
            0x3C6 => self.palette_mask,
            0x3C7 => 3,
            0x3C8 => (self.palette_at.1 / 3) as u8,
            0x3C9 => {
                let value = self.palette[self.palette_at.0];
                self.palette_at.0 = (self.palette_at.0 + 1) % self.palette.len();
                value
            }
            0x3CA => 0,
            0x3CC => self.miscellaneous,
            0x3CE => self.graphics.index,
            0x3CF => self.graphics.read(),
            0x3D4 => self.crtc.index,
            0x3D5 => self.crtc.read(),
            0x3DA => {
                self.attribute_data_next = false;
                let retrace = self.now % PICTURE >= PICTURE - RETRACE;
                let blanked = retrace || self.now % LINE >= LINE * 3 / 4;
                u8::from(retrace) << 3 | u8::from(blanked)
            }
            _ => return None,
        })
    }

    /// Writes a port from 0x3C0 to 0x3DF; `None` if it has no register there.
    pub fn write(&mut self, port: u16, value: u8) -> Option<()> {
        match port {
            0x3C0 if self.attribute_data_next => {
                self.attribute.write(value);
                self.attribute_data_next = false;
            }
            0x3C0 => {
                self.attribute.index = value & 0x3F;
                self.attribute_data_next = true;
            }
            0x3C2 => self.miscellaneous = value,
            0x3C4 => self.sequencer.index = value & 7,
            0x3C5 => self.sequencer.write(value),
            0x3C6 => self.palette_mask = value,
            0x3C7 => self.palette_at.0 = usize::from(value) * 3,
            0x3C8 => self.palette_at.1 = usize::from(value) * 3,
            0x3C9 => {
                self.palette[self.palette_at.1] = value & 0x3F;
                self.palette_at.1 = (self.palette_at.1 + 1) % self.palette.len();
            }
            0x3CE => self.graphics.index = value & 0xF,
            0x3CF => self.graphics.write(value),
            0x3D4 => self.crtc.index = value & 0x1F,
            // Bit 7 of register 11 protects 00 to 07.
            0x3D5 if self.crtc.registers[0x11] & 0x80 == 0 || self.crtc.index > 7 => {
                self.crtc.write(value);
            }
            0x3D5 | 0x3C1 | 0x3DA => {}
            _ => return None,
        }
        Some(())
    }

    /// Where in text memory the screen starts, in characters.
    pub fn start(&self) -> usize {
        self.pair(START_HIGH)
    }

    /// Where the screen's cells lie in memory.
    pub fn text_address(&self) -> u64 {
        TEXT.start + (self.start() as u64 * 2) % (TEXT.end - TEXT.start)
    }

    /// The cursor's place on the screen, if it is there: column and row.
    pub fn cursor(&self) -> Option<(usize, usize)> {
        let at = self.pair(CURSOR_HIGH).checked_sub(self.start())?;
        (at < COLUMNS * ROWS).then_some((at % COLUMNS, at / COLUMNS))
    }

    fn pair(&self, high: usize) -> usize {
        usize::from(self.crtc.registers[high]) << 8 | usize::from(self.crtc.registers[high + 1])
    }
}

impl Device for Vga {
    fn advance_to(&mut self, now: u64) {
        self.now = self.now.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crtc(vga: &mut Vga, index: u8, value: u8) {
        vga.write(0x3D4, index);
        vga.write(0x3D5, value);
    }

    #[test]
    fn the_cursor_is_read_back_where_it_was_set() {
        let mut vga = Vga::default();
        crtc(&mut vga, 0x0E, 0x03);
        crtc(&mut vga, 0x0F, 0x25);
        vga.write(0x3D4, 0x0E);
        assert_eq!(vga.read(0x3D5), Some(0x03));
        assert_eq!(vga.cursor(), Some((5, 10)));
        crtc(&mut vga, 0x0C, 0x07);
        assert_eq!((vga.start(), vga.cursor()), (0x700, None));
    }

    #[test]
    fn the_attribute_port_takes_index_and_data_in_turn_and_the_status_resets_it() {
        let mut vga = Vga::default();
        for value in [0x10, 0x04, 0x10] {
            vga.write(0x3C0, value);
        }
        vga.read(0x3DA);
        vga.write(0x3C0, 0x10);
        assert_eq!(vga.read(0x3C1), Some(0x04));
    }

    #[test]
    fn the_retrace_comes_and_goes() {
        let mut vga = Vga::default();
        let mut seen = [false; 2];
        for step in 0..400 {
            vga.advance_to(step * 40_000);
            seen[usize::from(vga.read(0x3DA).unwrap() >> 3 & 1)] = true;
        }
        assert_eq!(seen, [true; 2]);
    }

    #[test]
    fn timing_registers_are_protected_in_mode_3() {
        let mut vga = Vga::default();
        crtc(&mut vga, 0, 1);
        vga.write(0x3D4, 0);
        assert_eq!(vga.read(0x3D5), Some(0x5F));
    }

    #[test]
    fn the_palette_moves_on_by_itself() {
        let mut vga = Vga::default();
        vga.write(0x3C8, 255);
        for value in [1, 2, 3, 4] {
            vga.write(0x3C9, value);
        }
        vga.write(0x3C7, 0);
        assert_eq!(vga.read(0x3C9), Some(4));
    }
}
