//! The commands of a disk, by programmed input and output and by DMA.
//!
//! Sources: ATA/ATAPI-6 (T13/1410D), section 8 ("Command descriptions"); older commands that kernels give
//! still, from ATA-1 (X3.221).
//! ```text
//!  20 24 29 C4  read      30 34 39 C5  write     40 42  verify     C6  set multiple     EC  identify
//!  25 C8  read by DMA     35 CA  write by DMA    91  geometry      E7 EA  flush         EF  features
//!  10 70  seek            E0–E6  power
//! ```

use super::geometry::{Geometry, MOST_IN_A_BLOCK};
use super::identify;
use super::medium::Medium;
use super::mode::{DmaMode, SET_MODE};
use super::registers::{COUNT, DEVICE, FEATURES, HIGH, LOW, MIDDLE, Registers};
use super::reply::{ABORTED, NOT_FOUND, PROTECTED, Reply, UNCORRECTABLE};
use crate::devices::dma::Direction;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// Sectors that are still to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transfer {
    next: u64,
    left: u32,
    /// Sectors in a block.
    block: u32,
    /// Sectors of the block that is being moved.
    moving: u32,
    wide: bool,
    /// By DMA: bytes that have been moved, in sectors as they come.
    done: u64,
}

/// A disk.
#[derive(Debug, Clone)]
pub struct Disk {
    medium: Medium,
    read_only: bool,
    geometry: Geometry,
    /// Sectors in a block of READ MULTIPLE; 0 if it was switched off. It is on from the beginning, as in QEMU and behind
    /// a BIOS that sets it: drivers give the command without SET MULTIPLE.
    multiple: u8,
    transfer: Option<Transfer>,
    /// By DMA: the beginning of a sector, of which the rest is still to come.
    part: Vec<u8>,
    mode: DmaMode,
}

impl Disk {
    /// A disk that holds this.
    pub fn new(medium: Medium) -> Self {
        let geometry = Geometry::DEFAULT;
        Self {
            medium,
            read_only: false,
            geometry,
            multiple: MOST_IN_A_BLOCK,
            transfer: None,
            part: Vec::new(),
            mode: DmaMode::default(),
        }
    }

    /// It refuses to be written.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// What it holds.
    pub fn medium(&self) -> &Medium {
        &self.medium
    }

    /// Its sectors.
    pub fn sectors(&self) -> u64 {
        self.medium.size() / SECTOR
    }

    /// What was under way is not any more.
    pub fn reset(&mut self) {
        (self.transfer, self.multiple, self.geometry) = (None, MOST_IN_A_BLOCK, Geometry::DEFAULT);
        self.part.clear();
    }

    /// A command.
    pub fn command(&mut self, code: u8, registers: &mut Registers) -> Reply {
        self.transfer = None;
        self.part.clear();
        let multiple = u32::from(self.multiple);
        match code {
            // NOP aborts always.
            0x00 => Reply::Failed(ABORTED),
            0x20 | 0x21 => self.read(registers, false, 1),
            0x24 => self.read(registers, true, 1),
            0x29 if multiple > 0 => self.read(registers, true, multiple),
            0xC4 if multiple > 0 => self.read(registers, false, multiple),
            0x30 | 0x31 | 0x3C => self.write(registers, false, 1),
            0x34 => self.write(registers, true, 1),
            0x39 if multiple > 0 => self.write(registers, true, multiple),
            0xC5 if multiple > 0 => self.write(registers, false, multiple),
            0xC8 | 0xC9 => self.read_by_dma(registers, false),
            0x25 => self.read_by_dma(registers, true),
            0xCA | 0xCB => self.write_by_dma(registers, false),
            0x35 => self.write_by_dma(registers, true),
            0x40 | 0x41 => self.verify(registers, false),
            0x42 => self.verify(registers, true),
            // Recalibrate and seek: the head is wherever it is wanted. Power modes: it never sleeps. Flush:
            // there is no cache.
            0x10..=0x1F | 0x70..=0x7F | 0xE0..=0xE3 | 0xE6 | 0x94..=0x97 | 0xE7 | 0xEA => {
                Reply::Done
            }
            0xE5 | 0x98 => {
                registers.set(COUNT, 0xFF); // Active.
                Reply::Done
            }
            0x91 => {
                let heads = u32::from(registers.get(DEVICE) & 0xF) + 1;
                self.geometry = Geometry { heads, sectors: registers.get(COUNT).into() };
                Reply::Done
            }
            0xC6 => self.set_multiple(registers.get(COUNT)),
            0xEC => {
                let (sectors, multiple) = (self.sectors(), self.multiple);
                Reply::Send(identify::disk(sectors, self.geometry, multiple, self.mode))
            }
            0xEF => self.set_features(registers),
            _ => Reply::Failed(ABORTED),
        }
    }

