//! The real-time clock and its CMOS memory, ports 0x70 and 0x71.
//!
//! Sources: Motorola MC146818A data sheet for registers 0x00 to 0x0D; the usual AT assignments for the
//! rest. The clock stands still at 2000-01-01 00:00:00, a Saturday: a clock that runs would make two
//! runs differ, and a kernel that reads it twice for consistency is content. What a kernel writes is
//! kept, but for the status registers.

const SECONDS: usize = 0x00;
const STATUS_A: usize = 0x0A;
const STATUS_D: usize = 0x0D;
const SIZE: usize = 128;

/// The index register and the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmos {
    index: usize,
    bytes: [u8; SIZE],
}

impl Cmos {
    /// The contents of a PC with so many bytes of memory.
    pub fn new(memory_size: u64) -> Self {
        let mut bytes = [0; SIZE];
        // Day of the week, day, month in BCD; seconds to hours and the year are 0.
        bytes[0x06..0x09].copy_from_slice(&[0x07, 0x01, 0x01]);
        bytes[0x32] = 0x20; // Century.
        bytes[STATUS_A] = 0x26; // 32.768 kHz, 1024 Hz; no update in progress.
        bytes[0x0B] = 0x02; // 24 hours, BCD, no interrupts.
        bytes[STATUS_D] = 0x80; // Battery good.
        bytes[0x14] = 0x02; // Equipment: a coprocessor, no floppy drive.
        let mut put = |at: usize, value: u64| {
            let value = u16::try_from(value).unwrap_or(u16::MAX);
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        };
        let above = |start: u64| memory_size.saturating_sub(start);
        put(0x15, (memory_size / 1024).min(640)); // Below 1 MiB, in KiB.
        put(0x17, above(1 << 20) / 1024); // Above 1 MiB, in KiB.
        put(0x30, above(1 << 20) / 1024);
        put(0x34, above(16 << 20) / 0x1_0000); // Above 16 MiB, in 64 KiB.
        Self { index: 0, bytes }
    }

    /// Writes port 0x70: the index; bit 7 masks the NMI, of which there is none.
    pub fn select(&mut self, value: u8) {
        self.index = usize::from(value) % SIZE;
    }

    /// Reads port 0x71.
    pub fn read(&self) -> u8 {
        self.bytes[self.index]
    }

    /// Writes port 0x71.
    pub fn write(&mut self, value: u8) {
        if !matches!(self.index, SECONDS..=0x09 | STATUS_A | 0x0C | STATUS_D | 0x32) {
            self.bytes[self.index] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(cmos: &mut Cmos, index: u8) -> u8 {
        cmos.select(index);
        cmos.read()
    }

    #[test]
    fn the_memory_sizes_are_those_of_the_guest() {
        let mut cmos = Cmos::new(64 << 20);
        let mut word = |at| u16::from_le_bytes([byte(&mut cmos, at), byte(&mut cmos, at + 1)]);
        assert_eq!(word(0x15), 640);
        assert_eq!(word(0x17), 63 * 1024);
        assert_eq!(word(0x34), 48 * 16);
        let mut large = Cmos::new(3 << 30);
        assert_eq!(byte(&mut large, 0x18), 0xFF, "as much as the field can say");
    }

    #[test]
    fn the_clock_stands_still_and_is_never_being_updated() {
        let mut cmos = Cmos::new(1 << 20);
        cmos.select(0x09);
        cmos.write(0x99);
        assert_eq!(byte(&mut cmos, 0x09), 0x00);
        assert_eq!(byte(&mut cmos, 0x32), 0x20);
        assert_eq!(byte(&mut cmos, 0x8A) & 0x80, 0, "the NMI mask is not part of the index");
        assert_eq!(byte(&mut cmos, 0x0D), 0x80);
    }

    #[test]
    fn other_bytes_keep_what_was_written() {
        let mut cmos = Cmos::new(1 << 20);
        cmos.select(0x0F);
        cmos.write(0x0A);
        cmos.select(0);
        assert_eq!(byte(&mut cmos, 0x0F), 0x0A);
    }
}
