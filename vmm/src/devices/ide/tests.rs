//! The channels as a kernel's driver meets them.

mod dma;

use super::registers::{COUNT, FEATURES, HIGH, LOW, MIDDLE};
use super::*;
use proptest::prelude::*;

/// A channel's first drive with a driver, and time that goes on.
struct Driver {
    ide: Ide,
    now: u64,
}

impl Driver {
    fn new(units: impl IntoIterator<Item = Option<Unit>>) -> Self {
        Driver { ide: Ide::new(units), now: 0 }
    }

    fn with_disk(sectors: usize) -> Self {
        let bytes: Vec<u8> = (0..sectors).flat_map(|sector| [sector as u8; 512]).collect();
        Self::new([Some(Unit::Disk(Disk::new(Medium::of_bytes(bytes))))])
    }

    fn with_cdrom(sectors: usize) -> Self {
        let bytes: Vec<u8> = (0..sectors).flat_map(|sector| [sector as u8; 2048]).collect();
        Self::new([Some(Unit::Cdrom(Cdrom::new(Medium::of_bytes(bytes))))])
    }

    fn write(&mut self, register: u8, value: u8) {
        self.ide.write(0, register, value);
    }

    fn read(&mut self, register: u8) -> u8 {
        self.ide.read(0, register)
    }

    fn line(&self) -> bool {
        let mut level = false;
        self.ide.drive(&mut |irq, high| level |= irq == 14 && high);
        level
    }

    /// Waits for the drive, and returns its status; the interrupt was raised.
    fn wait(&mut self) -> u8 {
        self.now = self.ide.deadline(&|_| true).expect("the drive is at work");
        assert_eq!(self.read(CONTROL) & 0x80, 0x80, "busy until then");
        self.ide.advance_to(self.now);
        self.read(CONTROL)
    }

    fn command(&mut self, code: u8, address: u32, count: u8) -> u8 {
        self.write(COUNT, count);
        self.write(LOW, address as u8);
        self.write(MIDDLE, (address >> 8) as u8);
        self.write(HIGH, (address >> 16) as u8);
        self.write(DEVICE, 0xE0 | (address >> 24) as u8);
        self.write(COMMAND, code);
        self.settle()
    }

    /// Waits for the drive unless it has answered at once.
    fn settle(&mut self) -> u8 {
        match self.ide.deadline(&|_| true) {
            Some(_) => self.wait(),
            None => self.read(CONTROL),
        }
    }

    fn data(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        for word in bytes.chunks_mut(2) {
            self.ide.read_data(0, word);
        }
        bytes
    }

    /// Sends a packet and returns the whole answer and the last status.
    fn packet(&mut self, packet: &[u8], limit: u16) -> (Vec<u8>, u8) {
        self.write(DEVICE, 0xA0);
        self.write(FEATURES, 0);
        self.write(MIDDLE, limit as u8);
        self.write(HIGH, (limit >> 8) as u8);
        self.write(COMMAND, 0xA0);
        assert_eq!(self.read(CONTROL) & 0x88, 0x08, "the packet is wanted at once");
        assert_eq!(self.read(COUNT) & 3, 1);
        assert!(!self.line());
        let mut bytes = [0; 12];
        bytes[..packet.len()].copy_from_slice(packet);
        bytes.chunks(2).for_each(|word| self.ide.write_data(0, word));
        let mut answer = Vec::new();
        loop {
            let status = self.wait();
            assert!(self.line(), "each block and the end interrupt");
            if status & 0x08 == 0 {
                assert_eq!(self.read(COUNT) & 3, 3);
                return (answer, self.read(COMMAND));
            }
            assert_eq!(self.read(COUNT) & 3, 2);
            let count = u16::from_le_bytes([self.read(MIDDLE), self.read(HIGH)]);
            assert!(count <= limit || limit == 0);
            self.read(COMMAND);
            answer.extend(self.data(count.into()));
        }
    }
}

#[test]
fn sectors_are_read_one_after_the_other_with_an_interrupt_each() {
    let mut driver = Driver::with_disk(20);
    driver.command(0x20, 5, 3);
    for sector in 5..8 {
        assert!(driver.line());
        assert_eq!(driver.read(COMMAND), 0x58, "ready, sought, data");
        assert!(!driver.line(), "the status takes the interrupt back");
        assert_eq!(driver.data(512), [sector; 512]);
        if sector < 7 {
            driver.wait();
        }
    }
    assert_eq!((driver.read(COMMAND), driver.line()), (0x50, false), "no interrupt at the end");
    assert_eq!((driver.read(COUNT), driver.read(LOW)), (0, 7), "the last sector's address");
}

#[test]
fn what_is_written_is_read_back() {
    let mut driver = Driver::with_disk(20);
    driver.command(0x30, 2, 2);
    assert!(!driver.line(), "the first block is wanted without an interrupt");
    for sector in 0..2 {
        assert_eq!(driver.read(COMMAND) & 0x88, 0x08);
        (0..256).for_each(|_| driver.ide.write_data(0, &[0xA0 + sector, 0xB0]));
        let status = driver.wait();
        assert!(driver.line());
        assert_eq!(status & 0x08 != 0, sector == 0);
    }
    driver.command(0x20, 3, 1);
    assert_eq!(driver.data(4), [0xA1, 0xB0, 0xA1, 0xB0]);
}

