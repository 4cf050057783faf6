//! How a disk's sectors are counted.

/// Sectors that READ MULTIPLE moves in one block at most.
pub const MOST_IN_A_BLOCK: u8 = 16;

/// How a disk is divided for those who count cylinders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Heads.
    pub heads: u32,
    /// Sectors a track.
    pub sectors: u32,
}

impl Geometry {
    /// What every disk of more than 504 MiB says.
    pub const DEFAULT: Geometry = Geometry { heads: 16, sectors: 63 };

    /// Cylinders of a disk of so many sectors, as far as the number goes (ATA-6, 6.2.1).
    pub fn cylinders(self, sectors: u64) -> u16 {
        let cylinders = sectors / u64::from(self.heads * self.sectors).max(1);
        cylinders.clamp(1, 16_383) as u16
    }
}
