//! A CD drive: commands in packets of twelve bytes, and a disc that is always in it.
//!
//! Sources: ATA/ATAPI-6 (T13/1410D), 9.8 ("PACKET non-data and PIO data in") and 9.9 ("PACKET DMA"); the packets are those
//! of SCSI, from MMC-3 (T10/1363D) and SPC-2. A packet's answer goes to the host in blocks of at most as many bytes as
//! the host wrote to the registers 4 and 5, or as a whole by DMA if bit 0 of register 1 was set. Register 2 tells what a
//! block is:
//! ```text
//!   bit 1 to the host · bit 0 a command, or its end        01 the packet   10 data   11 done
//! ```
//! ```text
//!  00 test unit ready   03 request sense   12 inquiry   1A 5A mode sense   1B start/stop   1E lock
//!  25 read capacity     28 A8 read         2B seek      43 read TOC        46 configuration
//!  4A events            51 disc information             BD mechanism
//! ```

use super::identify;
use super::medium::Medium;
use super::mode::{DmaMode, SET_MODE};
use super::registers::{COUNT, FEATURES, HIGH, MIDDLE, Registers};
use super::reply::{ABORTED, Reply};
use crate::devices::dma::Direction;

/// Bytes of a sector of data.
pub const SECTOR: u64 = 2048;
/// Bytes of a packet.
const PACKET: usize = 12;
/// Where the second before the first sector ends: two seconds of 75 frames.
const LEAD_IN: u32 = 150;

/// Sense keys with their additional codes: what REQUEST SENSE tells of the last command.
type Sense = (u8, u8);
const NO_SENSE: Sense = (0x0, 0x00);
const MEDIUM_ERROR: Sense = (0x3, 0x11);
const UNKNOWN_PACKET: Sense = (0x5, 0x20);
const OUT_OF_RANGE: Sense = (0x5, 0x21);
const INVALID_FIELD: Sense = (0x5, 0x24);

/// What a packet is answered with: bytes, sectors, or nothing.
enum Answer {
    Bytes(Vec<u8>),
    Sectors { first: u32, count: u32 },
    Nothing,
}

/// What is still to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pending {
    Bytes(Vec<u8>),
    Medium { at: u64, end: u64 },
}

/// The drive with its disc.
#[derive(Debug, Clone)]
pub struct Cdrom {
    medium: Medium,
    sense: Sense,
    pending: Option<Pending>,
    /// Bytes that the host takes in a block.
    limit: usize,
    /// The host wants the answer by DMA.
    by_dma: bool,
    mode: DmaMode,
}

impl Cdrom {
    /// A drive with this disc.
    pub fn new(medium: Medium) -> Self {
        let mode = DmaMode::default();
        Self { medium, sense: NO_SENSE, pending: None, limit: 0, by_dma: false, mode }
    }

    /// What was under way is not any more.
    pub fn reset(&mut self) {
        (self.pending, self.sense) = (None, NO_SENSE);
    }

    /// Sectors of the disc.
    fn sectors(&self) -> u32 {
        u32::try_from(self.medium.size() / SECTOR).unwrap_or(u32::MAX)
    }

    /// A command.
    pub fn command(&mut self, code: u8, registers: &mut Registers) -> Reply {
        self.pending = None;
        match code {
            // A device reset, which needs no interrupt.
            0x08 => {
                self.reset();
                registers.sign(0x14, 0xEB);
                Reply::Quiet
            }
            0xA0 => {
                // An odd number, and 0, are what a host writes that does not care.
                let limit =
                    usize::from(registers.get(MIDDLE)) | usize::from(registers.get(HIGH)) << 8;
                self.limit = if limit < 2 { 0xFFFE } else { limit & !1 };
                // Overlapped commands are not offered.
                if registers.get(FEATURES) & 2 != 0 {
                    return Reply::Failed(ABORTED);
                }
                self.by_dma = registers.get(FEATURES) & 1 != 0;
                registers.set(COUNT, 1);
                Reply::Take(PACKET)
            }
            0xA1 => Reply::Send(identify::cdrom(self.mode)),
            0xEF if registers.get(FEATURES) == SET_MODE => {
                let known = self.mode.select(registers.get(COUNT));
                known.map_or(Reply::Failed(ABORTED), |()| Reply::Done)
            }
            0xE0..=0xE3 | 0xE6 | 0xEF => Reply::Done,
            0xE5 => {
                registers.set(COUNT, 0xFF);
                Reply::Done
            }
            // IDENTIFY DEVICE and READ: by the signature a host finds out what it is.
            0x20 | 0x21 | 0xEC => {
                registers.sign(0x14, 0xEB);
                Reply::Failed(ABORTED)
            }
            _ => Reply::Failed(ABORTED),
        }
    }

