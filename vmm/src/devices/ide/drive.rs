//! A drive as its registers show it: how a command begins, moves its data and ends.
//!
//! What the commands mean is the [`Unit`]'s, a disk or a CD. Between the two is one small language: the
//! drive hands on a command, a buffer that was read empty or one that was filled, and the unit says what
//! comes next ([`Reply`]).
//! ```text
//!              ┌──────────────────────────── next block ◄───────────┐
//!   command ─► BSY ─┬─► DRQ, data to the host ─── read empty ───────┤
//!                   ├─► DRQ, data from the host ─ filled ─► BSY ────┤
//!                   └─► done, or ERR ◄──────────────────────────────┘
//!   command by DMA ─► DRQ, for the bus master ─ all moved ─► BSY ─► done, or ERR
//! ```
//! Data and the end of a command never come at once, so that a kernel which sets up what its interrupt handler needs only after
//! the command has time for it, as with any drive of metal.
//!
//! Sources: ATA/ATAPI-6 (T13/1410D), sections 7 ("Interface register definitions") and 9 ("Protocol").

use super::cdrom::Cdrom;
use super::disk::Disk;
use super::registers::{COMMAND, FEATURES, Registers};
use super::reply::{ABORTED, Reply};
use crate::devices::dma::Direction;

const BUSY: u8 = 0x80;
/// The drive takes commands.
pub const READY: u8 = 0x40;
/// A seek is complete; obsolete, and expected.
const SOUGHT: u8 = 0x10;
const DATA: u8 = 0x08;
const ERROR: u8 = 0x01;

/// From a command, or the last byte of a block, to what comes of it, in nanoseconds.
const LATENCY: u64 = 20_000;

/// What a drive is.
#[derive(Debug, Clone)]
pub enum Unit {
    /// A disk.
    Disk(Disk),
    /// A CD.
    Cdrom(Cdrom),
}

/// Where a command stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Busy until this time; then this comes.
    Busy(u64, Reply),
    /// The host reads the buffer.
    Sending,
    /// The host fills the buffer.
    Taking,
    /// The bus master moves bytes, which way and how many.
    Dma(Direction, usize),
}

/// A drive: its registers, and the unit behind them.
#[derive(Debug, Clone)]
pub struct Drive {
    registers: Registers,
    status: u8,
    error: u8,
    phase: Phase,
    buffer: Vec<u8>,
    at: usize,
    interrupt: bool,
    now: u64,
    unit: Unit,
}

impl Drive {
    /// A drive after power-on.
    pub fn new(unit: Unit) -> Self {
        let mut drive = Self {
            registers: Registers::default(),
            status: 0,
            error: 0,
            phase: Phase::Idle,
            buffer: Vec::new(),
            at: 0,
            interrupt: false,
            now: 0,
            unit,
        };
        drive.reset();
        drive
    }

    /// The unit.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// What it is after a reset; error 1 says that the diagnostic found nothing.
    pub fn reset(&mut self) {
        (self.phase, self.interrupt, self.error) = (Phase::Idle, false, 1);
        self.registers.set(super::registers::DEVICE, 0);
        match &mut self.unit {
            Unit::Disk(disk) => {
                disk.reset();
                self.registers.sign(0, 0);
                self.status = READY | SOUGHT;
            }
            Unit::Cdrom(cdrom) => {
                cdrom.reset();
                self.registers.sign(0x14, 0xEB);
                self.status = 0;
            }
        }
    }

    /// Time goes on.
    pub fn advance_to(&mut self, now: u64) {
        self.now = self.now.max(now);
        if matches!(self.phase, Phase::Busy(until, _) if until <= self.now)
            && let Phase::Busy(_, reply) = std::mem::replace(&mut self.phase, Phase::Idle)
        {
            self.come(reply);
        }
    }

    /// When it has something to say, if it is at work.
    pub fn deadline(&self) -> Option<u64> {
        match self.phase {
            Phase::Busy(until, _) => Some(until),
            _ => None,
        }
    }

    /// INTRQ.
    pub fn interrupts(&self) -> bool {
        self.interrupt
    }

    /// The status, without a look at the interrupt.
    pub fn status(&self) -> u8 {
        match self.phase {
            Phase::Busy(..) => BUSY,
            Phase::Sending | Phase::Taking | Phase::Dma(..) => self.status | DATA,
            Phase::Idle => self.status,
        }
    }

