//! The controller's commands: how long they are, and what their bytes say.

/// Where a sector is, as its address mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    /// The cylinder.
    pub(super) cylinder: u8,
    /// The head.
    pub(super) head: u8,
    /// The sector, from 1.
    pub(super) sector: u8,
}

impl Id {
    /// Goes to the next sector; whether the last one of the track, or of both tracks, lies behind it ("Result Phase
    /// Table"). The track has `sectors`, whatever the command says of its `end`: a BIOS names as that the last sector it
    /// wants, by which a read of both tracks goes on at the other head.
    pub(super) fn advance(&mut self, end: u8, sectors: u8, tracks: bool) -> bool {
        if self.sector != end && self.sector < sectors {
            self.sector = self.sector.wrapping_add(1);
            return false;
        }
        self.sector = 1;
        if tracks {
            self.head ^= 1;
            if self.head == 1 {
                return false;
            }
        }
        self.cylinder = self.cylinder.wrapping_add(1);
        true
    }

    /// The seven bytes of a result.
    pub(super) fn result(self, status_0: u8, status_1: u8, status_2: u8) -> Vec<u8> {
        vec![status_0, status_1, status_2, self.cylinder, self.head, self.sector, 2]
    }
}

/// A command and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// SPECIFY: step rate and head times.
    Specify([u8; 2]),
    /// CONFIGURE: FIFO and implied seeks.
    Configure([u8; 2]),
    /// PERPENDICULAR MODE.
    Perpendicular(u8),
    /// SENSE DRIVE STATUS.
    SenseDrive { drive: u8, head: u8 },
    /// SENSE INTERRUPT STATUS.
    SenseInterrupt,
    /// DUMPREG.
    DumpRegisters,
    /// VERSION.
    Version,
    /// LOCK and UNLOCK.
    Lock(bool),
    /// SEEK, or RECALIBRATE where there is no cylinder.
    Seek { drive: u8, cylinder: Option<u8> },
    /// READ ID.
    ReadId { drive: u8, head: u8 },
    /// FORMAT TRACK.
    Format { drive: u8, head: u8, sectors: u8, filler: u8 },
    /// READ DATA and WRITE DATA: from this sector to `end`, on both sides if it is a multi-track command.
    Sectors { write: bool, drive: u8, id: Id, size: u8, end: u8, tracks: bool },
    /// Any other.
    Invalid,
}

/// How many bytes a command has that begins with this one.
pub(super) fn length(first: u8) -> usize {
    match first & 0x1F {
        0x05 | 0x06 => 9,
        0x0D => 6,
        0x13 => 4,
        0x03 | 0x0F => 3,
        0x04 | 0x07 | 0x0A | 0x12 => 2,
        _ => 1,
    }
}

/// What its bytes say, of which there are as many as [`length`] asks for.
pub(super) fn decode(bytes: &[u8]) -> Command {
    let (drive, head) = bytes.get(1).map_or((0, 0), |byte| (byte & 3, byte >> 2 & 1));
    match *bytes {
        [0x03, a, b] => Command::Specify([a, b]),
        [0x04, _] => Command::SenseDrive { drive, head },
        [0x07, _] => Command::Seek { drive, cylinder: None },
        [0x08] => Command::SenseInterrupt,
        [0x0E] => Command::DumpRegisters,
        [0x0F, _, cylinder] => Command::Seek { drive, cylinder: Some(cylinder) },
        [0x10] => Command::Version,
        [0x12, byte] => Command::Perpendicular(byte & 0x7F),
        [0x13, _, a, b] => Command::Configure([a, b]),
        [0x14] => Command::Lock(false),
        [0x94] => Command::Lock(true),
        [first, _] if first & 0xBF == 0x0A => Command::ReadId { drive, head },
        [first, _, _, sectors, _, filler] if first & 0xBF == 0x0D => {
            Command::Format { drive, head, sectors, filler }
        }
        [first, _, cylinder, head, sector, size, end, _, _]
            if matches!(first & 0x1F, 0x05 | 0x06) =>
        {
            Command::Sectors {
                write: first & 0x1F == 0x05,
                drive,
                id: Id { cylinder, head, sector },
                size,
                end,
                tracks: first & 0x80 != 0,
            }
        }
        _ => Command::Invalid,
    }
}