    /// The host has sent a packet.
    pub fn packet(&mut self, packet: &[u8], registers: &mut Registers) -> Reply {
        match self.answer(packet) {
            Ok(answer) => {
                if packet[0] != 0x03 {
                    self.sense = NO_SENSE;
                }
                self.pending = match answer {
                    Answer::Nothing => None,
                    Answer::Bytes(bytes) => Some(Pending::Bytes(bytes)),
                    Answer::Sectors { first, count } => {
                        let at = u64::from(first) * SECTOR;
                        Some(Pending::Medium { at, end: at + u64::from(count) * SECTOR })
                    }
                };
                match self.rest() {
                    Some(bytes) if self.by_dma => {
                        registers.set(COUNT, 2);
                        Reply::Dma(Direction::ToMemory, bytes)
                    }
                    _ => self.next(registers),
                }
            }
            Err(sense) => self.fail(sense, registers),
        }
    }

    /// Bytes that are still to be sent.
    fn rest(&self) -> Option<usize> {
        match self.pending.as_ref()? {
            Pending::Bytes(bytes) => Some(bytes.len()),
            Pending::Medium { at, end } => usize::try_from(end - at).ok(),
        }
    }

    /// The bus master takes the next bytes.
    ///
    /// # Errors
    /// What the command comes to, if they cannot be read.
    pub fn hand_over(&mut self, count: usize, registers: &mut Registers) -> Result<Vec<u8>, Reply> {
        match &mut self.pending {
            Some(Pending::Bytes(bytes)) => Ok(bytes.drain(..count.min(bytes.len())).collect()),
            Some(Pending::Medium { at, .. }) => {
                let mut bytes = vec![0; count];
                if self.medium.read(*at, &mut bytes).is_err() {
                    return Err(self.fail(MEDIUM_ERROR, registers));
                }
                *at += count as u64;
                Ok(bytes)
            }
            None => Err(Reply::Failed(ABORTED)),
        }
    }

    /// The bus master has moved all.
    pub fn moved_all(&mut self, registers: &mut Registers) -> Reply {
        self.pending = None;
        registers.set(COUNT, 3);
        Reply::Done
    }

    /// The host has read a block.
    pub fn sent(&mut self, registers: &mut Registers) -> Reply {
        // IDENTIFY is one block, and no packet.
        if self.pending.is_none() && registers.get(COUNT) & 3 != 2 {
            return Reply::Quiet;
        }
        self.next(registers)
    }

    /// The next block of the answer, or its end.
    fn next(&mut self, registers: &mut Registers) -> Reply {
        let block = match self.pending.take() {
            Some(Pending::Bytes(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(self.limit));
                self.pending = (!rest.is_empty()).then_some(Pending::Bytes(rest));
                bytes
            }
            Some(Pending::Medium { at, end }) => {
                let mut bytes = vec![0; (end - at).min(self.limit as u64) as usize];
                if self.medium.read(at, &mut bytes).is_err() {
                    return self.fail(MEDIUM_ERROR, registers);
                }
                let at = at + bytes.len() as u64;
                self.pending = (at < end).then_some(Pending::Medium { at, end });
                bytes
            }
            None => Vec::new(),
        };
        if block.is_empty() {
            registers.set(COUNT, 3);
            return Reply::Done;
        }
        registers.set(COUNT, 2);
        registers.set(MIDDLE, block.len() as u8);
        registers.set(HIGH, (block.len() >> 8) as u8);
        Reply::Send(block)
    }

    fn fail(&mut self, sense: Sense, registers: &mut Registers) -> Reply {
        (self.sense, self.pending) = (sense, None);
        registers.set(COUNT, 3);
        Reply::Failed(sense.0 << 4 | ABORTED)
    }