    /// The host has read a block.
    pub fn sent(&mut self, registers: &mut Registers) -> Reply {
        match self.moved(registers) {
            Some(()) => self.send(registers),
            None => Reply::Quiet,
        }
    }

    /// The host has filled a block.
    pub fn taken(&mut self, bytes: &[u8], registers: &mut Registers) -> Reply {
        let Some(transfer) = self.transfer else { return Reply::Quiet };
        if self.medium.write(transfer.next * SECTOR, bytes).is_err() {
            return self.fail(UNCORRECTABLE, registers);
        }
        match self.moved(registers) {
            Some(()) => Reply::TakeMore(self.block()),
            None => Reply::Done,
        }
    }

    /// The bus master takes the next bytes.
    ///
    /// # Errors
    /// What the command comes to, if they cannot be read.
    pub fn hand_over(&mut self, count: usize, registers: &mut Registers) -> Result<Vec<u8>, Reply> {
        let Some(transfer) = self.transfer.as_mut() else { return Err(Reply::Failed(ABORTED)) };
        let mut bytes = vec![0; count];
        if self.medium.read(transfer.next * SECTOR + transfer.done, &mut bytes).is_err() {
            return Err(self.fail(UNCORRECTABLE, registers));
        }
        transfer.done += count as u64;
        Ok(bytes)
    }

    /// The bus master brings the next bytes. Only whole sectors are written.
    ///
    /// # Errors
    /// What the command comes to, if they cannot be written.
    pub fn receive(&mut self, bytes: &[u8], registers: &mut Registers) -> Result<(), Reply> {
        let Some(transfer) = self.transfer.as_mut() else { return Err(Reply::Failed(ABORTED)) };
        self.part.extend(bytes);
        let whole = self.part.len() - self.part.len() % SECTOR as usize;
        let written =
            self.medium.write(transfer.next * SECTOR + transfer.done, &self.part[..whole]);
        if written.is_err() {
            return Err(self.fail(UNCORRECTABLE, registers));
        }
        transfer.done += whole as u64;
        self.part.drain(..whole);
        Ok(())
    }

    /// The bus master has moved all.
    pub fn moved_all(&mut self, registers: &mut Registers) -> Reply {
        registers.set(COUNT, 0);
        self.show(registers, -1);
        self.transfer = None;
        Reply::Done
    }

    fn read_by_dma(&mut self, registers: &mut Registers, wide: bool) -> Reply {
        match self.begin(registers, wide, 1) {
            Ok(()) => Reply::Dma(Direction::ToMemory, self.rest()),
            Err(reply) => reply,
        }
    }

    fn write_by_dma(&mut self, registers: &mut Registers, wide: bool) -> Reply {
        if self.read_only {
            return Reply::Failed(PROTECTED | ABORTED);
        }
        match self.begin(registers, wide, 1) {
            Ok(()) => Reply::Dma(Direction::FromMemory, self.rest()),
            Err(reply) => reply,
        }
    }

    fn read(&mut self, registers: &mut Registers, wide: bool, block: u32) -> Reply {
        match self.begin(registers, wide, block) {
            Ok(()) => self.send(registers),
            Err(reply) => reply,
        }
    }

