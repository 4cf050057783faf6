//! The floppy controller, an Intel 82077AA, with one or two drives.
//!
//! Source: Intel 82077AA data sheet, "Register Set", "Controller Phases", "Command Set/Descriptions".
//! ```text
//!  0x3F2 digital output: 0–1 drive · 2 no reset · 3 IRQ and DMA · 4–7 motors
//!  0x3F4 main status: 7 ready for the host · 6 to the host · 5 without DMA · 4 busy · 0–3 seeks
//!        data rate (written)
//!  0x3F5 data      0x3F7 7 disk changed (read) · data rate (written)
//!
//!  command bytes ─► execution ─► result bytes
//!                    │  └─ seek, recalibrate: IRQ 6, and the result by SENSE INTERRUPT
//!                    └─ sectors, by DMA channel 2 or a byte at a time: IRQ 6 when they are through
//! ```
//! A command takes a moment and is done as a whole then. What is to be moved to or from memory is asked of whoever
//! has it ([`Floppy::take_transfer`]) before the guest goes on, so nobody sees that it happens one after the other.
//! There is a controller where there is a drive, and a drive where there is a disk in it.

mod command;
mod disk;

pub use disk::{FloppyDisk, Geometry};

use super::device::Device;
use super::dma::{Direction, Dma};
use super::transfer::Transfer;
use command::{Command, Id};
use std::collections::VecDeque;

/// The controller's interrupt line.
pub const IRQ: u8 = 6;
/// Its DMA channel.
pub const CHANNEL: usize = 2;
/// So many drives.
pub const DRIVES: usize = 2;

const READY: u8 = 0x80;
const TO_HOST: u8 = 0x40;
const WITHOUT_DMA: u8 = 0x20;
const BUSY: u8 = 0x10;

const NO_RESET: u8 = 0x04;
const INTERRUPTS: u8 = 0x08;

/// Status register 0.
const ABNORMAL: u8 = 0x40;
const INVALID: u8 = 0x80;
const POLLED: u8 = 0xC0;
const SEEK_END: u8 = 0x20;
const EQUIPMENT_CHECK: u8 = 0x10;
const NOT_READY: u8 = 0x08;
/// Status register 1.
const END_OF_CYLINDER: u8 = 0x80;
const DATA_ERROR: u8 = 0x20;
const NO_DATA: u8 = 0x04;
const NOT_WRITABLE: u8 = 0x02;
const MISSING_MARK: u8 = 0x01;
/// Status register 2.
const WRONG_CYLINDER: u8 = 0x10;

/// How long a command takes, in nanoseconds: less than a real one, and not nothing.
const TIME: u64 = 200_000;

/// What the controller is at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// It takes a command, of which these bytes are there.
    Command(Vec<u8>),
    /// The command is being executed.
    Execution(Command),
    /// Bytes go to the host one by one: those of sectors, and then the result.
    Reading(VecDeque<u8>, Vec<u8>),
    /// Bytes come from the host one by one.
    Writing(Command, Vec<u8>),
    /// These bytes are the result.
    Result(VecDeque<u8>),
}

/// The controller and its drives.
#[derive(Debug, Clone)]
pub struct Floppy {
    drives: [Option<FloppyDisk>; DRIVES],
    cylinders: [u8; 4],
    output: u8,
    phase: Phase,
    /// When the execution ends.
    done_at: Option<u64>,
    now: u64,
    interrupts: bool,
    /// What SENSE INTERRUPT tells of: a seek's ST0.
    sensed: VecDeque<u8>,
    /// SPECIFY and CONFIGURE, which are told and change nothing; of the first, bit 0 is: without DMA.
    specified: [u8; 2],
    configured: [u8; 2],
    locked: bool,
    perpendicular: u8,
    transfers: VecDeque<Transfer>,
    /// Where the bytes go that are asked of memory: drive, and offset on its disk.
    wanted: VecDeque<(usize, u64)>,
}