    fn answer(&mut self, packet: &[u8]) -> Result<Answer, Sense> {
        let short = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let word = |at: usize| u32::from(short(at)) << 16 | u32::from(short(at + 2));
        let bytes = |bytes: Vec<u8>, allocated: usize| {
            let mut bytes = bytes;
            bytes.truncate(allocated);
            // A block is of words.
            if !bytes.len().is_multiple_of(2) {
                bytes.push(0);
            }
            Ok(if bytes.is_empty() { Answer::Nothing } else { Answer::Bytes(bytes) })
        };
        match packet[0] {
            // Test unit ready, start and stop, lock, seek: the disc turns, and stays.
            0x00 | 0x1B | 0x1E | 0x2B => Ok(Answer::Nothing),
            0x03 => {
                let (key, code) = std::mem::replace(&mut self.sense, NO_SENSE);
                let mut sense = vec![0x70, 0, key, 0, 0, 0, 0, 10];
                sense.extend([0, 0, 0, 0, code, 0, 0, 0, 0, 0]);
                bytes(sense, packet[4].into())
            }
            0x12 if packet[1] & 3 == 0 => bytes(inquiry(), packet[4].into()),
            0x1A => bytes(self.mode(packet[2], 4)?, packet[4].into()),
            0x5A => bytes(self.mode(packet[2], 8)?, short(7).into()),
            0x25 => {
                let last = self.sectors().saturating_sub(1);
                bytes([last.to_be_bytes(), (SECTOR as u32).to_be_bytes()].concat(), 8)
            }
            0x28 => self.read(word(2), short(7).into()),
            0xA8 => self.read(word(2), word(6)),
            0x43 => bytes(self.contents(packet)?, short(7).into()),
            0x46 => {
                // The profile of a CD-ROM, and no features.
                bytes([&[0, 0, 0, 4, 0, 0, 0, 8][..]].concat(), short(7).into())
            }
            // Of events only those that are asked for at once; a disc that is there, and no change.
            0x4A if packet[1] & 1 != 0 => bytes(vec![0, 6, 4, 0x10, 0, 2, 0, 0], short(7).into()),
            0x51 => {
                // Closed, the last session complete; one session, one track.
                let mut information = vec![0, 32, 0x0E, 1, 1, 1, 1, 0x20];
                information.resize(34, 0);
                bytes(information, short(7).into())
            }
            0xBD => bytes(vec![0; 8], short(8).into()),
            0x12 | 0x4A => Err(INVALID_FIELD),
            _ => Err(UNKNOWN_PACKET),
        }
    }

    fn read(&self, first: u32, count: u32) -> Result<Answer, Sense> {
        match first.checked_add(count) {
            Some(end) if end <= self.sectors() => {
                Ok(if count == 0 { Answer::Nothing } else { Answer::Sectors { first, count } })
            }
            _ => Err(OUT_OF_RANGE),
        }
    }

    /// READ TOC: one track of data, and the lead-out.
    fn contents(&self, packet: &[u8]) -> Result<Vec<u8>, Sense> {
        let by_time = packet[1] & 2 != 0;
        // Old hosts give the format in the last byte's upper bits.
        let format = if packet[2] & 0xF != 0 { packet[2] & 0xF } else { packet[9] >> 6 };
        let address = |sector: u32| {
            if by_time {
                let frames = sector.saturating_add(LEAD_IN);
                [0, (frames / 75 / 60) as u8, (frames / 75 % 60) as u8, (frames % 75) as u8]
            } else {
                sector.to_be_bytes()
            }
        };
        const DATA: u8 = 0x14;
        const LEAD_OUT: u8 = 0xAA;
        let mut table = vec![0, 0, 1, 1];
        match format {
            0 => {
                let start = packet[6];
                if start > 1 && start != LEAD_OUT {
                    return Err(INVALID_FIELD);
                }
                if start <= 1 {
                    table.extend([0, DATA, 1, 0]);
                    table.extend(address(0));
                }
                table.extend([0, DATA, LEAD_OUT, 0]);
                table.extend(address(self.sectors()));
            }
            1 => {
                table.extend([0, DATA, 1, 0]);
                table.extend(address(0));
            }
            _ => return Err(INVALID_FIELD),
        }
        let length = table.len() as u16 - 2;
        table[..2].copy_from_slice(&length.to_be_bytes());
        Ok(table)
    }

    /// MODE SENSE: the header, and the pages that are asked for.
    fn mode(&self, page: u8, header: usize) -> Result<Vec<u8>, Sense> {
        let recovery = [0x01, 6, 0, 5, 0, 0, 0, 0];
        // Reads no audio, sits in a tray, locks nothing; 706 KB/s.
        let mut capabilities = [0u8; 20];
        capabilities[..2].copy_from_slice(&[0x2A, 18]);
        capabilities[6] = 0x29;
        capabilities[8..10].copy_from_slice(&706u16.to_be_bytes());
        capabilities[14..16].copy_from_slice(&706u16.to_be_bytes());
        let pages = match page & 0x3F {
            0x01 => recovery.to_vec(),
            0x2A => capabilities.to_vec(),
            0x3F => [&recovery[..], &capabilities].concat(),
            _ => return Err(INVALID_FIELD),
        };
        let mut bytes = vec![0; header];
        bytes.extend(pages);
        let length = bytes.len();
        // A CD of 120 mm with data.
        if header == 4 {
            (bytes[0], bytes[1]) = (length as u8 - 1, 1);
        } else {
            bytes[..2].copy_from_slice(&(length as u16 - 2).to_be_bytes());
            bytes[2] = 1;
        }
        Ok(bytes)
    }
}

/// INQUIRY: a CD drive whose disc can be taken out.
fn inquiry() -> Vec<u8> {
    let mut bytes = vec![0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0];
    bytes.extend(b"ESP0    CD-ROM          1.0 ");
    bytes
}
