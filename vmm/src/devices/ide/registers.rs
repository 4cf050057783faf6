//! The command block of a drive: what a host writes before a command, and reads behind it.
//!
//! ```text
//!       0x1F1 features / error      0x1F3  7:0    31:24 │ sector      0x1F6  6 LBA · 4 drive · 3–0 27:24 │ head
//!       0x1F2 sector count          0x1F4  15:8   39:32 │ cylinder    0x1F7  command / status
//!                                   0x1F5  23:16  47:40 │
//! ```
//! Each but the last two is two bytes deep: a 48-bit command takes what was written before the last write as
//! its upper half (ATA/ATAPI-6, "48-bit Address feature set").

/// A register of the command block by its offset from 0x1F0; 0 is the data.
pub const FEATURES: u8 = 1;
/// Sector count.
pub const COUNT: u8 = 2;
/// Bits 7–0 of the address.
pub const LOW: u8 = 3;
/// Bits 15–8.
pub const MIDDLE: u8 = 4;
/// Bits 23–16.
pub const HIGH: u8 = 5;
/// The drive, and what is left of the address.
pub const DEVICE: u8 = 6;
/// Command and status.
pub const COMMAND: u8 = 7;

/// Bit of the device register: the address is a number of a sector.
const LBA: u8 = 0x40;

/// The registers that both host and drive write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registers {
    /// By offset; the last write, and the one before it.
    bytes: [(u8, u8); 8],
}

impl Registers {
    /// The last write.
    pub fn get(&self, register: u8) -> u8 {
        self.bytes[usize::from(register & 7)].0
    }

    /// The write before the last.
    pub fn previous(&self, register: u8) -> u8 {
        self.bytes[usize::from(register & 7)].1
    }

    /// The host writes.
    pub fn write(&mut self, register: u8, value: u8) {
        let (last, before) = &mut self.bytes[usize::from(register & 7)];
        *before = std::mem::replace(last, value);
    }

    /// The drive changes what is read.
    pub fn set(&mut self, register: u8, value: u8) {
        self.bytes[usize::from(register & 7)].0 = value;
    }

    /// Sectors of a command; 0 stands for as many as the register can count, and one more.
    pub fn sectors(&self, wide: bool) -> u32 {
        let (low, high) = (self.get(COUNT), self.previous(COUNT));
        match (wide, u32::from(low) | u32::from(high) << 8) {
            (false, _) if low == 0 => 256,
            (false, _) => low.into(),
            (true, 0) => 0x1_0000,
            (true, count) => count,
        }
    }

    /// The first sector of a command on a disk of `heads` and `sectors` a track; none if its address by
    /// cylinders has a sector 0 or a head that is not there.
    pub fn address(&self, wide: bool, heads: u32, sectors: u32) -> Option<u64> {
        let three = [LOW, MIDDLE, HIGH];
        let low = three.iter().rev().fold(0, |sum, at| sum << 8 | u64::from(self.get(*at)));
        if wide {
            let high =
                three.iter().rev().fold(0, |sum, at| sum << 8 | u64::from(self.previous(*at)));
            return Some(high << 24 | low);
        }
        let device = self.get(DEVICE);
        if device & LBA != 0 {
            return Some(u64::from(device & 0xF) << 24 | low);
        }
        let (head, sector) = (u32::from(device & 0xF), u32::from(self.get(LOW)));
        let cylinder = (low >> 8) as u32;
        let valid = head < heads && (1..=sectors).contains(&sector);
        valid.then(|| {
            u64::from(cylinder * heads + head) * u64::from(sectors) + u64::from(sector - 1)
        })
    }

    /// What a drive shows after a reset, by which a host tells its kind ("Signature").
    pub fn sign(&mut self, middle: u8, high: u8) {
        let device = self.get(DEVICE) & 0x10;
        for (register, value) in
            [(COUNT, 1), (LOW, 1), (MIDDLE, middle), (HIGH, high), (DEVICE, device)]
        {
            self.set(register, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[(u8, u8)]) -> Registers {
        let mut registers = Registers::default();
        values.iter().for_each(|(register, value)| registers.write(*register, *value));
        registers
    }

    #[test]
    fn an_address_is_a_number_of_28_or_48_bits_or_a_cylinder_head_and_sector() {
        let short = written(&[(LOW, 0x78), (MIDDLE, 0x56), (HIGH, 0x34), (DEVICE, 0xE2)]);
        assert_eq!(short.address(false, 16, 63), Some(0x0234_5678));
        let wide = written(&[
            (LOW, 4),
            (MIDDLE, 5),
            (HIGH, 6),
            (LOW, 1),
            (MIDDLE, 2),
            (HIGH, 3),
            (DEVICE, 0x40),
        ]);
        assert_eq!(wide.address(true, 16, 63), Some(0x0605_0403_0201));
        let cylinder = written(&[(LOW, 1), (MIDDLE, 1), (HIGH, 0), (DEVICE, 0xA2)]);
        assert_eq!(cylinder.address(false, 16, 63), Some((16 + 2) * 63));
        assert_eq!(written(&[(DEVICE, 0xA0)]).address(false, 16, 63), None, "sectors count from 1");
    }

    #[test]
    fn a_count_of_0_is_as_many_as_there_can_be() {
        assert_eq!(written(&[]).sectors(false), 256);
        assert_eq!(written(&[]).sectors(true), 0x1_0000);
        assert_eq!(written(&[(COUNT, 1), (COUNT, 0)]).sectors(true), 0x100);
        assert_eq!(written(&[(COUNT, 1), (COUNT, 2)]).sectors(false), 2);
    }
}