    fn write(&mut self, registers: &mut Registers, wide: bool, block: u32) -> Reply {
        if self.read_only {
            return Reply::Failed(PROTECTED | ABORTED);
        }
        match self.begin(registers, wide, block) {
            Ok(()) => Reply::Take(self.block()),
            Err(reply) => reply,
        }
    }

    fn verify(&mut self, registers: &mut Registers, wide: bool) -> Reply {
        match self.begin(registers, wide, 1) {
            Ok(()) => {
                self.transfer = None;
                Reply::Done
            }
            Err(reply) => reply,
        }
    }

    /// Begins to move sectors, if they are there. Those before the end are not moved for those behind it.
    fn begin(&mut self, registers: &Registers, wide: bool, block: u32) -> Result<(), Reply> {
        let Geometry { heads, sectors } = self.geometry;
        let next = registers.address(wide, heads, sectors).ok_or(Reply::Failed(NOT_FOUND))?;
        let left = registers.sectors(wide);
        if next + u64::from(left) > self.sectors() {
            return Err(Reply::Failed(NOT_FOUND));
        }
        let moving = block.min(left);
        self.transfer = Some(Transfer { next, left, block, moving, wide, done: 0 });
        Ok(())
    }

    /// Bytes of all the sectors that are still to be moved.
    fn rest(&self) -> usize {
        self.transfer.map_or(0, |transfer| transfer.left as usize * SECTOR as usize)
    }

    /// Bytes of the block that is being moved.
    fn block(&self) -> usize {
        self.transfer.map_or(0, |transfer| transfer.moving as usize * SECTOR as usize)
    }

    fn send(&mut self, registers: &mut Registers) -> Reply {
        let Some(transfer) = self.transfer else { return Reply::Quiet };
        let mut bytes = vec![0; self.block()];
        match self.medium.read(transfer.next * SECTOR, &mut bytes) {
            Ok(()) => Reply::Send(bytes),
            Err(_) => self.fail(UNCORRECTABLE, registers),
        }
    }

    /// A block has been moved: the next one, if there is one.
    fn moved(&mut self, registers: &mut Registers) -> Option<()> {
        let transfer = self.transfer.as_mut()?;
        transfer.next += u64::from(transfer.moving);
        transfer.left -= transfer.moving;
        transfer.moving = transfer.block.min(transfer.left);
        registers.set(COUNT, transfer.left as u8);
        if transfer.left == 0 {
            self.show(registers, -1);
            self.transfer = None;
            return None;
        }
        Some(())
    }

    fn fail(&mut self, bits: u8, registers: &mut Registers) -> Reply {
        self.show(registers, 0);
        self.transfer = None;
        Reply::Failed(bits)
    }

    /// Where the transfer stands, by number.
    fn show(&self, registers: &mut Registers, offset: i64) {
        let Some(transfer) = self.transfer else { return };
        let at = (transfer.next + transfer.done / SECTOR).saturating_add_signed(offset);
        let by_number = transfer.wide || registers.get(DEVICE) & 0x40 != 0;
        if !by_number {
            return;
        }
        registers.set(LOW, at as u8);
        registers.set(MIDDLE, (at >> 8) as u8);
        registers.set(HIGH, (at >> 16) as u8);
        if !transfer.wide {
            let device = registers.get(DEVICE) & 0xF0 | (at >> 24) as u8 & 0xF;
            registers.set(DEVICE, device);
        }
    }

    fn set_multiple(&mut self, count: u8) -> Reply {
        let valid = count == 0 || count.is_power_of_two() && count <= MOST_IN_A_BLOCK;
        if !valid {
            return Reply::Failed(ABORTED);
        }
        self.multiple = count;
        Reply::Done
    }

    /// SET FEATURES: what can be said to a drive without a cache.
    fn set_features(&mut self, registers: &Registers) -> Reply {
        match registers.get(FEATURES) {
            // Write cache, read look-ahead, defaults after a reset: on and off.
            0x02 | 0x82 | 0x55 | 0xAA | 0x66 | 0xCC => Reply::Done,
            SET_MODE if self.mode.select(registers.get(COUNT)).is_some() => Reply::Done,
            _ => Reply::Failed(ABORTED),
        }
    }
}
