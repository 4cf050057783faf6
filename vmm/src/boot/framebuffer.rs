//! The linear framebuffer that a Multiboot loader gives a kernel which asks for graphics.
//!
//! Sources: Multiboot Specification 0.6.96, sections 3.1.4 and 3.3; Multiboot2 Specification 2.0, sections 3.1.10,
//! 3.6.8 and 3.6.12; VESA BIOS Extension 3.0, functions 00h and 01h, for those who read its blocks.
//!
//! It is the upper end of RAM, as on a board whose graphics have no memory of their own, and the memory map calls it
//! reserved. So what the guest draws costs no exit, and a checkpoint has the picture.
//! ```text
//!  0 ──── RAM that the kernel may use ──── address ──── pitch × height ──── end of RAM
//! ```

/// What is given where a kernel has no preference: GRUB's usual choice, in true colour.
const USUAL: (u32, u32) = (1024, 768);
/// Its start is on a multiple of this many bytes, a large page: kernels map it so.
const ALIGNMENT: u64 = 4 << 20;
/// A framebuffer takes no more than this part of RAM: the kernel has to live as well.
const SHARE: u64 = 4;

/// The graphics mode that a kernel's header asks for; 0 stands for no preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoMode {
    /// Dots in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits of a dot.
    pub depth: u32,
}

impl VideoMode {
    /// The mode that three words of a header name.
    pub(super) fn from_words([width, height, depth]: [u32; 3]) -> Self {
        Self { width, height, depth }
    }
}

/// A colour within a dot: its lowest bit, and how many there are.
type Field = (u8, u8);

/// Memory that is shown as a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framebuffer {
    /// Physical address of the upper left dot.
    pub address: u32,
    /// Bytes from a line to the next.
    pub pitch: u32,
    /// Dots in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits of a dot: 16, 24 or 32; behind a BIOS 15 as well, and 8, which number a colour of a palette.
    pub depth: u8,
}

impl Framebuffer {
    /// The framebuffer for a kernel that asks for `mode`, at the end of RAM and above `used`; `None` where there is not
    /// the room. A mode is a preference: the kernel has to look at what it got.
    pub fn for_mode(mode: VideoMode, used: u64, memory_end: u64) -> Option<Self> {
        let (width, height) = match (mode.width, mode.height) {
            (0, _) | (_, 0) => USUAL,
            wanted => wanted,
        };
        let depth = match mode.depth {
            16 => 16,
            24 => 24,
            _ => 32,
        };
        let pitch = width.checked_mul(u32::from(depth) / 8)?.next_multiple_of(4);
        let size = u64::from(pitch) * u64::from(height);
        let address = memory_end.checked_sub(size)? / ALIGNMENT * ALIGNMENT;
        let fits = address >= used && memory_end - address <= memory_end / SHARE;
        let address = u32::try_from(address).ok().filter(|_| fits)?;
        Some(Self { address, pitch, width, height, depth })
    }

    /// Bytes that the picture takes.
    pub fn size(&self) -> u64 {
        u64::from(self.pitch) * u64::from(self.height)
    }

    /// Where red, green and blue are in a dot.
    pub fn colours(&self) -> [Field; 3] {
        match self.depth {
            15 => [(10, 5), (5, 5), (0, 5)],
            16 => [(11, 5), (5, 6), (0, 5)],
            _ => [(16, 8), (8, 8), (0, 8)],
        }
    }

    /// The picture, red, green and blue for each dot, line by line; `bytes` are those from [`address`](Self::address) on.
    /// Of a depth of 8 a dot is one of the colours of `palette`.
    pub fn picture(&self, bytes: &[u8], palette: &[[u8; 3]]) -> Vec<u8> {
        let dot = usize::from(self.depth).div_ceil(8);
        let line = self.width as usize * dot;
        let lines = bytes.chunks(self.pitch as usize).take(self.height as usize);
        lines
            .flat_map(|bytes| bytes.get(..line).unwrap_or_default().chunks_exact(dot))
            .flat_map(|bytes| {
                if let &[number] = bytes {
                    return palette.get(usize::from(number)).copied().unwrap_or_default();
                }
                let mut word = [0; 4];
                word[..dot].copy_from_slice(bytes);
                let word = u32::from_le_bytes(word);
                self.colours().map(|(low, bits)| {
                    let most = (1u32 << bits) - 1;
                    ((word >> low & most) * 255 / most) as u8
                })
            })
            .collect()
    }

    /// Multiboot's colour information: position and size of red, green and blue.
    pub(super) fn colour_information(&self) -> [u8; 6] {
        let [red, green, blue] = self.colours();
        [red.0, red.1, green.0, green.1, blue.0, blue.1]
    }

