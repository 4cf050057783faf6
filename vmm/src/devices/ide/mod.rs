//! Disks and CDs on two IDE channels, by programmed input and output or by a bus master, on IRQ 14 and 15.
//!
//! ```text
//!  1F0–1F7, 3F6 ─► channel 0 ─┬─► drive 0        170–177, 376 ─► channel 1 ─┬─► drive 0
//!  base 4 + 0–7     IRQ 14    └─► drive 1        base 4 + 8–F     IRQ 15     └─► drive 1
//! ```
//! Both drives of a channel hear each write to the command block, and the one that bit 4 of 1F6 selects
//! answers. 3F6 reads as the status without a look at the interrupt; written, it resets both (bit 2), holds
//! the interrupt back (bit 1), or lets the earlier byte of a register be read (bit 7). The
//! controller has both channels, whether there are drives or not: one without a drive reads as 0, so that nobody waits
//! for it, as all ones would have who waits until a drive is busy no more.
//!
//! Source: ATA/ATAPI-6 (T13/1410D), sections 7 and 9; "Device 0 responses for device 1" for one that is alone.

pub mod bus_master;
pub mod cdrom;
pub mod disk;
pub mod drive;
pub mod geometry;
pub mod identify;
pub mod medium;
pub mod mode;
pub mod registers;
pub mod reply;

pub use cdrom::Cdrom;
pub use disk::Disk;
pub use drive::{Drive, Unit};
pub use geometry::Geometry;
pub use medium::Medium;

use super::device::Device;
use super::dma::Direction;
use super::transfer::{Moved, Transfer};
use bus_master::{BusMaster, DESCRIPTOR, Next};
use registers::{COMMAND, DEVICE};

/// The interrupt lines of the channels.
pub const IRQS: [u8; 2] = [14, 15];
/// Drives that there can be.
pub const DRIVES: usize = 4;
/// The register beside the command block, 3F6.
pub const CONTROL: u8 = 8;

const RESET: u8 = 0x04;
const NO_INTERRUPT: u8 = 0x02;
const EARLIER: u8 = 0x80;

/// A cable with two drives at most.
#[derive(Debug, Clone, Default)]
struct Channel {
    drives: [Option<Drive>; 2],
    selected: usize,
    control: u8,
    bus_master: BusMaster,
    /// What it wants of memory, until that is done.
    asked: Option<Next>,
    /// What the interrupt line was when it was last looked at.
    line: bool,
}

impl Channel {
    fn is_there(&self) -> bool {
        self.drives.iter().any(Option::is_some)
    }

    fn selected(&mut self) -> Option<&mut Drive> {
        self.drives[self.selected].as_mut()
    }

    fn read(&mut self, register: u8) -> u8 {
        let earlier = self.control & EARLIER != 0;
        let Some(drive) = self.selected() else {
            // The drive that is there answers for the other one, with 0 for a status.
            return 0;
        };
        match register {
            CONTROL => drive.status(),
            register => drive.read(register, earlier),
        }
    }

    fn write(&mut self, register: u8, value: u8) {
        match register {
            CONTROL => {
                let before = std::mem::replace(&mut self.control, value);
                if value & RESET != 0 && before & RESET == 0 {
                    self.drives.iter_mut().flatten().for_each(Drive::reset);
                    self.selected = 0;
                }
            }
            // EXECUTE DEVICE DIAGNOSTIC is for both.
            COMMAND if value == 0x90 => {
                self.drives.iter_mut().flatten().for_each(Drive::diagnose);
                self.selected = 0;
            }
            COMMAND => {
                if let Some(drive) = self.selected() {
                    drive.command(value);
                }
            }
            register => {
                // A write lets the earlier bytes rest.
                self.control &= !EARLIER;
                if register == DEVICE {
                    self.selected = usize::from(value >> 4 & 1);
                }
                for drive in self.drives.iter_mut().flatten() {
                    drive.write(register, value);
                }
            }
        }
    }

    /// What the bus master wants of memory, for a drive that has something for it.
    fn take_transfer(&mut self) -> Option<Transfer> {
        while self.bus_master.is_active() {
            let drive = self.drives[self.selected].as_mut()?;
            let (direction, left) = drive.wants_dma()?;
            let next = self.bus_master.next(left);
            let transfer = match (next, direction) {
                (Next::Descriptor(at), _) => Transfer::FromMemory(at, DESCRIPTOR),
                (Next::Data(at, count), Direction::FromMemory) => Transfer::FromMemory(at, count),
                (Next::Data(at, count), Direction::ToMemory) => {
                    Transfer::ToMemory(at, drive.hand_over(count)?)
                }
                (Next::TableEnds, _) => {
                    drive.abandon();
                    self.bus_master.end();
                    continue;
                }
            };
            self.asked = Some(next);
            return Some(transfer);
        }
        None
    }

    /// What came of the transfer that was taken last.
    fn moved(&mut self, moved: Moved<'_>) {
        let Some(drive) = self.drives[self.selected].as_mut() else { return };
        match self.asked.take() {
            Some(_) if !moved.answered => {
                drive.abandon();
                self.bus_master.refused();
            }
            Some(Next::Descriptor(_)) => {
                if let Ok(descriptor) = moved.bytes.try_into() {
                    self.bus_master.describe(descriptor);
                }
            }
            Some(Next::Data(_, count)) => {
                self.bus_master.advance(count);
                drive.receive(moved.bytes);
                if let Some((_, 0)) = drive.wants_dma() {
                    drive.moved_all();
                    self.bus_master.end();
                }
            }
            Some(Next::TableEnds) | None => {}
        }
    }

