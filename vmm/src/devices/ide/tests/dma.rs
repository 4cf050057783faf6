//! The bus masters, as "Programming Interface for Bus Master IDE Controller" has them.

use super::*;

const START: u8 = 0x01;
const TO_MEMORY: u8 = 0x08;
const ACTIVE: u8 = 0x01;
const ERROR: u8 = 0x02;
const INTERRUPT: u8 = 0x04;

/// The end of a table.
const LAST: u32 = 1 << 31;
/// Where tables are put.
const TABLE: u32 = 0x1_0000;

/// Guest memory, from address 0 on.
pub(super) struct Memory(Vec<u8>);

impl Memory {
    fn new() -> Self {
        Memory(vec![0xEE; 256 << 10])
    }

    /// Whatever is a table there has everything in it.
    pub(super) fn of_noise() -> Self {
        let noise = (0..64u32 << 10).map(|index| index.wrapping_mul(0x9E37_79B9) >> 13);
        Memory(noise.flat_map(u32::to_le_bytes).collect())
    }

    fn part(&mut self, address: u32, count: usize) -> Option<&mut [u8]> {
        self.0.get_mut(address as usize..)?.get_mut(..count)
    }

    fn describe(&mut self, regions: &[(u32, u32)]) {
        for (region, at) in regions.iter().zip((TABLE..).step_by(8)) {
            let words = [region.0.to_le_bytes(), region.1.to_le_bytes()].concat();
            self.part(at, 8).unwrap().copy_from_slice(&words);
        }
    }

    /// Does what the bus masters want.
    pub(super) fn serve(&mut self, ide: &mut Ide) {
        while let Some((channel, transfer)) = ide.take_transfer() {
            let mut bytes = Vec::new();
            let answered = match transfer {
                Transfer::ToMemory(at, data) => {
                    self.part(at, data.len()).map(|there| there.copy_from_slice(&data)).is_some()
                }
                Transfer::FromMemory(at, count) => {
                    bytes = vec![0xFF; count];
                    self.part(at, count).map(|there| bytes.copy_from_slice(there)).is_some()
                }
            };
            ide.moved(channel, Moved { bytes: &bytes, answered });
        }
    }
}

impl Driver {
    fn status(&self) -> u8 {
        self.ide.read_bus_master(0, 2)
    }

    fn start(&mut self, direction: u8) {
        for (register, byte) in (4..8).zip(TABLE.to_le_bytes()) {
            self.ide.write_bus_master(0, register, byte);
        }
        self.ide.write_bus_master(0, 2, ERROR | INTERRUPT);
        self.ide.write_bus_master(0, 0, direction | START);
    }

    /// The end of a transfer: what the bus master, and then the drive, says of it.
    fn end(&mut self) -> (u8, u8) {
        let drive = self.wait();
        let status = self.status();
        self.ide.write_bus_master(0, 0, 0);
        assert_eq!(self.status() & ACTIVE, 0, "stopped");
        (status, drive)
    }

    /// A whole command, by this table.
    fn by_dma(&mut self, memory: &mut Memory, code: u8, sector: u32, count: u8) -> (u8, u8) {
        let direction = if matches!(code, 0xC8 | 0x25) { TO_MEMORY } else { 0 };
        // The earlier bytes, for the commands of 48 bits.
        for register in [COUNT, LOW, MIDDLE, HIGH] {
            self.write(register, 0);
        }
        self.command(code, sector, count);
        self.start(direction);
        memory.serve(&mut self.ide);
        self.end()
    }
}

#[test]
fn a_sector_goes_to_two_regions_and_an_interrupt_tells_the_end() {
    let (mut driver, mut memory) = (Driver::with_disk(20), Memory::new());
    memory.describe(&[(0x2000, 100), (0x3000, 412 | LAST)]);
    assert_eq!(driver.command(0xC8, 5, 1), 0x58, "the drive waits for the bus master");
    memory.serve(&mut driver.ide);
    assert_eq!((memory.0[0x2000], driver.status()), (0xEE, 0), "which has not been started");
    driver.start(TO_MEMORY);
    memory.serve(&mut driver.ide);
    assert_eq!((driver.status(), driver.line()), (ACTIVE, false), "under way");
    assert_eq!(driver.end(), (INTERRUPT, 0x50));
    assert!(driver.line());
    assert_eq!(memory.0[0x2000..0x2064], [5; 100]);
    assert_eq!(memory.0[0x3000..0x319C], [5; 412]);
    assert_eq!((memory.0[0x2064], memory.0[0x319C]), (0xEE, 0xEE));
    assert_eq!((driver.read(COUNT), driver.read(LOW)), (0, 5));
    driver.read(COMMAND);
    assert_eq!((driver.line(), driver.status()), (false, INTERRUPT), "kept until it is cleared");
    driver.ide.write_bus_master(0, 2, INTERRUPT | 0x20);
    assert_eq!(driver.status(), 0x20, "that drive 0 can do DMA is kept");
}