    /// BSY.
    pub fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Busy(..))
    }

    /// Reads a register of the command block; `earlier`: what was written before the last write.
    pub fn read(&mut self, register: u8, earlier: bool) -> u8 {
        match register {
            FEATURES => self.error,
            COMMAND => {
                self.interrupt = false;
                self.status()
            }
            _ if earlier => self.registers.previous(register),
            _ => self.registers.get(register),
        }
    }

    /// The host writes a register; a drive at work takes no notice.
    pub fn write(&mut self, register: u8, value: u8) {
        if !matches!(self.phase, Phase::Busy(..)) {
            self.registers.write(register, value);
        }
    }

    /// The host gives a command.
    pub fn command(&mut self, code: u8) {
        if matches!(self.phase, Phase::Busy(..)) {
            return;
        }
        (self.interrupt, self.error, self.phase) = (false, 0, Phase::Idle);
        self.status &= !ERROR;
        let reply = match &mut self.unit {
            Unit::Disk(disk) => disk.command(code, &mut self.registers),
            Unit::Cdrom(cdrom) => cdrom.command(code, &mut self.registers),
        };
        if !matches!(self.unit, Unit::Cdrom(_)) || code == 0xA0 {
            self.status |= READY | SOUGHT;
        }
        self.follow(reply);
    }

    /// The diagnostic, which every drive does when one of them is told to.
    pub fn diagnose(&mut self) {
        self.reset();
        self.phase = Phase::Busy(self.now + LATENCY, Reply::Done);
    }

    /// The host reads data; all ones if there is none.
    pub fn read_data(&mut self, bytes: &mut [u8]) {
        bytes.fill(0xFF);
        if self.phase != Phase::Sending {
            return;
        }
        let count = bytes.len().min(self.buffer.len() - self.at);
        bytes[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        if self.at == self.buffer.len() {
            self.phase = Phase::Idle;
            let reply = match &mut self.unit {
                Unit::Disk(disk) => disk.sent(&mut self.registers),
                Unit::Cdrom(cdrom) => cdrom.sent(&mut self.registers),
            };
            self.follow(reply);
        }
    }

    /// The host writes data.
    pub fn write_data(&mut self, bytes: &[u8]) {
        if self.phase != Phase::Taking {
            return;
        }
        let count = bytes.len().min(self.buffer.len() - self.at);
        self.buffer[self.at..self.at + count].copy_from_slice(&bytes[..count]);
        self.at += count;
        if self.at == self.buffer.len() {
            self.phase = Phase::Idle;
            let reply = match &mut self.unit {
                Unit::Disk(disk) => disk.taken(&self.buffer, &mut self.registers),
                Unit::Cdrom(cdrom) => cdrom.packet(&self.buffer, &mut self.registers),
            };
            self.follow(reply);
        }
    }

    /// What the bus master is to move: which way, and how many bytes.
    pub fn wants_dma(&self) -> Option<(Direction, usize)> {
        match self.phase {
            Phase::Dma(direction, left) => Some((direction, left)),
            _ => None,
        }
    }

    /// The bus master takes the next bytes; none if the command has failed for them.
    pub fn hand_over(&mut self, count: usize) -> Option<Vec<u8>> {
        let Phase::Dma(Direction::ToMemory, left) = &mut self.phase else { return None };
        let bytes = match &mut self.unit {
            Unit::Disk(disk) => disk.hand_over(count, &mut self.registers),
            Unit::Cdrom(cdrom) => cdrom.hand_over(count, &mut self.registers),
        };
        match bytes {
            Ok(bytes) => {
                *left = left.saturating_sub(count);
                Some(bytes)
            }
            Err(reply) => {
                self.follow(reply);
                None
            }
        }
    }

    /// The bus master brings the next bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        let Phase::Dma(Direction::FromMemory, left) = &mut self.phase else { return };
        let taken = match &mut self.unit {
            Unit::Disk(disk) => disk.receive(bytes, &mut self.registers),
            Unit::Cdrom(_) => Err(Reply::Failed(ABORTED)),
        };
        *left = left.saturating_sub(bytes.len());
        if let Err(reply) = taken {
            self.follow(reply);
        }
    }

    /// The bus master has moved all.
    pub fn moved_all(&mut self) {
        let reply = match &mut self.unit {
            Unit::Disk(disk) => disk.moved_all(&mut self.registers),
            Unit::Cdrom(cdrom) => cdrom.moved_all(&mut self.registers),
        };
        self.follow(reply);
    }

    /// The bus master moves no more, though there is more. The drive does not hear of it, and gives no interrupt; that it
    /// takes the next command without a reset is QEMU's way.
    pub fn abandon(&mut self) {
        self.phase = Phase::Busy(self.now + LATENCY, Reply::Quiet);
    }

    /// What comes next comes a little later, but for what the host knows anyway. The first block is wanted at
    /// once: some drivers send it right behind the command, without a look at the status.
    fn follow(&mut self, reply: Reply) {
        match reply {
            Reply::Quiet => {}
            Reply::Take(count) => self.take(count),
            Reply::Dma(direction, count) => self.phase = Phase::Dma(direction, count),
            reply => self.phase = Phase::Busy(self.now + LATENCY, reply),
        }
    }

    fn come(&mut self, reply: Reply) {
        match reply {
            Reply::Done => self.interrupt = true,
            Reply::Quiet => {}
            Reply::Take(count) => self.take(count),
            Reply::Dma(direction, count) => self.phase = Phase::Dma(direction, count),
            Reply::Failed(bits) => {
                (self.error, self.interrupt) = (bits, true);
                self.status |= ERROR;
            }
            Reply::Send(bytes) => {
                (self.buffer, self.at, self.phase, self.interrupt) =
                    (bytes, 0, Phase::Sending, true);
            }
            Reply::TakeMore(count) => {
                self.take(count);
                self.interrupt = true;
            }
        }
    }

    fn take(&mut self, count: usize) {
        (self.buffer, self.at, self.phase) = (vec![0; count], 0, Phase::Taking);
    }
}
