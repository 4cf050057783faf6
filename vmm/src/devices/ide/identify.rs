//! What a drive says of itself: 256 words.
//!
//! Source: ATA/ATAPI-6 (T13/1410D), 8.15 ("IDENTIFY DEVICE") and 8.16 ("IDENTIFY PACKET DEVICE"); the word's
//! number stands at each.

use super::geometry::{Geometry, MOST_IN_A_BLOCK};
use super::mode::DmaMode;

const WORDS: usize = 256;

/// IDENTIFY DEVICE of a disk of so many sectors.
pub fn disk(sectors: u64, geometry: Geometry, multiple: u8, mode: DmaMode) -> Vec<u8> {
    let mut words = [0u16; WORDS];
    let cylinders = Geometry::DEFAULT.cylinders(sectors);
    let (heads, track) = (Geometry::DEFAULT.heads as u16, Geometry::DEFAULT.sectors as u16);
    words[0] = 0x0040; // A disk that cannot be taken out.
    (words[1], words[3], words[6]) = (cylinders, heads, track);
    (words[4], words[5]) = (track * 512, 512); // Bytes of a track and of a sector, from ATA-1.
    name(&mut words, "ESP0 DISK");
    words[47] = 0x8000 | u16::from(MOST_IN_A_BLOCK);
    words[48] = 1; // Double words can be moved.
    words[49] = 1 << 11 | 1 << 9 | 1 << 8; // IORDY; addresses by number; DMA.
    words[50] = 1 << 14;
    words[51] = 2 << 8; // PIO 2 without IORDY.
    words[53] = 7; // 54 to 58, 64 to 70 and 88 are valid.
    let now = geometry.cylinders(sectors);
    (words[54], words[55], words[56]) = (now, geometry.heads as u16, geometry.sectors as u16);
    let reached = u32::from(now) * geometry.heads * geometry.sectors;
    double(&mut words, 57, reached.into());
    words[59] = if multiple > 0 { 0x100 | u16::from(multiple) } else { 0 };
    double(&mut words, 60, sectors.min(0x0FFF_FFFF));
    transfers(&mut words, mode);
    words[80] = 0x7E; // ATA-1 to ATA/ATAPI-6.
    // NOP; flush, flush of 48 bits, addresses of 48 bits: there, and on.
    (words[82], words[83], words[84]) = (1 << 14, 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10, 1 << 14);
    (words[85], words[86], words[87]) = (1 << 14, 1 << 13 | 1 << 12 | 1 << 10, 1 << 14);
    words[93] = 0x6000 | 1; // A cable of 80 wires; a drive that passed its test.
    double(&mut words, 100, sectors);
    words[102] = (sectors >> 32) as u16;
    bytes(&words)
}

/// IDENTIFY PACKET DEVICE of a CD.
pub fn cdrom(mode: DmaMode) -> Vec<u8> {
    let mut words = [0u16; WORDS];
    // ATAPI, a CD, can be taken out, DRQ within 50 µs, packets of 12 bytes.
    words[0] = 2 << 14 | 5 << 8 | 1 << 7 | 2 << 5;
    name(&mut words, "ESP0 CD-ROM");
    words[48] = 1;
    words[49] = 1 << 11 | 1 << 9 | 1 << 8;
    words[51] = 2 << 8;
    words[53] = 7;
    transfers(&mut words, mode);
    words[71] = 30; // Microseconds from a packet to the release of the bus, and to BSY clear.
    words[72] = 30;
    words[80] = 0x7E;
    // Packets, device reset.
    (words[82], words[83], words[84]) = (1 << 14 | 1 << 9 | 1 << 4, 1 << 14, 1 << 14);
    (words[85], words[87]) = (1 << 14 | 1 << 9 | 1 << 4, 1 << 14);
    bytes(&words)
}

/// Modes of transfer.
fn transfers(words: &mut [u16; WORDS], mode: DmaMode) {
    words[63] = mode.multiword();
    words[64] = 3; // PIO 3 and 4.
    words[65..69].fill(120); // Nanoseconds of a cycle: of multiword DMA, and of PIO.
    words[88] = mode.ultra();
}

/// Serial number, firmware and model: the first letter of two is the upper byte.
fn name(words: &mut [u16; WORDS], model: &str) {
    for (start, length, text) in [(10, 10, "ESP00001"), (23, 4, "1.0"), (27, 20, model)] {
        for (index, word) in words[start..start + length].iter_mut().enumerate() {
            let letter = |at: usize| text.as_bytes().get(at).copied().unwrap_or(b' ');
            *word = u16::from_be_bytes([letter(index * 2), letter(index * 2 + 1)]);
        }
    }
}

fn double(words: &mut [u16; WORDS], at: usize, value: u64) {
    (words[at], words[at + 1]) = (value as u16, (value >> 16) as u16);
}

fn bytes(words: &[u16; WORDS]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_tells_its_size_in_each_way_and_its_modes() {
        let bytes = disk(0x0012_3456_789A, Geometry::DEFAULT, 16, DmaMode::default());
        let word = |at: usize| u16::from_le_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
        assert_eq!((bytes.len(), word(1), word(3), word(6)), (512, 16_383, 16, 63));
        assert_eq!((word(60), word(61)), (0xFFFF, 0x0FFF));
        assert_eq!((word(100), word(101), word(102)), (0x789A, 0x3456, 0x12));
        assert_eq!((word(49), word(53), word(63), word(88)), (0x0B00, 7, 0x0007, 0x203F));
        assert_eq!(&bytes[54..58], b"SE0P", "letters are swapped");
    }

    #[test]
    fn a_small_disk_has_one_cylinder() {
        assert_eq!(disk(1000, Geometry::DEFAULT, 0, DmaMode::default())[2..4], [1, 0]);
    }
}