#[test]
fn several_sectors_are_one_block_as_long_as_that_is_on() {
    let mut driver = Driver::with_disk(40);
    assert_eq!(driver.command(0xC4, 4, 2) & 0x09, 0x08, "nobody has set it");
    assert_eq!(driver.data(2 * 512)[512], 5, "both are one block");
    assert_eq!(driver.command(0xC6, 0, 0) & 1, 0);
    assert_eq!(driver.command(0xC4, 0, 4) & 1, 1, "it is off");
    assert_eq!(driver.command(0xC6, 0, 3) & 1, 1, "3 is no power of two");
    assert_eq!(driver.command(0xC6, 0, 8) & 1, 0);
    driver.command(0xC4, 10, 9);
    assert_eq!(driver.data(8 * 512)[7 * 512], 17);
    driver.wait();
    assert_eq!(driver.data(512)[0], 18);
}

#[test]
fn a_command_of_48_bits_takes_the_earlier_bytes_too() {
    let mut driver = Driver::with_disk(600);
    for (register, value) in [(COUNT, 0), (LOW, 0), (MIDDLE, 0), (HIGH, 0)] {
        driver.write(register, value);
    }
    assert_eq!(driver.command(0x24, 0x201, 1) & 0x09, 0x08);
    assert_eq!(driver.data(1)[0], 1);
    driver.write(CONTROL, 0x80);
    assert_eq!(driver.read(MIDDLE), 0, "the earlier byte");
}

#[test]
fn a_sector_behind_the_end_is_not_found_and_a_protected_disk_is_not_written() {
    let mut driver = Driver::with_disk(20);
    assert_eq!(driver.command(0x20, 19, 2) & 0x09, 0x01);
    assert_eq!(driver.read(FEATURES), reply::NOT_FOUND);
    assert_eq!(driver.command(0x77, 0, 0) & 1, 0, "a seek");
    let disk = Disk::new(Medium::of_bytes(vec![0; 512])).read_only();
    let mut driver = Driver::new([Some(Unit::Disk(disk))]);
    assert_eq!(driver.command(0x30, 0, 1) & 0x09, 0x01);
    assert_eq!(driver.read(FEATURES) & reply::PROTECTED, reply::PROTECTED);
}

#[test]
fn a_drive_that_is_not_there_reads_as_0_beside_one_that_is() {
    let mut driver = Driver::with_disk(1);
    driver.write(DEVICE, 0xF0);
    assert_eq!(driver.read(COMMAND), 0);
    driver.write(DEVICE, 0xE0);
    assert_eq!(driver.read(COMMAND), 0x50);
}

#[test]
fn a_channel_without_a_drive_reads_as_0_whether_there_are_others_or_not() {
    for mut ide in [Driver::with_disk(1).ide, Driver::new([]).ide] {
        assert_eq!(ide.read(1, COMMAND), 0);
        ide.write(1, COUNT, 5);
        assert_eq!(ide.read(1, COUNT), 0);
        assert_eq!(ide.read(1, CONTROL), 0);
    }
}

#[test]
fn a_reset_shows_what_each_drive_is() {
    let cdrom = Cdrom::new(Medium::of_bytes(vec![0; 2048]));
    let disk = Disk::new(Medium::of_bytes(vec![0; 512]));
    let mut driver = Driver::new([Some(Unit::Disk(disk)), Some(Unit::Cdrom(cdrom))]);
    driver.write(CONTROL, 0x04);
    driver.write(CONTROL, 0x00);
    for (select, signature) in [(0xA0, [1, 1, 0, 0]), (0xB0, [1, 1, 0x14, 0xEB])] {
        driver.write(DEVICE, select);
        assert_eq!([COUNT, LOW, MIDDLE, HIGH].map(|register| driver.read(register)), signature);
    }
    driver.write(COMMAND, 0xEC);
    assert_eq!(driver.wait() & 1, 1, "a CD is identified by another command");
    assert_eq!((driver.read(MIDDLE), driver.read(HIGH)), (0x14, 0xEB));
    driver.write(COMMAND, 0xA1);
    assert_eq!(driver.wait() & 0x09, 0x08);
    assert_eq!(driver.data(512)[..2], [0xC0, 0x85]);
}

#[test]
fn interrupts_are_held_back_while_the_host_says_so() {
    let mut driver = Driver::with_disk(1);
    driver.write(CONTROL, 0x02);
    driver.write(COMMAND, 0xEC);
    assert_eq!(driver.ide.deadline(&|_| true), None, "nobody is to be woken");
    driver.ide.advance_to(1_000_000);
    assert!(!driver.line());
    driver.write(CONTROL, 0);
    assert!(driver.line());
}

