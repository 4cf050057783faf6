//! The graphics modes of a BIOS: Bochs' VBE registers at 0x1CE and 0x1CF, with a memory of their own.
//!
//! Source: Bochs, "VBE Display API" (the registers); QEMU's `docs/specs/standard-vga` (what is read back). A VGA BIOS for
//! such a card, as SeaBIOS has, makes the functions 4F00 to 4F0A of int 10h of them, and boot loaders and kernels ask
//! those. Nothing is there without a BIOS: a kernel that is loaded directly has its framebuffer from Multiboot.
//! ```text
//!  0x1CE index, 0x1CF data, both words
//!  0 ID · 1 width · 2 height · 3 bits of a dot · 4 enable: 0 on, 1 reads of 1–3 are what there can be at most
//!  5 bank · 6 width of a line in memory · 7 lines in memory · 8, 9 where the picture begins · A memory / 64 KiB
//! ```
//! The memory is one piece at [`ADDRESS`]. It is not shown through the window at A0000, which is RAM here: bank is kept and
//! does nothing. What was drawn in an earlier mode is not cleared by a new one.

use crate::boot::Framebuffer;
use std::ops::Range;

/// Where the memory is in the guest's physical memory: where that BIOS looks for a card that is not on PCI.
pub const ADDRESS: u64 = 0xE000_0000;
/// Bytes of it.
pub const MEMORY: u64 = 16 << 20;

const ID: usize = 0;
const WIDTH: usize = 1;
const HEIGHT: usize = 2;
const DEPTH: usize = 3;
const ENABLE: usize = 4;
const LINE: usize = 6;
const LINES: usize = 7;
const LEFT: usize = 8;
const TOP: usize = 9;
const BLOCKS: usize = 10;

const ENABLED: u16 = 1;
const CAPABILITIES: u16 = 2;
/// Versions of the interface.
const IDS: Range<u16> = 0xB0C0..0xB0C6;
/// The largest picture.
const MOST: [u16; 3] = [2560, 1600, 32];

/// The registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BochsVbe {
    index: u16,
    registers: [u16; 11],
}

impl Default for BochsVbe {
    fn default() -> Self {
        let mut registers = [0; 11];
        registers[ID] = IDS.end - 1;
        registers[BLOCKS] = (MEMORY >> 16) as u16;
        Self { index: 0, registers }
    }
}

impl BochsVbe {
    /// Writes the index.
    pub fn select(&mut self, index: u16) {
        self.index = index;
    }

    /// Reads the index.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Reads the register that was selected; 0 if there is none.
    pub fn read(&self) -> u16 {
        let index = usize::from(self.index);
        if self.registers[ENABLE] & CAPABILITIES != 0 && (WIDTH..=DEPTH).contains(&index) {
            return MOST[index - WIDTH];
        }
        self.registers.get(index).copied().unwrap_or(0)
    }

    /// Writes the register that was selected.
    pub fn write(&mut self, value: u16) {
        let on = self.registers[ENABLE] & ENABLED != 0;
        match usize::from(self.index) {
            ID if IDS.contains(&value) => self.registers[ID] = value,
            // They are fixed while the mode is on.
            index @ WIDTH..=DEPTH if !on && value <= MOST[index - WIDTH] => {
                self.registers[index] = value;
            }
            ENABLE => {
                self.registers[ENABLE] = value;
                if value & ENABLED != 0 && !on {
                    (self.registers[LEFT], self.registers[TOP]) = (0, 0);
                    self.set_line(self.registers[WIDTH]);
                }
            }
            LINE if on => self.set_line(value.max(self.registers[WIDTH])),
            index @ (5 | LEFT | TOP) => self.registers[index] = value,
            _ => {}
        }
    }

    fn set_line(&mut self, width: u16) {
        self.registers[LINE] = width;
        let lines = MEMORY / u64::from(self.pitch()).max(1);
        self.registers[LINES] = lines.min(u16::MAX.into()) as u16;
    }