impl Floppy {
    /// A controller with these disks in its drives.
    pub fn new(drives: [Option<FloppyDisk>; DRIVES]) -> Self {
        Self {
            drives,
            cylinders: [0; 4],
            output: NO_RESET | INTERRUPTS,
            phase: Phase::Command(Vec::new()),
            done_at: None,
            now: 0,
            interrupts: false,
            sensed: VecDeque::new(),
            specified: [0; 2],
            configured: [0; 2],
            locked: false,
            perpendicular: 0,
            transfers: VecDeque::new(),
            wanted: VecDeque::new(),
        }
    }

    /// Whether there is a drive, and so a controller.
    pub fn is_there(&self) -> bool {
        self.drives.iter().any(Option::is_some)
    }

    /// The disks, by drive.
    pub fn disks(&self) -> impl Iterator<Item = (usize, &FloppyDisk)> {
        self.drives.iter().enumerate().filter_map(|(drive, disk)| Some((drive, disk.as_ref()?)))
    }

    /// Reads port 0x3F0 + `register`; `None` if nobody answers.
    pub fn read(&mut self, register: u8) -> Option<u8> {
        if !self.is_there() {
            return None;
        }
        Some(match register {
            2 => self.output,
            4 => self.main_status(),
            5 => self.read_data(),
            7 => {
                let drive = usize::from(self.output & 3);
                let changed = self.drives.get(drive).and_then(Option::as_ref);
                if changed.is_none_or(FloppyDisk::is_changed) { 0x80 } else { 0 }
            }
            _ => return None,
        })
    }

    /// Writes port 0x3F0 + `register`; `None` if nobody answers.
    pub fn write(&mut self, register: u8, value: u8) -> Option<()> {
        if !self.is_there() {
            return None;
        }
        match register {
            2 => {
                let was_reset = self.output & NO_RESET == 0;
                self.output = value;
                if value & NO_RESET == 0 {
                    self.reset();
                } else if was_reset {
                    self.come_out_of_reset();
                }
            }
            4 if value & 0x80 != 0 => {
                self.reset();
                self.come_out_of_reset();
            }
            5 => self.write_data(value),
            4 | 7 | 3 => {}
            _ => return None,
        }
        Some(())
    }

    /// What is to be moved, if something is.
    pub fn take_transfer(&mut self) -> Option<Transfer> {
        self.transfers.pop_front()
    }

    /// The bytes that the last [`Transfer::FromMemory`] asked for; none where there is no memory.
    pub fn give(&mut self, bytes: &[u8]) {
        if let Some((drive, offset)) = self.wanted.pop_front()
            && let Some(Some(disk)) = self.drives.get_mut(drive)
        {
            disk.write(offset, bytes);
        }
    }

    fn main_status(&self) -> u8 {
        if self.output & NO_RESET == 0 {
            return 0;
        }
        match &self.phase {
            Phase::Command(bytes) if bytes.is_empty() => READY,
            Phase::Command(_) => READY | BUSY,
            Phase::Execution(Command::Seek { drive, .. }) => 1 << (drive & 3),
            Phase::Execution(_) => BUSY,
            Phase::Reading(..) => READY | TO_HOST | WITHOUT_DMA | BUSY,
            Phase::Writing(..) => READY | WITHOUT_DMA | BUSY,
            Phase::Result(_) => READY | TO_HOST | BUSY,
        }
    }

    fn reset(&mut self) {
        self.phase = Phase::Command(Vec::new());
        self.done_at = None;
        self.interrupts = false;
        self.sensed.clear();
        if !self.locked {
            self.configured = [0; 2];
        }
    }

    /// "Polling": behind a reset each drive is told of once.
    fn come_out_of_reset(&mut self) {
        self.sensed = (0..4).map(|drive| POLLED | drive).collect();
        self.interrupts = true;
    }