#[test]
fn a_disc_is_read_in_blocks_of_the_hosts_size() {
    let mut driver = Driver::with_cdrom(30);
    let (bytes, status) = driver.packet(&[0x28, 0, 0, 0, 0, 7, 0, 0, 2], 3000);
    assert_eq!((bytes.len(), bytes[0], bytes[4095], status & 1), (4096, 7, 8, 0));
    let (bytes, _) = driver.packet(&[0x25], 8);
    assert_eq!(bytes, [0, 0, 0, 29, 0, 0, 8, 0]);
    let (bytes, _) = driver.packet(&[0x12, 0, 0, 0, 36], 36);
    assert_eq!((bytes.len(), bytes[0], &bytes[8..12]), (36, 5, &b"ESP0"[..]));
    let (bytes, _) = driver.packet(&[0x43, 0, 0, 0, 0, 0, 0, 0, 20], 0xFFFE);
    assert_eq!((bytes[1], bytes[3], bytes[14], bytes[19]), (18, 1, 0xAA, 30));
    let (bytes, _) = driver.packet(&[0x43, 2, 0, 0, 0, 0, 0xAA, 0, 12], 0xFFFE);
    assert_eq!(bytes[8..12], [0, 0, 2, 30], "in minutes, seconds and frames");
    let (bytes, _) = driver.packet(&[0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 28], 28);
    assert_eq!((bytes.len(), bytes[8]), (28, 0x2A));
}

#[test]
fn a_packet_that_fails_leaves_its_reason() {
    let mut driver = Driver::with_cdrom(30);
    let (bytes, status) = driver.packet(&[0x28, 0, 0, 0, 0, 29, 0, 0, 2], 0xFFFE);
    assert_eq!((bytes.len(), status & 1), (0, 1));
    assert_eq!(driver.read(FEATURES) >> 4, 5);
    let (sense, _) = driver.packet(&[0x03, 0, 0, 0, 18], 18);
    assert_eq!((sense[2], sense[12]), (5, 0x21));
    let (sense, _) = driver.packet(&[0x03, 0, 0, 0, 18], 18);
    assert_eq!((sense[2], sense[12]), (0, 0), "told once");
    assert_eq!(driver.packet(&[0x00], 0).1 & 1, 0);
    assert_eq!(driver.packet(&[0xFF], 0).1 & 1, 1);
}

#[derive(Debug, Clone)]
enum Act {
    Read(usize, u8),
    Write(usize, u8, u8),
    ReadData(usize, usize),
    WriteData(usize, Vec<u8>),
    BusMaster(usize, u8, u8),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let channel = 0..2usize;
    prop_oneof![
        (channel.clone(), 1..9u8).prop_map(|(c, r)| Act::Read(c, r)),
        (channel.clone(), 1..9u8, any::<u8>()).prop_map(|(c, r, v)| Act::Write(c, r, v)),
        (
            channel.clone(),
            Just(COMMAND),
            prop_oneof![
                Just(0x20u8),
                Just(0x30),
                Just(0xC4),
                Just(0xC5),
                Just(0x24),
                Just(0x34),
                Just(0xC6),
                Just(0xC8),
                Just(0xCA),
                Just(0x25),
                Just(0x35),
                Just(0xA0),
                Just(0xEC),
                Just(0xA1),
                Just(0x91),
            ]
        )
            .prop_map(|(c, r, v)| Act::Write(c, r, v)),
        (channel.clone(), 0..8u8, any::<u8>()).prop_map(|(c, r, v)| Act::BusMaster(c, r, v)),
        (channel.clone(), Just(0), 0..16u8).prop_map(|(c, r, v)| Act::BusMaster(c, r, v)),
        (channel.clone(), 0..600usize).prop_map(|(c, n)| Act::ReadData(c, n)),
        (channel, prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(c, b)| Act::WriteData(c, b)),
        (0..100_000u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn nothing_that_a_guest_does_is_a_panic(acts in prop::collection::vec(act(), 0..200)) {
        let disk = |size| Some(Unit::Disk(Disk::new(Medium::of_bytes(vec![0; size]))));
        let cdrom = Some(Unit::Cdrom(Cdrom::new(Medium::of_bytes(vec![0; 8 * 2048]))));
        let mut ide = Ide::new([disk(512 * 300), cdrom, None, disk(512)]);
        let mut memory = dma::Memory::of_noise();
        let mut now = 0;
        for act in acts {
            match act {
                Act::Read(channel, register) => { ide.read(channel, register); }
                Act::Write(channel, register, value) => { ide.write(channel, register, value); }
                Act::ReadData(channel, count) => { ide.read_data(channel, &mut vec![0; count]); }
                Act::WriteData(channel, bytes) => { ide.write_data(channel, &bytes); }
                Act::BusMaster(channel, register, value) => {
                    ide.read_bus_master(channel, register);
                    ide.write_bus_master(channel, register, value);
                }
                Act::Wait(time) => {
                    now += time;
                    ide.advance_to(now);
                }
            }
            memory.serve(&mut ide);
            ide.deadline(&|_| true);
            ide.drive(&mut |_, _| {});
        }
    }
}