    /// Bytes of a dot.
    fn dot(&self) -> u32 {
        u32::from(self.registers[DEPTH]).div_ceil(8)
    }

    /// Bytes from a line to the next.
    fn pitch(&self) -> u32 {
        u32::from(self.registers[LINE]) * self.dot()
    }

    /// What is shown, if a mode is on whose dots are of 8 bits or more and that fits into the memory; it begins so many
    /// bytes behind [`ADDRESS`].
    pub fn shown(&self) -> Option<Framebuffer> {
        let [left, top, width, height] =
            [LEFT, TOP, WIDTH, HEIGHT].map(|index| u32::from(self.registers[index]));
        let depth = self.registers[DEPTH] as u8;
        if self.registers[ENABLE] & ENABLED == 0 || !matches!(depth, 8 | 15 | 16 | 24 | 32) {
            return None;
        }
        let begins = u64::from(top) * u64::from(self.pitch()) + u64::from(left * self.dot());
        let shown = Framebuffer {
            address: u32::try_from(ADDRESS + begins).ok()?,
            pitch: self.pitch(),
            width,
            height,
            depth,
        };
        (shown.size() > 0 && begins + shown.size() <= MEMORY).then_some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(card: &mut BochsVbe, index: usize, value: u16) {
        card.select(index as u16);
        card.write(value);
    }

    fn get(card: &mut BochsVbe, index: usize) -> u16 {
        card.select(index as u16);
        card.read()
    }

    fn mode(card: &mut BochsVbe, width: u16, height: u16, depth: u16) {
        set(card, ENABLE, 0);
        set(card, WIDTH, width);
        set(card, HEIGHT, height);
        set(card, DEPTH, depth);
        set(card, ENABLE, 0x41);
    }

    #[test]
    fn it_tells_its_version_its_memory_and_what_it_can() {
        let mut card = BochsVbe::default();
        set(&mut card, ID, 0xB0C0);
        assert_eq!(get(&mut card, ID), 0xB0C0);
        set(&mut card, ID, 0x1234);
        assert_eq!(get(&mut card, ID), 0xB0C0, "no version");
        assert_eq!(u64::from(get(&mut card, BLOCKS)) << 16, MEMORY);
        set(&mut card, ENABLE, CAPABILITIES);
        assert_eq!([WIDTH, HEIGHT, DEPTH].map(|index| get(&mut card, index)), MOST);
        assert_eq!((get(&mut card, 99), card.shown()), (0, None));
    }

    #[test]
    fn a_mode_is_shown_from_its_offset_on_with_lines_as_long_as_was_said() {
        let mut card = BochsVbe::default();
        mode(&mut card, 800, 600, 24);
        let shown = card.shown().unwrap();
        assert_eq!((shown.width, shown.height, shown.pitch, shown.depth), (800, 600, 2400, 24));
        assert_eq!(u64::from(shown.address), ADDRESS);
        set(&mut card, WIDTH, 640);
        assert_eq!(get(&mut card, WIDTH), 800, "it is on");
        set(&mut card, LINE, 1024);
        set(&mut card, TOP, 2);
        set(&mut card, LEFT, 1);
        let shown = card.shown().unwrap();
        assert_eq!((shown.pitch, u64::from(shown.address) - ADDRESS), (3072, 2 * 3072 + 3));
        assert_eq!(u64::from(get(&mut card, LINES)), MEMORY / 3072);
        mode(&mut card, 640, 480, 15);
        assert_eq!((card.shown().unwrap().pitch, get(&mut card, TOP)), (1280, 0));
    }

    #[test]
    fn what_does_not_fit_into_the_memory_is_not_shown() {
        let mut card = BochsVbe::default();
        mode(&mut card, 2560, 1600, 32);
        assert!(card.shown().is_some());
        set(&mut card, TOP, 100);
        assert!(card.shown().is_none());
        for (width, height, depth) in [(0, 0, 0), (640, 0, 32), (640, 480, 4)] {
            mode(&mut card, width, height, depth);
            assert_eq!(card.shown(), None);
        }
    }
}