#[test]
fn start_may_come_before_the_command() {
    let (mut driver, mut memory) = (Driver::with_disk(20), Memory::new());
    memory.describe(&[(0x2000, 1024 | LAST)]);
    driver.start(TO_MEMORY);
    memory.serve(&mut driver.ide);
    assert_eq!((driver.status(), memory.0[0x2000]), (ACTIVE, 0xEE));
    driver.command(0xC9, 7, 2);
    memory.serve(&mut driver.ide);
    assert_eq!(driver.end(), (INTERRUPT, 0x50));
    assert_eq!((memory.0[0x21FF], memory.0[0x2200], memory.0[0x23FF]), (7, 8, 8));
}

#[test]
fn what_is_written_from_odd_pieces_is_read_back() {
    let (mut driver, mut memory) = (Driver::with_disk(20), Memory::new());
    for (index, byte) in memory.0[0x2000..0x2400].iter_mut().enumerate() {
        *byte = (index / 4) as u8;
    }
    memory.describe(&[(0x2000, 2), (0x2002, 700), (0x22BE, 322 | LAST)]);
    for code in [0xCA, 0xCB, 0x35] {
        assert_eq!(driver.by_dma(&mut memory, code, 3, 2), (INTERRUPT, 0x50), "{code:#x}");
    }
    memory.describe(&[(0x4000, 1024 | LAST)]);
    assert_eq!(driver.by_dma(&mut memory, 0x25, 3, 2), (INTERRUPT, 0x50));
    let (written, read) = memory.0.split_at(0x4000);
    assert_eq!(written[0x2000..0x2400], read[..0x400]);
}

#[test]
fn a_count_of_0_is_64_kib_and_bit_0_of_address_and_count_is_none() {
    let (mut driver, mut memory) = (Driver::with_disk(256), Memory::new());
    memory.describe(&[(0x2_0001, 0), (0x3_0000, 0x201 | LAST)]);
    assert_eq!(driver.by_dma(&mut memory, 0xC8, 0, 129), (INTERRUPT, 0x50));
    assert_eq!((memory.0[0x2_0000], memory.0[0x2_FFFF], memory.0[0x3_01FF]), (0, 127, 128));
    assert_eq!(memory.0[0x3_0200], 0xEE);
}

#[test]
fn a_table_with_more_room_than_the_transfer_leaves_the_master_active() {
    let (mut driver, mut memory) = (Driver::with_disk(20), Memory::new());
    for rest in [[(0x2000, 514 | LAST), (0, 0)], [(0x2000, 512), (0x3000, 2 | LAST)]] {
        memory.describe(&rest);
        assert_eq!(driver.by_dma(&mut memory, 0xC8, 1, 1), (INTERRUPT | ACTIVE, 0x50));
    }
}

#[test]
fn a_table_that_is_too_short_ends_without_an_interrupt_and_without_an_error() {
    let (mut driver, mut memory) = (Driver::with_disk(20), Memory::new());
    memory.describe(&[(0x2000, 512), (0x3000, 256 | LAST)]);
    assert_eq!(driver.by_dma(&mut memory, 0xC8, 1, 2), (0, 0x50));
    assert_eq!((memory.0[0x30FF], memory.0[0x3100], driver.line()), (2, 0xEE, false));
    // Of a sector that did not come whole nothing is written.
    memory.describe(&[(0x2000, 510 | LAST)]);
    assert_eq!(driver.by_dma(&mut memory, 0xCA, 9, 1), (0, 0x50));
    driver.command(0x20, 9, 1);
    assert_eq!(driver.data(512), [9; 512]);
}

#[test]
fn a_region_or_a_table_that_is_not_in_memory_is_an_error() {
    let (mut driver, mut memory) = (Driver::with_disk(20), Memory::new());
    for region in [(0x8000_0000, 512 | LAST), (0xFFFF_FFFE, 512 | LAST), (0x3_FF00, 512 | LAST)] {
        memory.describe(&[region]);
        for code in [0xC8, 0xCA] {
            assert_eq!(driver.by_dma(&mut memory, code, 1, 1), (ERROR, 0x50), "{region:x?}");
            assert!(!driver.line());
        }
    }
    memory.0.truncate(TABLE as usize);
    assert_eq!(driver.by_dma(&mut memory, 0xC8, 1, 1), (ERROR, 0x50));
    assert_eq!(driver.status(), ERROR, "kept until it is cleared");
}

#[test]
fn a_table_without_an_end_is_left_where_its_64_kib_end() {
    let bytes = vec![0; 65_536 * 512];
    let disk = Unit::Disk(Disk::new(Medium::of_bytes(bytes)));
    let (mut driver, mut memory) = (Driver::new([Some(disk)]), Memory::new());
    memory.describe(&[(0x2_0000, 2); 0x1_0000 / 8]);
    assert_eq!(driver.by_dma(&mut memory, 0x25, 0, 0), (0, 0x50));
}

