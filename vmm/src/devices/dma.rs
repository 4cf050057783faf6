//! The two 8237 DMA controllers and their page registers: who moves bytes, how many, and where in memory.
//!
//! Source: Intel 8237A data sheet; IBM PC AT Technical Reference, "Direct Memory Access".
//! ```text
//!  0x00–0x07  address and count of channels 0–3, a byte at a time, low one first (flip-flop)
//!  0x08 status, command · 0x09 request · 0x0A mask one · 0x0B mode · 0x0C flip-flop · 0x0D reset
//!  0x0E open all · 0x0F mask all        0xC0–0xDE  the same for channels 4–7, two ports apart
//!  0x81 0x82 0x83 0x87 · 0x89 0x8A 0x8B  bits 16–23 of channels 2 3 1 0 · 6 7 5
//! ```
//! Nothing moves here: a device that wants to asks for the next [`Span`] and says when it is done. What is
//! there is as much as a floppy controller needs; no device uses channels 4 to 7, which keep what is written.

/// One of the two controllers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Controller {
    channels: [Channel; 4],
    command: u8,
    /// Channels whose count has come to its end, cleared when they are read.
    ended: u8,
    mask: u8,
    /// The next byte is the high one.
    high: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Channel {
    base: (u16, u16),
    address: u16,
    /// One less than the bytes that are left.
    count: u16,
    mode: u8,
}

const AUTO_INITIALISE: u8 = 0x10;
const DOWNWARDS: u8 = 0x20;
const DISABLED: u8 = 0x04;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the device to memory.
    ToMemory,
    /// From memory to the device.
    FromMemory,
}

/// Bytes that may be moved next, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where they begin in memory; none where nothing is written or read (a verify transfer).
    pub address: Option<u32>,
    /// How many.
    pub length: usize,
}

/// Both controllers and the page registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dma {
    controllers: [Controller; 2],
    pages: [u8; 16],
}

impl Default for Dma {
    fn default() -> Self {
        let masked = || Controller { mask: 0xF, ..Controller::default() };
        Self { controllers: [masked(), masked()], pages: [0; 16] }
    }
}

/// The page register of channels 0–3.
const PAGES: [usize; 4] = [7, 3, 1, 2];

impl Dma {
    /// Reads register `register` (0–15) of a controller.
    pub fn read(&mut self, controller: usize, register: u8) -> u8 {
        let Some(controller) = self.controllers.get_mut(controller) else { return 0xFF };
        match register {
            0..=7 => {
                let channel = &controller.channels[usize::from(register / 2)];
                let word = if register & 1 == 0 { channel.address } else { channel.count };
                let high = controller.high;
                controller.high = !high;
                word.to_le_bytes()[usize::from(high)]
            }
            8 => std::mem::take(&mut controller.ended),
            0xF => 0xF0 | controller.mask,
            _ => 0,
        }
    }

    /// Writes register `register` (0–15) of a controller.
    pub fn write(&mut self, controller: usize, register: u8, value: u8) {
        let Some(controller) = self.controllers.get_mut(controller) else { return };
        let bit = 1 << (value & 3);
        match register {
            0..=7 => {
                let channel = &mut controller.channels[usize::from(register / 2)];
                let base =
                    if register & 1 == 0 { &mut channel.base.0 } else { &mut channel.base.1 };
                let high = controller.high;
                controller.high = !high;
                let mut bytes = base.to_le_bytes();
                bytes[usize::from(high)] = value;
                *base = u16::from_le_bytes(bytes);
                (channel.address, channel.count) = channel.base;
            }
            8 => controller.command = value,
            0xA if value & 4 != 0 => controller.mask |= bit,
            0xA => controller.mask &= !bit,
            0xB => controller.channels[usize::from(value & 3)].mode = value,
            0xC => controller.high = false,
            0xD => {
                (controller.command, controller.ended, controller.high) = (0, 0, false);
                controller.mask = 0xF;
            }
            0xE => controller.mask = 0,
            0xF => controller.mask = value & 0xF,
            // Requests by software: nobody would take the bytes.
            _ => {}
        }
    }

    /// Reads a page register, 0 to 15 behind port 0x80.
    pub fn read_page(&self, index: u8) -> u8 {
        self.pages[usize::from(index & 0xF)]
    }

    /// Writes a page register; the one at port 0x80 is a PC's POST code.
    pub fn write_page(&mut self, index: u8, value: u8) {
        self.pages[usize::from(index & 0xF)] = value;
    }