    fn read_data(&mut self) -> u8 {
        match &mut self.phase {
            Phase::Result(bytes) => {
                let byte = bytes.pop_front().unwrap_or(0);
                self.interrupts = false;
                if bytes.is_empty() {
                    self.phase = Phase::Command(Vec::new());
                }
                byte
            }
            Phase::Reading(bytes, result) => {
                let byte = bytes.pop_front().unwrap_or(0);
                if bytes.is_empty() {
                    let result = std::mem::take(result);
                    self.tell(result);
                }
                byte
            }
            _ => 0,
        }
    }

    fn write_data(&mut self, value: u8) {
        if self.output & NO_RESET == 0 {
            return;
        }
        match &mut self.phase {
            Phase::Command(bytes) => {
                bytes.push(value);
                if bytes.len() >= command::length(bytes[0]) {
                    let command = command::decode(bytes);
                    self.begin(command);
                }
            }
            Phase::Writing(command, bytes) => {
                bytes.push(value);
                if bytes.len() >= disk::SECTOR {
                    let (command, bytes) = (command.clone(), std::mem::take(bytes));
                    self.sector_written(command, &bytes);
                }
            }
            // Nobody listens.
            Phase::Execution(_) | Phase::Reading(..) | Phase::Result(_) => {}
        }
    }

    /// The command is there: it is answered at once, or executed.
    fn begin(&mut self, command: Command) {
        self.phase = Phase::Command(Vec::new());
        let result = match command {
            Command::Specify(bytes) => {
                self.specified = bytes;
                return;
            }
            Command::Configure(bytes) => {
                self.configured = bytes;
                return;
            }
            Command::Perpendicular(byte) => {
                self.perpendicular = byte;
                return;
            }
            Command::SenseDrive { drive, head } => vec![self.drive_status(drive, head)],
            Command::SenseInterrupt => {
                self.interrupts = false;
                match self.sensed.pop_front() {
                    Some(status) => vec![status, self.cylinders[usize::from(status & 3)]],
                    None => vec![INVALID],
                }
            }
            Command::DumpRegisters => {
                let [a, b, c, d] = self.cylinders;
                let [e, f] = self.specified;
                let lock = u8::from(self.locked) << 7 | self.perpendicular;
                vec![a, b, c, d, e, f, 0, lock, self.configured[0], self.configured[1]]
            }
            Command::Version => vec![0x90],
            Command::Lock(lock) => {
                self.locked = lock;
                vec![u8::from(lock) << 4]
            }
            Command::Invalid => vec![INVALID],
            Command::Seek { .. } | Command::ReadId { .. } | Command::Format { .. } => {
                self.phase = Phase::Execution(command);
                self.done_at = Some(self.now + TIME);
                return;
            }
            Command::Sectors { .. } => {
                self.phase = Phase::Execution(command);
                self.done_at = Some(self.now + TIME);
                return;
            }
        };
        self.phase = Phase::Result(result.into());
    }

    /// ST3: two-sided, ready, track 0, write-protected.
    fn drive_status(&self, drive: u8, head: u8) -> u8 {
        let there = self.disk(drive);
        let protected = there.is_some_and(FloppyDisk::is_read_only);
        let track_0 = self.cylinders[usize::from(drive & 3)] == 0;
        0x28 | drive & 3 | head << 2 | u8::from(track_0) << 4 | u8::from(protected) << 6
    }

    fn disk(&self, drive: u8) -> Option<&FloppyDisk> {
        self.drives.get(usize::from(drive)).and_then(Option::as_ref)
    }

    /// The result is there, and the host is told.
    fn tell(&mut self, result: Vec<u8>) {
        self.phase = Phase::Result(result.into());
        self.interrupts = true;
    }