    /// The block that VBE function 00h fills in: the version, and what memory there is.
    pub(super) fn vbe_control(&self) -> [u8; 512] {
        const VERSION_3: [u8; 2] = [0, 3];
        let mut block = [0; 512];
        block[..4].copy_from_slice(b"VESA");
        block[4..6].copy_from_slice(&VERSION_3);
        let blocks = self.size().div_ceil(64 << 10) as u16;
        block[18..20].copy_from_slice(&blocks.to_le_bytes());
        block
    }

    /// The block that VBE function 01h fills in for this mode.
    pub(super) fn vbe_mode(&self) -> [u8; 256] {
        /// Supported, colour, graphics, with a linear framebuffer and without windows.
        const ATTRIBUTES: u16 = 0x00DB;
        const DIRECT_COLOUR: u8 = 6;
        let mut block = [0; 256];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &ATTRIBUTES.to_le_bytes());
        put(16, &(self.pitch as u16).to_le_bytes());
        put(18, &(self.width as u16).to_le_bytes());
        put(20, &(self.height as u16).to_le_bytes());
        put(22, &[8, 16, 1, self.depth, 1, DIRECT_COLOUR, 0, 0, 1]);
        for (index, (low, bits)) in self.colours().into_iter().enumerate() {
            put(31 + 2 * index, &[bits, low]);
        }
        put(40, &self.address.to_le_bytes());
        // The same for the linear framebuffer.
        put(50, &(self.pitch as u16).to_le_bytes());
        for (index, (low, bits)) in self.colours().into_iter().enumerate() {
            put(54 + 2 * index, &[bits, low]);
        }
        block
    }
}

/// The number of the mode that is set: one of the board's own, with its framebuffer.
pub(super) const VBE_MODE: u16 = 0x4140;

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 64 << 20;

    fn mode(width: u32, height: u32, depth: u32) -> VideoMode {
        VideoMode { width, height, depth }
    }

    #[test]
    fn it_is_the_end_of_memory_and_leaves_the_kernel_most_of_it() {
        let given = Framebuffer::for_mode(mode(0, 0, 0), 4 << 20, END).unwrap();
        assert_eq!((given.width, given.height, given.depth, given.pitch), (1024, 768, 32, 4096));
        assert_eq!(given.address, 60 << 20);
        assert_eq!(Framebuffer::for_mode(mode(0, 0, 0), 61 << 20, END), None, "a module is there");
        assert_eq!(Framebuffer::for_mode(mode(8192, 8192, 32), 4 << 20, END), None);
        assert_eq!(Framebuffer::for_mode(mode(u32::MAX, u32::MAX, 32), 4 << 20, END), None);
        assert_eq!(Framebuffer::for_mode(mode(1024, 768, 32), 1 << 20, 8 << 20), None);
    }

    #[test]
    fn a_depth_that_is_not_had_is_true_colour() {
        let depth = |wanted| Framebuffer::for_mode(mode(640, 480, wanted), 0, END).unwrap().depth;
        assert_eq!([15, 16, 24, 8, 32].map(depth), [32, 16, 24, 32, 32]);
    }

    #[test]
    fn dots_are_read_by_their_depth() {
        let of = |depth| Framebuffer { address: 0, pitch: 8, width: 2, height: 1, depth };
        let picture = |depth, bytes: &[u8]| of(depth).picture(bytes, &[[7; 3], [1, 2, 3]]);
        assert_eq!(picture(32, &[3, 2, 1, 0, 6, 5, 4, 9]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(picture(24, &[3, 2, 1, 6, 5, 4, 9, 9]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(picture(16, &[0, 0xF8, 0xFF, 0xFF, 9, 9, 9, 9]), [255, 0, 0, 255, 255, 255]);
        assert_eq!(picture(15, &[0, 0x7C, 0xFF, 0x7F, 9, 9, 9, 9]), [255, 0, 0, 255, 255, 255]);
        assert_eq!(picture(8, &[1, 0, 9, 9, 9, 9, 9, 9]), [1, 2, 3, 7, 7, 7]);
        assert!(picture(32, &[1, 2, 3]).is_empty(), "a line that is cut off");
    }

    #[test]
    fn the_blocks_of_vbe_name_the_same_mode() {
        let given = Framebuffer::for_mode(mode(800, 600, 24), 0, END).unwrap();
        let block = given.vbe_mode();
        assert_eq!(block[16..22], [0x60, 9, 0x20, 3, 0x58, 2]);
        assert_eq!((block[25], block[27]), (24, 6));
        assert_eq!(block[31..37], [8, 16, 8, 8, 8, 0]);
        assert_eq!(block[40..44], given.address.to_le_bytes());
        assert_eq!(given.vbe_control()[18..20], [22, 0], "of 64 KiB each");
    }
}