    /// What a device on channel 0–3 may move next: none if the channel is masked, or set up for the other way.
    pub fn next(&self, channel: usize, direction: Direction) -> Option<Span> {
        let controller = &self.controllers[0];
        let there = controller.channels.get(channel)?;
        if controller.mask & 1 << channel != 0 || controller.command & DISABLED != 0 {
            return None;
        }
        let length = usize::from(there.count) + 1;
        match (there.mode >> 2 & 3, direction) {
            (0, _) => return Some(Span { address: None, length }),
            (1, Direction::ToMemory) | (2, Direction::FromMemory) => {}
            _ => return None,
        }
        // The page does not change: an address wraps within its 64 KiB. Downwards is a byte at a time.
        let room = 0x1_0000 - usize::from(there.address);
        let length = if there.mode & DOWNWARDS != 0 { 1 } else { length.min(room) };
        let page = u32::from(self.pages[PAGES[channel]]);
        Some(Span { address: Some(page << 16 | u32::from(there.address)), length })
    }

    /// So many bytes of the span have been moved; whether the count has come to its end (TC).
    pub fn moved(&mut self, channel: usize, bytes: usize) -> bool {
        let controller = &mut self.controllers[0];
        let Some(there) = controller.channels.get_mut(channel) else { return true };
        let left = usize::from(there.count) + 1;
        let by = bytes.min(left) as u16;
        there.address = if there.mode & DOWNWARDS != 0 {
            there.address.wrapping_sub(by)
        } else {
            there.address.wrapping_add(by)
        };
        there.count = there.count.wrapping_sub(by);
        let ended = bytes >= left;
        if ended {
            controller.ended |= 1 << channel;
            if there.mode & AUTO_INITIALISE != 0 {
                (there.address, there.count) = there.base;
            } else {
                controller.mask |= 1 << channel;
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Channel 2 for so many bytes at an address, by this mode.
    fn programmed(mode: u8, address: u32, count: u16) -> Dma {
        let mut dma = Dma::default();
        for (register, value) in [
            (0xA, 6),
            (0xC, 0),
            (0xB, mode | 2),
            (4, address as u8),
            (4, (address >> 8) as u8),
            (5, (count - 1) as u8),
            (5, ((count - 1) >> 8) as u8),
            (0xA, 2),
        ] {
            dma.write(0, register, value);
        }
        dma.write_page(1, (address >> 16) as u8);
        dma
    }

    #[test]
    fn a_channel_counts_down_to_its_end_and_masks_itself() {
        let mut dma = programmed(0x44, 0x2_1000, 1024);
        let span = Span { address: Some(0x2_1000), length: 1024 };
        assert_eq!(dma.next(2, Direction::ToMemory), Some(span));
        assert_eq!(dma.next(2, Direction::FromMemory), None);
        assert!(!dma.moved(2, 512));
        let span = Span { address: Some(0x2_1200), length: 512 };
        assert_eq!(dma.next(2, Direction::ToMemory), Some(span));
        assert!(dma.moved(2, 512));
        assert_eq!(dma.next(2, Direction::ToMemory), None);
        assert_eq!((dma.read(0, 8), dma.read(0, 8)), (4, 0));
        assert_eq!((dma.read(0, 5), dma.read(0, 5)), (0xFF, 0xFF));
    }

    #[test]
    fn an_address_wraps_within_its_page_and_auto_initialise_begins_again() {
        let mut dma = programmed(0x58, 0x3_FF00, 512);
        let span = Span { address: Some(0x3_FF00), length: 256 };
        assert_eq!(dma.next(2, Direction::FromMemory), Some(span));
        assert!(!dma.moved(2, 256));
        let span = Span { address: Some(0x3_0000), length: 256 };
        assert_eq!(dma.next(2, Direction::FromMemory), Some(span));
        assert!(dma.moved(2, 256));
        let span = Span { address: Some(0x3_FF00), length: 256 };
        assert_eq!(dma.next(2, Direction::FromMemory), Some(span));
    }

    #[test]
    fn a_reset_masks_all_and_verifying_touches_no_memory() {
        let mut dma = programmed(0x40, 0, 16);
        assert_eq!(dma.next(2, Direction::ToMemory), Some(Span { address: None, length: 16 }));
        dma.write(0, 0xD, 0);
        assert_eq!(dma.next(2, Direction::ToMemory), None);
        assert_eq!(dma.read(0, 0xF), 0xFF);
    }

    proptest! {
        #[test]
        fn no_access_panics_and_no_span_leaves_its_page(
            accesses in proptest::collection::vec((0usize..3, 0u8..16, any::<u8>(), any::<u16>()), 0..200),
        ) {
            let mut dma = Dma::default();
            for (controller, register, value, bytes) in accesses {
                dma.write(controller, register, value);
                dma.read(controller, register ^ 1);
                dma.write_page(register, value);
                for channel in 0..5 {
                    if let Some(Span { address: Some(at), length }) = dma.next(channel, Direction::ToMemory) {
                        prop_assert!(at as usize % 0x1_0000 + length <= 0x1_0000);
                    }
                    dma.moved(channel, bytes.into());
                }
            }
        }
    }
}
