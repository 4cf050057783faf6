//! The bus master of a channel: it moves a drive's data to memory and from there by itself.
//!
//! Source: "Programming Interface for Bus Master IDE Controller" (Intel, revision 1.0), "Physical Region Descriptor
//! Table", "Bus Master IDE Register Description" and "Status Bit Interpretation"; Intel 82371SB data sheet, "Bus Master
//! IDE I/O Registers". What these leave open is as in QEMU's `hw/ide/pci.c`.
//! ```text
//!  from the function's base address 4 on, channel 1 eight ports later
//!  +0 command  3 to memory · 0 start
//!  +2 status   6, 5 drive 1, 0 can do DMA · 2 interrupt · 1 error · 0 active     1 and 2 are cleared by a 1
//!  +4 table    31–2
//!
//!  table ─► ┌───────────────────────────┬───┐
//!           │ address of a region  31–1 │ 0 │   8 bytes each, up to the end of the 64 KiB that the first lies in
//!           ├───┬──────────┬────────────┼───┤
//!           │EOT│          │ bytes 15–1 │ 0 │   0 is 64 KiB
//!           └───┴──────────┴────────────┴───┘
//!
//!  interrupt active
//!      0       1    the transfer goes on, or the drive has not been told yet
//!      1       0    all is moved, and the table is at its end
//!      1       1    all is moved, and the table holds more; or the drive has failed
//!      0       0    with the error bit, a region or the table is not in memory; without, the table is too short
//! ```
//! Bytes go once both the drive has a command and the host has said start, in either order, and the function may be a master
//! (bit 2 of its PCI command). They go at that moment; that it is over is told when the drive is done. Which way
//! they go is the drive's command to say: bit 3 is kept, and no more.

/// Start, and the direction.
const START: u8 = 0x01;
const TO_MEMORY: u8 = 0x08;

const ACTIVE: u8 = 0x01;
const ERROR: u8 = 0x02;
const INTERRUPT: u8 = 0x04;
const CAPABLE: u8 = 0x60;

/// Bytes of a descriptor.
pub const DESCRIPTOR: usize = 8;
/// A table does not cross this.
const TABLE_ENDS: u32 = 0x1_0000;
/// Bit 31 of a descriptor's second double word.
const LAST: u32 = 1 << 31;

/// What memory is wanted for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The descriptor at this address.
    Descriptor(u32),
    /// So many bytes of data at this address.
    Data(u32, usize),
    /// Nothing: the table is at its end.
    TableEnds,
}

/// What is left of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    address: u32,
    left: usize,
    last: bool,
}

/// How a transfer has ended, until that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The table is at its end.
    Exhausted,
    /// Memory did not answer.
    Refused,
}

/// The registers, and where the table has been read to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusMaster {
    command: u8,
    status: u8,
    table: u32,
    /// The next descriptor; none at the end of the 64 KiB.
    next: Option<u32>,
    region: Option<Region>,
    outcome: Option<Outcome>,
}

impl BusMaster {
    /// Reads register 0 to 7.
    pub fn read(&self, register: u8) -> u8 {
        match register {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[usize::from(register - 4)],
            _ => 0,
        }
    }

    /// Writes register 0 to 7.
    pub fn write(&mut self, register: u8, value: u8) {
        match register {
            0 => {
                let before = std::mem::replace(&mut self.command, value & (TO_MEMORY | START));
                match (before & START != 0, value & START != 0) {
                    (false, true) => {
                        (self.next, self.region) = (Some(self.table), None);
                        self.status |= ACTIVE;
                    }
                    // What has been moved stays so; where the table stood is forgotten.
                    (true, false) => {
                        self.conclude();
                        (self.next, self.region) = (None, None);
                        self.status &= !ACTIVE;
                    }
                    _ => {}
                }
            }
            2 => {
                let kept = self.status & !(value & (ERROR | INTERRUPT));
                self.status = value & CAPABLE | kept & (ACTIVE | ERROR | INTERRUPT);
            }
            4..=7 => {
                let mut bytes = self.table.to_le_bytes();
                bytes[usize::from(register - 4)] = value;
                self.table = u32::from_le_bytes(bytes) & !3;
            }
            _ => {}
        }
    }

    /// Whether it moves what a drive has for it.
    pub fn is_active(&self) -> bool {
        self.status & ACTIVE != 0 && self.outcome.is_none()
    }

    /// What it wants of memory to move `wanted` bytes more.
    pub fn next(&self, wanted: usize) -> Next {
        match (self.region, self.next) {
            (Some(region), _) if region.left > 0 => {
                Next::Data(region.address, region.left.min(wanted))
            }
            (Some(Region { last: true, .. }), _) | (_, None) => Next::TableEnds,
            (_, Some(descriptor)) => Next::Descriptor(descriptor),
        }
    }

    /// The descriptor that it asked for.
    pub fn describe(&mut self, descriptor: [u8; DESCRIPTOR]) {
        let [a, b, c, d, e, f, g, h] = descriptor;
        let (address, second) =
            (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let left = match second & 0xFFFE {
            0 => 0x1_0000,
            bytes => bytes as usize,
        };
        self.region = Some(Region { address: address & !1, left, last: second & LAST != 0 });
        let after = self.next.and_then(|at| at.checked_add(DESCRIPTOR as u32));
        self.next = after.filter(|at| !at.is_multiple_of(TABLE_ENDS));
    }

    /// So many bytes of the region have been moved.
    pub fn advance(&mut self, bytes: usize) {
        if let Some(region) = &mut self.region {
            region.address = region.address.wrapping_add(bytes as u32);
            region.left = region.left.saturating_sub(bytes);
        }
    }

    /// There is nothing more to be moved: by the table, or by the drive.
    pub fn end(&mut self) {
        if matches!(self.next(1), Next::TableEnds) {
            self.outcome = Some(Outcome::Exhausted);
        }
    }

    /// Memory did not answer ("master abort").
    pub fn refused(&mut self) {
        self.outcome = Some(Outcome::Refused);
    }

    /// The drive is through with its command, and so the end is told.
    pub fn conclude(&mut self) {
        match self.outcome.take() {
            Some(Outcome::Exhausted) => self.status &= !ACTIVE,
            Some(Outcome::Refused) => self.status = self.status & !ACTIVE | ERROR,
            None => {}
        }
    }

    /// The channel's interrupt line has risen.
    pub fn interrupted(&mut self) {
        self.status |= INTERRUPT;
    }
}