    /// The moment has come.
    fn execute(&mut self, dma: &mut Dma) {
        self.done_at = None;
        let idle = Phase::Command(Vec::new());
        let Phase::Execution(command) = std::mem::replace(&mut self.phase, idle) else { return };
        match command {
            Command::Seek { drive, cylinder } => {
                // Without a drive no track 0 comes.
                let there = self.drives.get_mut(usize::from(drive)).and_then(Option::as_mut);
                let failed = if there.is_none() && cylinder.is_none() {
                    ABNORMAL | EQUIPMENT_CHECK
                } else {
                    0
                };
                if let Some(disk) = there {
                    disk.stepped();
                }
                self.cylinders[usize::from(drive & 3)] = cylinder.unwrap_or(0);
                self.sensed.push_back(SEEK_END | failed | drive);
                self.interrupts = true;
            }
            Command::ReadId { drive, head } => {
                let id = Id { cylinder: self.cylinders[usize::from(drive & 3)], head, sector: 1 };
                let there = self.disk(drive).is_some_and(|disk| disk.offset(id).is_some());
                let (status, first) = if there { (0, 0) } else { (ABNORMAL, MISSING_MARK) };
                self.tell(id.result(status | head << 2 | drive, first, 0));
            }
            Command::Format { drive, head, sectors, filler } => {
                self.format(drive, head, sectors, filler, dma);
            }
            Command::Sectors { write: true, .. } if self.specified[1] & 1 != 0 => {
                self.phase = Phase::Writing(command, Vec::new());
                self.interrupts = true;
            }
            Command::Sectors { .. } if self.specified[1] & 1 != 0 => self.read_bytewise(command),
            Command::Sectors { .. } => self.move_sectors(command, dma),
            _ => {}
        }
    }

    /// Why a sector cannot be had: ST0, ST1, ST2; where it lies on its disk if it can.
    /// How many sectors a track of the disk in `drive` has.
    fn sectors(&self, drive: u8) -> u8 {
        self.disk(drive).map_or(u8::MAX, |disk| disk.geometry().sectors)
    }

    fn look_for(&self, drive: u8, id: Id, write: bool) -> Result<u64, [u8; 3]> {
        let Some(disk) = self.disk(drive) else {
            return Err([ABNORMAL | NOT_READY, MISSING_MARK, 0]);
        };
        if id.cylinder != self.cylinders[usize::from(drive & 3)] {
            return Err([ABNORMAL, NO_DATA, WRONG_CYLINDER]);
        }
        if write && disk.is_read_only() {
            return Err([ABNORMAL, NOT_WRITABLE, 0]);
        }
        disk.offset(id).ok_or([ABNORMAL, NO_DATA, 0])
    }

    /// Reads or writes sector by sector until the DMA's count, or the track, has come to its end.
    fn move_sectors(&mut self, command: Command, dma: &mut Dma) {
        let Command::Sectors { write, drive, mut id, size, end, tracks } = command else { return };
        let direction = if write { Direction::FromMemory } else { Direction::ToMemory };
        let status = loop {
            if size != 2 {
                break [ABNORMAL, NO_DATA, 0];
            }
            let offset = match self.look_for(drive, id, write) {
                Ok(offset) => offset,
                Err(status) => break status,
            };
            let mut bytes = vec![0; disk::SECTOR];
            if !write && !self.disk(drive).is_some_and(|disk| disk.read(offset, &mut bytes)) {
                break [ABNORMAL, DATA_ERROR, 0];
            }
            let (mut done, mut ended) = (0, false);
            while done < disk::SECTOR && !ended {
                // A channel that is masked takes nothing: an overrun on a real machine.
                let Some(span) = dma.next(CHANNEL, direction) else { break };
                let count = span.length.min(disk::SECTOR - done);
                match (span.address, write) {
                    (Some(address), false) => {
                        let part = bytes[done..done + count].to_vec();
                        self.transfers.push_back(Transfer::ToMemory(address, part));
                    }
                    (Some(address), true) => {
                        self.transfers.push_back(Transfer::FromMemory(address, count));
                        self.wanted.push_back((drive.into(), offset + done as u64));
                    }
                    (None, _) => {}
                }
                ended = dma.moved(CHANNEL, count);
                done += count;
            }
            if done == 0 {
                break [ABNORMAL, 0x10, 0];
            }
            let wraps = id.advance(end, self.sectors(drive), tracks);
            if ended {
                break [0, 0, 0];
            }
            if wraps {
                break [ABNORMAL, END_OF_CYLINDER, 0];
            }
        };
        let place = (id.head & 1) << 2 | drive;
        self.tell(id.result(status[0] | place, status[1], status[2]));
    }

