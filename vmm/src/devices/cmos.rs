//! The real-time clock and its CMOS memory, ports 0x70 and 0x71, on IRQ 8.
//!
//! Sources: Motorola MC146818A data sheet for registers 0x00 to 0x0D; the usual AT assignments for the
//! rest. The clock starts at 2000-01-01 00:00:00, a Saturday, and goes on by the guest's time: two runs on
//! the deterministic clock read the same. What a kernel writes is kept, but the time of day cannot be set.
//! ```text
//!  0A  7 update in progress · 3–0 rate: 6 is 1024 Hz      0B  6 periodic · 5 alarm · 4 update · 2 binary · 1 24 h
//!  0C  7 any · 6 periodic · 5 alarm · 4 update; reading clears it, and lets IRQ 8 fall
//! ```

use super::device::Device;

/// The clock's interrupt line.
pub const IRQ: u8 = 8;

const STATUS_A: usize = 0x0A;
const STATUS_B: usize = 0x0B;
const STATUS_C: usize = 0x0C;
const STATUS_D: usize = 0x0D;
const CENTURY: usize = 0x32;
const SIZE: usize = 128;

const BINARY: u8 = 0x04;
const PERIODIC: u8 = 0x40;
const UPDATED: u8 = 0x10;
const REQUEST: u8 = 0x80;
const UPDATE_IN_PROGRESS: u8 = 0x80;

const SECOND: u64 = 1_000_000_000;
/// The bit says that an update comes within so long ("Update Cycle").
const WARNING: u64 = 244_000;

/// What a BIOS is to boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFrom {
    /// The first disk.
    Disk,
    /// The first CD.
    Cdrom,
    /// The first floppy disk.
    Floppy,
}

/// The index register, the memory and the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmos {
    index: usize,
    bytes: [u8; SIZE],
    now: u64,
    /// The next periodic tick, counted in ticks of the current rate from time 0.
    periodic: u64,
    /// Seconds that have been told of.
    second: u64,
}

impl Cmos {
    /// The contents of a PC with so many bytes of memory.
    pub fn new(memory_size: u64) -> Self {
        let mut bytes = [0; SIZE];
        bytes[STATUS_A] = 0x26; // 32.768 kHz, 1024 Hz.
        bytes[STATUS_B] = 0x02; // 24 hours, BCD, no interrupts.
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
        Self { index: 0, bytes, now: 0, periodic: 1, second: 0 }
    }

    /// Says what to boot from, in the registers that Bochs's BIOS and SeaBIOS read: first 2 for a disk and 3 for
    /// a CD, then the other.
    pub fn boot_from(&mut self, from: BootFrom) {
        self.bytes[0x3D] = match from {
            BootFrom::Disk => 0x32,
            BootFrom::Cdrom => 0x23,
            BootFrom::Floppy => 0x21,
        };
    }

    /// The kinds of the floppy drives, 0 for none (IBM PC AT, CMOS memory 0x10 and 0x14).
    pub fn set_floppies(&mut self, [first, second]: [u8; 2]) {
        self.bytes[0x10] = first << 4 | second & 0xF;
        let drives = [first, second].iter().filter(|kind| **kind != 0).count() as u8;
        self.bytes[0x14] &= !0xC1;
        if drives > 0 {
            self.bytes[0x14] |= 1 | (drives - 1) << 6;
        }
    }

    /// The first two disks, none for one that is not there: cylinders, heads and sectors of a track (IBM PC AT, CMOS memory
    /// 0x12, 0x19 to 0x2C: type 47, whose parameters follow).
    pub fn set_disks(&mut self, disks: [Option<(u16, u8, u8)>; 2]) {
        for (index, disk) in disks.into_iter().enumerate() {
            let Some((cylinders, heads, sectors)) = disk else { continue };
            self.bytes[0x12] |= if index == 0 { 0xF0 } else { 0x0F };
            self.bytes[0x19 + index] = 47;
            let [low, high] = cylinders.to_le_bytes();
            // No write precompensation; the heads park on the last cylinder.
            let control = 0xC0 | u8::from(heads > 8) << 3;
            let parameters = [low, high, heads, 0xFF, 0xFF, control, low, high, sectors];
            let at = 0x1B + index * parameters.len();
            self.bytes[at..at + parameters.len()].copy_from_slice(&parameters);
        }
    }

    /// Writes port 0x70: the index; bit 7 masks the chip set's NMI, of which there is none.
    pub fn select(&mut self, value: u8) {
        self.index = usize::from(value) % SIZE;
    }

