//! The VGA's registers, as far as text mode 3 and mode 13 (320 × 200 dots of 256 colours) read and write them.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Video Graphics Array". Text memory at 0xB8000
//! is RAM, so writing to the screen costs no exit; what is here answers a kernel that asks where the cursor
//! is, waits for the retrace, loads a palette, or moves the screen by its start address.
//! ```text
//!  0x3C0 attribute index and data, in turn · 0x3C1 its data · 0x3C2 miscellaneous · 0x3C4/5 sequencer
//!  0x3C6–9 palette · 0x3CC miscellaneous · 0x3CE/F graphics · 0x3D4/5 CRTC · 0x3DA status, resets 0x3C0
//! ```
//! What is set is kept and read back; it changes no picture but by the start address and the cursor, and by the mode. The
//! memory of a picture is RAM too: in mode 13 a dot is a byte, line after line, as on a VGA, whose planes that mode hides.
//! Planes of their own (modes 12 and X) there are none.

use std::ops::Range;

use super::device::Device;

/// Columns of the screen.
pub const COLUMNS: usize = 80;
/// Its rows.
pub const ROWS: usize = 25;
/// Where text memory lies.
pub const TEXT: Range<u64> = 0xB_8000..0xC_0000;
/// Where the dots of mode 13 lie.
pub const DOTS: Range<u64> = 0xA_0000..0xA_0000 + (DOTS_WIDTH * DOTS_HEIGHT) as u64;
/// Dots of a line in mode 13.
pub const DOTS_WIDTH: usize = 320;
/// Lines in mode 13.
pub const DOTS_HEIGHT: usize = 200;

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

/// What the screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Characters.
    Text,
    /// Mode 13: [`DOTS`].
    Dots,
    /// Graphics of another mode.
    Other,
}

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
            palette: palette_of_mode_3(),
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

    /// What the screen shows, by its mode.
    pub fn shown(&self) -> Shown {
        let (graphics, crtc) = (&self.graphics.registers, &self.crtc.registers);
        // Bit 0 of "miscellaneous": graphics. Bit 6 of "mode": 256 colours. Bit 3 of "memory mode": a byte a dot.
        if graphics[6] & 1 == 0 {
            return Shown::Text;
        }
        let linear = graphics[5] & 0x40 != 0 && self.sequencer.registers[4] & 8 != 0;
        // 80 characters of 8 half dots; 400 lines, each twice.
        let width = (usize::from(crtc[1]) + 1) * 4;
        let last = usize::from(crtc[0x12])
            | usize::from(crtc[7] & 2) << 7
            | usize::from(crtc[7] & 0x40) << 3;
        let height = (last + 1) / (usize::from(crtc[9] & 0x1F) + 1);
        match (width, height) {
            (DOTS_WIDTH, DOTS_HEIGHT) if linear => Shown::Dots,
            _ => Shown::Other,
        }
    }

    /// Red, green and blue of each of the 256 colours, as the palette has them.
    pub fn colours(&self) -> Vec<[u8; 3]> {
        let eight_bits = |value: u8| value << 2 | value >> 4;
        (0..=255)
            .map(|index: u8| {
                let at = usize::from(index & self.palette_mask) * 3;
                [0, 1, 2].map(|part| eight_bits(self.palette[at + part]))
            })
            .collect()
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

/// What a BIOS loads for mode 3: 64 colours, whose numbers have two bits for each of red, green and blue. A part has 6 bits.
fn palette_of_mode_3() -> Vec<u8> {
    let part = |number: u8, bit: u8| (number >> bit & 1) * 0x2A + (number >> (bit + 3) & 1) * 0x15;
    let mut palette: Vec<u8> =
        (0..64).flat_map(|number| [2, 1, 0].map(|bit| part(number, bit))).collect();
    palette.resize(768, 0);
    palette
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
    fn mode_13_is_told_from_text_and_from_other_graphics() {
        let mut vga = Vga::default();
        assert_eq!(vga.shown(), Shown::Text);
        let mut set = |index: u16, number: u8, value: u8| {
            vga.write(index, number);
            vga.write(index + 1, value);
        };
        // Unprotected; the registers in which it differs from mode 3.
        set(0x3D4, 0x11, 0x0E);
        set(0x3C4, 4, 0x0E);
        set(0x3CE, 5, 0x40);
        set(0x3CE, 6, 5);
        set(0x3D4, 9, 0x41);
        assert_eq!(vga.shown(), Shown::Dots);
        vga.write(0x3C4, 4);
        vga.write(0x3C5, 6);
        assert_eq!(vga.shown(), Shown::Other, "planes");
    }

    #[test]
    fn the_palette_is_that_of_mode_3_until_the_guest_loads_another() {
        let mut vga = Vga::default();
        assert_eq!(vga.colours()[0x07], [0xAA; 3], "grey");
        assert_eq!(vga.colours()[0x14], [0xAA, 0x55, 0x00], "brown");
        vga.write(0x3C8, 7);
        for part in [0x3F, 0, 0x20] {
            vga.write(0x3C9, part);
        }
        assert_eq!(vga.colours()[0x07], [0xFF, 0, 0x82]);
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