#[test]
fn a_command_that_fails_tells_so_and_the_master_has_moved_nothing() {
    let (mut driver, mut memory) = (Driver::with_disk(20), Memory::new());
    memory.describe(&[(0x2000, 1024 | LAST)]);
    driver.start(TO_MEMORY);
    assert_eq!(driver.command(0xC8, 19, 2) & 0x09, 0x01);
    memory.serve(&mut driver.ide);
    assert_eq!((driver.status(), driver.read(FEATURES)), (INTERRUPT | ACTIVE, reply::NOT_FOUND));
    assert_eq!(memory.0[0x2000], 0xEE);
    let disk = Disk::new(Medium::of_bytes(vec![0; 512])).read_only();
    let mut driver = Driver::new([Some(Unit::Disk(disk))]);
    assert_eq!(driver.command(0xCA, 0, 1) & 0x09, 0x01);
    assert_eq!(driver.read(FEATURES) & reply::PROTECTED, reply::PROTECTED);
}

#[test]
fn the_interrupt_bit_is_of_any_interrupt_of_the_channel() {
    let mut driver = Driver::with_disk(20);
    driver.command(0x20, 0, 1);
    assert_eq!((driver.line(), driver.status()), (true, INTERRUPT));
    driver.ide.write_bus_master(0, 2, INTERRUPT);
    assert_eq!((driver.line(), driver.status()), (true, 0), "it tells that the line has risen");
    driver.write(CONTROL, 0x02);
    driver.command(0xEC, 0, 0);
    assert_eq!(driver.status(), 0, "held back");
}

#[test]
fn stopping_and_resetting_leave_nothing_under_way() {
    let (mut driver, mut memory) = (Driver::with_disk(20), Memory::new());
    memory.describe(&[(0x2000, 512 | LAST)]);
    driver.command(0xC8, 1, 1);
    driver.write(CONTROL, 0x04);
    driver.write(CONTROL, 0x00);
    driver.start(TO_MEMORY);
    memory.serve(&mut driver.ide);
    assert_eq!((memory.0[0x2000], driver.status()), (0xEE, ACTIVE), "the drive wants nothing");
    driver.ide.write_bus_master(0, 0, 0);
    assert_eq!(driver.status(), 0);
    let snapshot = driver.ide.clone();
    assert_eq!(driver.by_dma(&mut memory, 0xC8, 1, 1), (INTERRUPT, 0x50));
    driver.ide = snapshot;
    assert_eq!(driver.status(), 0, "a clone is a snapshot");
    assert_eq!(driver.by_dma(&mut memory, 0xC8, 2, 1), (INTERRUPT, 0x50));
    assert_eq!(memory.0[0x2000], 2);
}

#[test]
fn the_mode_that_was_set_is_told() {
    let mut driver = Driver::with_disk(1);
    let modes = |driver: &mut Driver| {
        driver.command(0xEC, 0, 0);
        let bytes = driver.data(512);
        [63, 88].map(|word: usize| u16::from_le_bytes([bytes[word * 2], bytes[word * 2 + 1]]))
    };
    assert_eq!(modes(&mut driver), [0x0007, 0x203F]);
    driver.write(FEATURES, 0x03);
    assert_eq!(driver.command(0xEF, 0, 0x22) & 1, 0);
    assert_eq!(modes(&mut driver), [0x0407, 0x003F]);
    assert_eq!(driver.command(0xEF, 0, 0x47) & 1, 1, "there is no such mode");
}

#[test]
fn a_packets_answer_goes_to_memory_if_the_host_wants_it_so() {
    let (mut driver, mut memory) = (Driver::with_cdrom(30), Memory::new());
    memory.describe(&[(0x2000, 2048), (0x3000, 2048 | LAST)]);
    let mut packet = |driver: &mut Driver, packet: [u8; 12]| {
        driver.write(DEVICE, 0xA0);
        driver.write(FEATURES, 1);
        driver.write(COMMAND, 0xA0);
        packet.chunks(2).for_each(|word| driver.ide.write_data(0, word));
        driver.start(TO_MEMORY);
        memory.serve(&mut driver.ide);
        (driver.end(), [memory.0[0x2000], memory.0[0x3000]])
    };
    let read = |sector, count| [0x28, 0, 0, 0, 0, sector, 0, 0, count, 0, 0, 0];
    assert_eq!(packet(&mut driver, read(7, 2)), ((INTERRUPT, 0x50), [7, 8]));
    assert_eq!((driver.read(COUNT) & 3, driver.line()), (3, true));
    let ((status, drive), _) = packet(&mut driver, read(29, 2));
    assert_eq!((status, drive & 1), (INTERRUPT | ACTIVE, 1), "behind the end");
    let short = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(packet(&mut driver, short), ((INTERRUPT | ACTIVE, 0x50), [0, 8]), "eight bytes");
    let (bytes, status) = driver.packet(&read(3, 1), 0xFFFE);
    assert_eq!((bytes.len(), bytes[0], status & 1), (2048, 3, 0), "and as ever without");
}