    /// Reads port 0x71.
    pub fn read(&mut self) -> u8 {
        match self.index {
            0x00..=0x09 | CENTURY => self.time_of_day(self.index),
            STATUS_A => {
                let soon = self.now % SECOND >= SECOND - WARNING;
                self.bytes[STATUS_A] | if soon { UPDATE_IN_PROGRESS } else { 0 }
            }
            STATUS_C => std::mem::take(&mut self.bytes[STATUS_C]),
            index => self.bytes[index],
        }
    }

    /// Writes port 0x71.
    pub fn write(&mut self, value: u8) {
        match self.index {
            0x00 | 0x02 | 0x04 | 0x06..=0x09 | STATUS_C | STATUS_D | CENTURY => {}
            STATUS_A => {
                self.bytes[STATUS_A] = value & !UPDATE_IN_PROGRESS;
                self.periodic = self.period().map_or(1, |period| self.now / period + 1);
            }
            index => self.bytes[index] = value,
        }
        self.request();
    }

    /// The clock is to interrupt again and again.
    pub fn is_periodic(&self) -> bool {
        self.bytes[STATUS_B] & PERIODIC != 0
    }

    /// Register C, where it holds IRQ 8 high and has to be read before the line falls.
    pub fn unread(&self) -> Option<u8> {
        let opened = self.bytes[STATUS_B] & (PERIODIC | UPDATED);
        Some(self.bytes[STATUS_C]).filter(|c| c & REQUEST != 0 && c & opened != 0)
    }

    /// IRQ 8 is high while one of the causes that register B opens is set: closing it lets the line fall as well.
    fn request(&mut self) {
        let is_asked = self.bytes[STATUS_C] & self.bytes[STATUS_B] & (PERIODIC | UPDATED) != 0;
        self.bytes[STATUS_C] &= !REQUEST;
        self.bytes[STATUS_C] |= if is_asked { REQUEST } else { 0 };
    }

    /// A register of the time, in BCD or binary.
    fn time_of_day(&self, register: usize) -> u8 {
        let seconds = self.now / SECOND;
        let days = seconds / 86_400;
        let (year, month, day) = date(days);
        let hour = seconds / 3600 % 24;
        let number = match register {
            0x00 => seconds % 60,
            0x02 => seconds / 60 % 60,
            0x04 if self.bytes[STATUS_B] & 0x02 == 0 => (hour + 11) % 12 + 1,
            0x04 => hour,
            // Sunday is 1; day 0 was a Saturday.
            0x06 => (days + 6) % 7 + 1,
            0x07 => day,
            0x08 => month,
            0x09 => year % 100,
            CENTURY => year / 100,
            // Alarms are kept as written.
            _ => return self.bytes[register],
        } as u8;
        let value = if self.bytes[STATUS_B] & BINARY == 0 || register == CENTURY {
            ((number / 10) << 4) | (number % 10)
        } else {
            number
        };
        let afternoon = register == 0x04 && self.bytes[STATUS_B] & 0x02 == 0 && hour >= 12;
        value | if afternoon { 0x80 } else { 0 }
    }

    /// How long a period is in nanoseconds, if the rate selection gives one (table 5).
    fn period(&self) -> Option<u64> {
        let rate = self.bytes[STATUS_A] & 0x0F;
        match rate {
            0 => None,
            1 | 2 => Some(SECOND >> 8 >> (2 - rate)),
            _ => Some((SECOND << (rate - 1)) / 32_768),
        }
    }
}

/// Year, month and day of the month, so many days after 2000-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 2000;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length || year >= 9999 {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days.min(30) + 1)
}

impl Device for Cmos {
    fn advance_to(&mut self, now: u64) {
        self.now = self.now.max(now);
        if let Some(period) = self.period()
            && self.now / period >= self.periodic
        {
            self.periodic = self.now / period + 1;
            self.bytes[STATUS_C] |= PERIODIC;
        }
        if self.now / SECOND > self.second {
            self.second = self.now / SECOND;
            self.bytes[STATUS_C] |= UPDATED;
        }
        self.request();
    }

    fn deadline(&self, is_open: &dyn Fn(u8) -> bool) -> Option<u64> {
        if !is_open(IRQ) || self.bytes[STATUS_C] & REQUEST != 0 {
            return None;
        }
        let periodic = self
            .period()
            .filter(|_| self.bytes[STATUS_B] & PERIODIC != 0)
            .map(|period| self.periodic.saturating_mul(period));
        let update =
            (self.bytes[STATUS_B] & UPDATED != 0).then(|| (self.second + 1).saturating_mul(SECOND));
        [periodic, update].into_iter().flatten().min()
    }