    /// The line rises, and a transfer ends, as the bus master sees it.
    fn settle(&mut self) {
        if !self.drives.iter().flatten().any(Drive::is_busy) {
            self.bus_master.conclude();
        }
        let line = self.interrupts();
        if line && !self.line {
            self.bus_master.interrupted();
        }
        self.line = line;
    }

    fn interrupts(&self) -> bool {
        let drive = self.drives[self.selected].as_ref();
        self.control & NO_INTERRUPT == 0 && drive.is_some_and(Drive::interrupts)
    }
}

/// Both channels.
#[derive(Debug, Clone, Default)]
pub struct Ide {
    channels: [Channel; 2],
}

impl Ide {
    /// These drives: 0 and 1 are on the first channel, 2 and 3 on the second. Those behind the fourth have no
    /// place.
    pub fn new(units: impl IntoIterator<Item = Option<Unit>>) -> Self {
        let mut ide = Self::default();
        for (index, unit) in units.into_iter().enumerate().take(DRIVES) {
            ide.channels[index / 2].drives[index % 2] = unit.map(Drive::new);
        }
        ide
    }

    /// Whether any drive is there.
    pub fn is_there(&self) -> bool {
        self.channels.iter().any(Channel::is_there)
    }

    /// The drives that are there, by number.
    pub fn drives(&self) -> impl Iterator<Item = (usize, &Drive)> {
        let all = self.channels.iter().flat_map(|channel| &channel.drives).enumerate();
        all.filter_map(|(index, drive)| Some((index, drive.as_ref()?)))
    }

    /// Cylinders, heads and sectors of a track, if drive `number` is a disk.
    pub fn geometry(&self, number: usize) -> Option<(u16, u8, u8)> {
        let (_, drive) = self.drives().find(|(at, _)| *at == number)?;
        let Unit::Disk(disk) = drive.unit() else { return None };
        let Geometry { heads, sectors } = Geometry::DEFAULT;
        Some((Geometry::DEFAULT.cylinders(disk.sectors()), heads as u8, sectors as u8))
    }

    /// The drive of a channel that answers.
    pub fn selected(&self, channel: usize) -> Option<&Drive> {
        let channel = self.channels.get(channel)?;
        channel.drives[channel.selected].as_ref()
    }

    /// Reads a register of a channel.
    pub fn read(&mut self, channel: usize, register: u8) -> u8 {
        let value = self.channels[channel].read(register);
        self.channels[channel].settle();
        value
    }

    /// Writes a register of a channel.
    pub fn write(&mut self, channel: usize, register: u8, value: u8) {
        self.channels[channel].write(register, value);
        self.channels[channel].settle();
    }

    /// Reads register 0 to 7 of a channel's bus master.
    pub fn read_bus_master(&self, channel: usize, register: u8) -> u8 {
        self.channels[channel].bus_master.read(register)
    }

    /// Writes register 0 to 7 of a channel's bus master.
    pub fn write_bus_master(&mut self, channel: usize, register: u8, value: u8) {
        self.channels[channel].bus_master.write(register, value);
    }

    /// What a bus master wants of memory, and on which channel.
    pub fn take_transfer(&mut self) -> Option<(usize, Transfer)> {
        let mut channels = self.channels.iter_mut().enumerate();
        channels.find_map(|(number, channel)| Some((number, channel.take_transfer()?)))
    }

    /// What came of the transfer that was taken last from a channel.
    pub fn moved(&mut self, channel: usize, moved: Moved<'_>) {
        self.channels[channel].moved(moved);
    }

    /// Reads data.
    pub fn read_data(&mut self, channel: usize, bytes: &mut [u8]) {
        bytes.fill(0xFF);
        if let Some(drive) = self.channels[channel].selected() {
            drive.read_data(bytes);
        }
    }

    /// Writes data.
    pub fn write_data(&mut self, channel: usize, bytes: &[u8]) {
        if let Some(drive) = self.channels[channel].selected() {
            drive.write_data(bytes);
        }
    }
}

impl Device for Ide {
    fn advance_to(&mut self, now: u64) {
        for channel in &mut self.channels {
            channel.drives.iter_mut().flatten().for_each(|drive| drive.advance_to(now));
            channel.settle();
        }
    }

    fn deadline(&self, is_open: &dyn Fn(u8) -> bool) -> Option<u64> {
        let channels = self.channels.iter().zip(IRQS);
        let heard = channels
            .filter(|(channel, irq)| channel.control & NO_INTERRUPT == 0 && is_open(*irq))
            .flat_map(|(channel, _)| channel.drives.iter().flatten());
        heard.filter_map(Drive::deadline).min()
    }

    fn drive(&self, line: &mut dyn FnMut(u8, bool)) {
        for (channel, irq) in self.channels.iter().zip(IRQS) {
            line(irq, channel.interrupts());
        }
    }
}

#[cfg(test)]
mod tests;