    /// Without DMA: all sectors up to the end of the track, for the host to take a byte at a time.
    fn read_bytewise(&mut self, command: Command) {
        let Command::Sectors { drive, mut id, size, end, tracks, .. } = command else { return };
        let mut all = VecDeque::new();
        let status = loop {
            let offset = match self.look_for(drive, id, false) {
                Ok(offset) if size == 2 => offset,
                Ok(_) => break [ABNORMAL, NO_DATA, 0],
                Err(status) => break status,
            };
            let mut bytes = vec![0; disk::SECTOR];
            if !self.disk(drive).is_some_and(|disk| disk.read(offset, &mut bytes)) {
                break [ABNORMAL, DATA_ERROR, 0];
            }
            all.extend(bytes);
            if id.advance(end, self.sectors(drive), tracks) {
                break [ABNORMAL, END_OF_CYLINDER, 0];
            }
        };
        let result = id.result(status[0] | (id.head & 1) << 2 | drive, status[1], status[2]);
        if all.is_empty() {
            return self.tell(result);
        }
        self.phase = Phase::Reading(all, result);
        self.interrupts = true;
    }

    /// Without DMA: the host has given all of a sector.
    fn sector_written(&mut self, command: Command, bytes: &[u8]) {
        let Command::Sectors { drive, mut id, size, end, tracks, .. } = command else { return };
        let status = match self.look_for(drive, id, true) {
            Ok(offset) if size == 2 => {
                if let Some(Some(disk)) = self.drives.get_mut(usize::from(drive)) {
                    disk.write(offset, bytes);
                }
                if !id.advance(end, self.sectors(drive), tracks) {
                    let command = Command::Sectors { write: true, drive, id, size, end, tracks };
                    self.phase = Phase::Writing(command, Vec::new());
                    return;
                }
                [ABNORMAL, END_OF_CYLINDER, 0]
            }
            Ok(_) => [ABNORMAL, NO_DATA, 0],
            Err(status) => status,
        };
        self.tell(id.result(status[0] | (id.head & 1) << 2 | drive, status[1], status[2]));
    }

    /// Fills the sectors of a track. The DMA gives four bytes for each, its address, which is where it lies anyway.
    fn format(&mut self, drive: u8, head: u8, sectors: u8, filler: u8, dma: &mut Dma) {
        let mut id = Id { cylinder: self.cylinders[usize::from(drive & 3)], head, sector: 1 };
        let mut status = [0, 0, 0];
        for sector in 1..=sectors {
            id.sector = sector;
            match self.look_for(drive, id, true) {
                Ok(offset) => {
                    if let Some(Some(disk)) = self.drives.get_mut(usize::from(drive)) {
                        disk.write(offset, &[filler; disk::SECTOR]);
                    }
                }
                Err(why) => {
                    status = why;
                    break;
                }
            }
            for _ in 0..4 {
                dma.moved(CHANNEL, 1);
            }
        }
        self.tell(id.result(status[0] | head << 2 | drive, status[1], status[2]));
    }

    /// Moves time on; commands that are through then are done.
    pub fn advance_to(&mut self, now: u64, dma: &mut Dma) {
        self.now = self.now.max(now);
        if self.done_at.is_some_and(|at| self.now >= at) {
            self.execute(dma);
        }
    }
}

impl Device for Floppy {
    fn deadline(&self, is_open: &dyn Fn(u8) -> bool) -> Option<u64> {
        self.done_at.filter(|_| is_open(IRQ))
    }

    fn drive(&self, line: &mut dyn FnMut(u8, bool)) {
        if self.is_there() {
            line(IRQ, self.interrupts && self.output & INTERRUPTS != 0);
        }
    }
}

#[cfg(test)]
mod tests;