    fn drive(&self, line: &mut dyn FnMut(u8, bool)) {
        line(IRQ, self.bytes[STATUS_C] & REQUEST != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(cmos: &mut Cmos, index: u8) -> u8 {
        cmos.select(index);
        cmos.read()
    }

    fn put(cmos: &mut Cmos, index: u8, value: u8) {
        cmos.select(index);
        cmos.write(value);
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
    fn disks_are_told_with_their_geometry() {
        let mut cmos = Cmos::new(1 << 20);
        cmos.set_disks([Some((615, 4, 17)), None]);
        assert_eq!([0x12, 0x19, 0x1A].map(|at| byte(&mut cmos, at)), [0xF0, 47, 0]);
        let first = [0x1B, 0x1C, 0x1D, 0x20, 0x23, 0x24].map(|at| byte(&mut cmos, at));
        assert_eq!(first, [0x67, 2, 4, 0xC0, 17, 0]);
        cmos.set_disks([None, Some((1024, 16, 63))]);
        assert_eq!([0x12, 0x29].map(|at| byte(&mut cmos, at)), [0xFF, 0xC8]);
    }

    #[test]
    fn the_clock_goes_by_the_guests_time_and_cannot_be_set() {
        let mut cmos = Cmos::new(1 << 20);
        put(&mut cmos, 0x09, 0x99);
        let at = |cmos: &mut Cmos| [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| byte(cmos, index));
        assert_eq!(at(&mut cmos), [0x20, 0, 1, 1, 7, 0, 0, 0]);
        // 2001-03-01 13:14:59, a Thursday.
        cmos.advance_to((425 * 86_400 + 13 * 3600 + 14 * 60 + 59) * SECOND);
        assert_eq!(at(&mut cmos), [0x20, 1, 3, 1, 5, 0x13, 0x14, 0x59]);
        put(&mut cmos, 0x0B, 0x04);
        assert_eq!(byte(&mut cmos, 4), 0x81, "binary, 12 hours, afternoon");
        assert_eq!(byte(&mut cmos, 0x8A) & 0x80, 0, "the NMI mask is not part of the index");
        assert_eq!(byte(&mut cmos, 0x0D), 0x80);
    }

    #[test]
    fn an_update_is_announced() {
        let mut cmos = Cmos::new(1 << 20);
        cmos.advance_to(SECOND - 1000);
        assert_eq!(byte(&mut cmos, 0x0A) & 0x80, 0x80);
        cmos.advance_to(SECOND);
        assert_eq!((byte(&mut cmos, 0x0A) & 0x80, byte(&mut cmos, 0)), (0, 1));
    }

    #[test]
    fn the_periodic_interrupt_comes_again_when_register_c_has_been_read() {
        let mut cmos = Cmos::new(1 << 20);
        put(&mut cmos, 0x0A, 0x2F);
        put(&mut cmos, 0x0B, 0x42);
        let mut line = false;
        for tick in 1..=4 {
            let due = cmos.deadline(&|_| true).unwrap();
            assert_eq!(due, tick * SECOND / 2);
            cmos.advance_to(due);
            cmos.drive(&mut |_, high| line = high);
            assert!(line && cmos.deadline(&|_| true).is_none());
            assert_eq!(cmos.unread().map(|c| c & 0xC0), Some(0xC0));
            assert_eq!(byte(&mut cmos, 0x0C) & 0xC0, 0xC0);
        }
        assert_eq!(cmos.unread(), None);
        assert_eq!(cmos.deadline(&|_| false), None, "masked");
    }

    #[test]
    fn what_register_b_closes_asks_no_more_and_its_cause_stays() {
        let mut cmos = Cmos::new(1 << 20);
        put(&mut cmos, 0x0B, 0x42);
        cmos.advance_to(SECOND / 2);
        let level = |cmos: &Cmos| {
            let mut line = false;
            cmos.drive(&mut |_, high| line = high);
            line
        };
        assert!(level(&cmos));
        put(&mut cmos, 0x0B, 0x02);
        assert!(!level(&cmos));
        put(&mut cmos, 0x0B, 0x42);
        assert!(level(&cmos));
        put(&mut cmos, 0x0B, 0x02);
        assert_eq!(byte(&mut cmos, 0x0C) & 0xC0, 0x40);
    }

    #[test]
    fn other_bytes_keep_what_was_written() {
        let mut cmos = Cmos::new(1 << 20);
        put(&mut cmos, 0x0F, 0x0A);
        cmos.select(0);
        assert_eq!(byte(&mut cmos, 0x0F), 0x0A);
    }
}
