//! Any accesses to all devices of a PC, at any time: no panic, and no deadline in the past, which a run would wait for
//! in vain.
//!
//! Seven bytes are an access. The first chooses a device and how it is accessed, so that what is found goes deep into
//! one, and does not get lost among 65,536 ports.
#![no_main]

use esp0::devices::floppy::FloppyDisk;
use esp0::devices::ide::{Cdrom, Disk, Medium, Unit};
use esp0::devices::transfer::{Moved, Transfer};
use esp0::devices::{AccessSize, BootFrom, Devices};

const RAM: u64 = 16 << 20;
/// Bytes of an access.
const ACCESS: usize = 7;

/// The first port of each device, and how many it has.
const PORTS: [(u16, u16); 26] = [
    (0x00, 0x10),   // DMA 1
    (0x20, 2),      // 8259s
    (0x40, 4),      // 8254
    (0x60, 5),      // 8042
    (0x61, 1),      // speaker
    (0x70, 2),      // CMOS
    (0x80, 0x10),   // DMA pages, POST
    (0x92, 1),      // A20
    (0xA0, 2),      // 8259s
    (0xC0, 0x20),   // DMA 2
    (0xE9, 1),      // debug console
    (0xF4, 1),      // isa-debug-exit
    (0x170, 8),     // IDE, second channel
    (0x1F0, 8),     // IDE, first channel
    (0x376, 1),     // IDE, second channel
    (0x378, 3),     // parallel port
    (0x3C0, 0x20),  // VGA
    (0x3F0, 8),     // floppy, IDE
    (0x2F8, 8),     // second serial port
    (0x3F8, 8),     // serial port
    (0x4D0, 2),     // level-triggered lines
    (0x510, 2),     // firmware configuration
    (0xCF8, 8),     // PCI
    (0xC000, 0x10), // IDE bus master
    (0x604, 2),     // power
    (0x1CE, 2),     // VBE
];

/// Registers in memory, and how many bytes it is from one to the next: both APICs, and twice the HPET.
const PAGES: [(u64, u64); 4] =
    [(0xFEE0_0000, 16), (0xFEC0_0000, 16), (0xFED0_0000, 8), (0xFED0_0000, 4)];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut devices = machine();
    let mut now = 0;
    for access in bytes.chunks_exact(ACCESS) {
        let &[what, at, a, b, c, d, time] = access else { unreachable!("chunks of {ACCESS}") };
        let value = u32::from_le_bytes([a, b, c, d]);
        // From no time at all to four seconds.
        now += (1u64 << (time & 31)) * u64::from(time >> 5);
        devices.advance_to(now);
        if what & 0x80 == 0 {
            let size = [AccessSize::Byte, AccessSize::Word, AccessSize::Doubleword];
            let size = size[usize::from(what >> 5 & 3) % size.len()];
            let (first, count) = PORTS[usize::from(what & 31) % PORTS.len()];
            let port = first + u16::from(at >> 1) % count;
            if at & 1 == 0 {
                devices.port_read(port, size, now);
            } else {
                let _ = devices.port_write(port, size, value, now);
            }
        } else {
            let (page, step) = PAGES[usize::from(what & 1 | what >> 2 & 2)];
            let address = page + u64::from(at & 0xFE) / 2 * step;
            let size = 1 << (what >> 1 & 3);
            let mut data = [0; 8];
            data[..4].copy_from_slice(&value.to_le_bytes());
            if at & 1 == 0 {
                devices.memory_read(address, &mut data[..size], now);
            } else {
                devices.memory_write(address, &data[..size], now);
            }
        }
        transfer(&mut devices, value);
        if let Some(deadline) = devices.next_deadline() {
            assert!(deadline > now, "a deadline of {deadline} at {now}");
        }
        if devices.interrupt_pending() {
            devices.acknowledge_interrupt();
        }
        devices.take_console_output();
    }
});

/// A PC with a disk, a CD, and a floppy disk.
fn machine() -> Devices {
    let medium = |sectors: usize| Medium::of_bytes(vec![0x5A; sectors * 512]);
    let floppy = FloppyDisk::new(medium(2880));
    Devices::new(RAM)
        .with_drives([
            Some(Unit::Disk(Disk::new(medium(300)))),
            None,
            Some(Unit::Cdrom(Cdrom::new(medium(64)))),
        ])
        .with_floppies([floppy, None])
        .with_firmware(&[], BootFrom::Disk)
}

/// Does what the devices want of memory, of which there is some and some not.
fn transfer(devices: &mut Devices, value: u32) {
    while let Some((master, transfer)) = devices.take_transfer() {
        let wanted = match transfer {
            Transfer::ToMemory(..) => 0,
            Transfer::FromMemory(_, count) => count,
        };
        let bytes = vec![value as u8; wanted];
        devices.moved(master, Moved { bytes: &bytes, answered: value & 0x100 == 0 });
    }
}
