//! The controller against its data sheet, as a driver meets it.

use super::*;
use crate::devices::ide::Medium;
use proptest::prelude::*;

const MEGABYTES_1_44: usize = 1_474_560;

/// A controller whose disk in drive A has its sector's number in each sector.
fn controller() -> (Floppy, Dma) {
    let mut image = vec![0; MEGABYTES_1_44];
    for (number, sector) in image.chunks_mut(512).enumerate() {
        sector[..2].copy_from_slice(&(number as u16).to_le_bytes());
    }
    let disk = FloppyDisk::new(Medium::of_bytes(image)).expect("it is of 1.44 MB");
    (Floppy::new([Some(disk), None]), Dma::default())
}

fn interrupts(floppy: &Floppy) -> bool {
    let mut high = false;
    floppy.drive(&mut |irq, level| high = irq == IRQ && level);
    high
}

fn send(floppy: &mut Floppy, bytes: &[u8]) {
    for byte in bytes {
        assert_eq!(floppy.read(4).unwrap() & 0xC0, 0x80, "ready for the host");
        floppy.write(5, *byte);
    }
}

fn result(floppy: &mut Floppy) -> Vec<u8> {
    let mut bytes = Vec::new();
    while floppy.read(4).unwrap() & 0xC0 == 0xC0 {
        bytes.push(floppy.read(5).unwrap());
    }
    bytes
}

fn pass_time(floppy: &mut Floppy, dma: &mut Dma) {
    let now = floppy.now;
    floppy.advance_to(now + TIME, dma);
}

/// Channel 2 for `count` bytes at 0x8000.
fn program(dma: &mut Dma, mode: u8, count: u16) {
    let [low, high] = (count - 1).to_le_bytes();
    for (register, value) in
        [(0xC, 0), (0xB, mode), (4, 0), (4, 0x80), (5, low), (5, high), (0xA, 2)]
    {
        dma.write(0, register, value);
    }
}

fn seek(floppy: &mut Floppy, dma: &mut Dma, cylinder: u8) {
    send(floppy, &[0x0F, 0, cylinder]);
    pass_time(floppy, dma);
    send(floppy, &[0x08]);
    assert_eq!(result(floppy), [0x20, cylinder]);
}

#[test]
fn a_reset_is_told_of_by_an_interrupt_and_four_senses() {
    let (mut floppy, _) = controller();
    floppy.write(2, 0x08);
    assert_eq!(floppy.read(4), Some(0), "not ready while it is held in reset");
    floppy.write(2, 0x0C);
    assert!(interrupts(&floppy));
    for drive in 0..4 {
        send(&mut floppy, &[0x08]);
        assert_eq!(result(&mut floppy), [0xC0 | drive, 0]);
    }
    send(&mut floppy, &[0x08]);
    assert_eq!((result(&mut floppy), interrupts(&floppy)), (vec![0x80], false));
}

#[test]
fn seeking_takes_a_moment_and_ends_by_an_interrupt() {
    let (mut floppy, mut dma) = controller();
    assert_eq!(floppy.read(7), Some(0x80), "the disk is new");
    send(&mut floppy, &[0x0F, 0, 5]);
    assert_eq!((floppy.read(4), interrupts(&floppy)), (Some(0x01), false));
    assert_eq!(floppy.deadline(&|_| true), Some(TIME));
    pass_time(&mut floppy, &mut dma);
    assert!(interrupts(&floppy));
    send(&mut floppy, &[0x08]);
    assert_eq!(result(&mut floppy), [0x20, 5]);
    assert_eq!(floppy.read(7), Some(0), "it has been stepped");
    send(&mut floppy, &[0x07, 0]);
    pass_time(&mut floppy, &mut dma);
    send(&mut floppy, &[0x08]);
    assert_eq!(result(&mut floppy), [0x20, 0]);
    // There is no drive B, and no track 0 of it.
    send(&mut floppy, &[0x07, 1]);
    pass_time(&mut floppy, &mut dma);
    send(&mut floppy, &[0x08]);
    assert_eq!(result(&mut floppy), [0x71, 0]);
}

#[test]
fn sectors_go_to_memory_until_the_count_ends() {
    let (mut floppy, mut dma) = controller();
    seek(&mut floppy, &mut dma, 1);
    program(&mut dma, 0x46, 1024);
    // Cylinder 1, head 1, from sector 17: the second one is the last.
    send(&mut floppy, &[0xE6, 4, 1, 1, 17, 2, 18, 27, 255]);
    assert_eq!((floppy.read(4), floppy.take_transfer()), (Some(0x10), None));
    pass_time(&mut floppy, &mut dma);
    for (address, number) in [(0x8000, 36 + 18 + 16), (0x8200, 36 + 18 + 17u16)] {
        let Some(Transfer::ToMemory(at, bytes)) = floppy.take_transfer() else { panic!("nothing") };
        assert_eq!((at, bytes.len(), &bytes[..2]), (address, 512, &number.to_le_bytes()[..]));
    }
    assert!(interrupts(&floppy));
    assert_eq!(result(&mut floppy), [0, 0, 0, 2, 0, 1, 2]);
    assert!(!interrupts(&floppy));
}

/// A BIOS names the last sector that it wants as the track's, which lies on the other head.
#[test]
fn a_read_of_both_tracks_goes_on_at_the_other_head_whatever_its_end_is() {
    let (mut floppy, mut dma) = controller();
    program(&mut dma, 0x46, 2048);
    send(&mut floppy, &[0xE6, 0, 0, 0, 17, 2, 20, 27, 255]);
    pass_time(&mut floppy, &mut dma);
    for (address, number) in [(0x8000, 16), (0x8200, 17), (0x8400, 18), (0x8600, 19u16)] {
        let Some(Transfer::ToMemory(at, bytes)) = floppy.take_transfer() else { panic!("nothing") };
        assert_eq!((at, &bytes[..2]), (address, &number.to_le_bytes()[..]));
    }
    assert_eq!(result(&mut floppy)[..6], [4, 0, 0, 0, 1, 3]);
}

#[test]
fn what_is_written_is_read_back() {
    let (mut floppy, mut dma) = controller();
    program(&mut dma, 0x4A, 512);
    send(&mut floppy, &[0xC5, 0, 0, 0, 3, 2, 18, 27, 255]);
    pass_time(&mut floppy, &mut dma);
    assert_eq!(floppy.take_transfer(), Some(Transfer::FromMemory(0x8000, 512)));
    floppy.give(&[0x5A; 512]);
    assert_eq!(result(&mut floppy), [0, 0, 0, 0, 0, 4, 2]);
    program(&mut dma, 0x46, 512);
    send(&mut floppy, &[0xE6, 0, 0, 0, 3, 2, 18, 27, 255]);
    pass_time(&mut floppy, &mut dma);
    assert_eq!(floppy.take_transfer(), Some(Transfer::ToMemory(0x8000, vec![0x5A; 512])));
}

#[test]
fn what_cannot_be_had_is_said_by_the_status() {
    for (command, status) in [
        ([0xE6, 0, 3, 0, 1, 2, 18, 27, 255], [0x40, 0x04, 0x10]),
        ([0xE6, 0, 0, 0, 19, 2, 36, 27, 255], [0x40, 0x04, 0]),
        ([0xE6, 0, 0, 0, 0, 2, 18, 27, 255], [0x40, 0x04, 0]),
        ([0xE6, 1, 0, 0, 1, 2, 18, 27, 255], [0x49, 0x01, 0]),
        ([0xE6, 0, 0, 0, 1, 3, 18, 27, 255], [0x40, 0x04, 0]),
        // Sector 18 is the last, and more is wanted.
        ([0x66, 0, 0, 0, 18, 2, 18, 27, 255], [0x40, 0x80, 0]),
    ] {
        let (mut floppy, mut dma) = controller();
        program(&mut dma, 0x46, 4096);
        send(&mut floppy, &command);
        pass_time(&mut floppy, &mut dma);
        assert_eq!(result(&mut floppy)[..3], status, "{command:x?}");
    }
}

#[test]
fn a_protected_disk_is_not_written() {
    let disk =
        FloppyDisk::new(Medium::of_bytes(vec![0; MEGABYTES_1_44])).map(FloppyDisk::read_only);
    let (mut floppy, mut dma) = (Floppy::new([disk, None]), Dma::default());
    program(&mut dma, 0x4A, 512);
    send(&mut floppy, &[0xC5, 0, 0, 0, 3, 2, 18, 27, 255]);
    pass_time(&mut floppy, &mut dma);
    assert_eq!(floppy.take_transfer(), None);
    assert_eq!(result(&mut floppy)[..2], [0x40, 0x02]);
    send(&mut floppy, &[0x04, 0]);
    assert_eq!(result(&mut floppy), [0x78]);
}

#[test]
fn without_dma_bytes_come_one_by_one() {
    let (mut floppy, mut dma) = controller();
    send(&mut floppy, &[0x03, 0xDF, 0x03]);
    send(&mut floppy, &[0x46, 0, 0, 0, 18, 2, 18, 27, 255]);
    pass_time(&mut floppy, &mut dma);
    let mut bytes = Vec::new();
    while floppy.read(4) == Some(0xF0) {
        bytes.push(floppy.read(5).unwrap());
    }
    assert_eq!((bytes.len(), bytes[0]), (512, 17));
    assert_eq!(result(&mut floppy), [0x40, 0x80, 0, 1, 0, 1, 2]);
    send(&mut floppy, &[0x45, 0, 0, 0, 18, 2, 18, 27, 255]);
    pass_time(&mut floppy, &mut dma);
    for _ in 0..512 {
        assert_eq!(floppy.read(4), Some(0xB0));
        floppy.write(5, 0x77);
    }
    assert_eq!(result(&mut floppy)[..2], [0x40, 0x80]);
}

#[test]
fn a_disks_size_tells_its_form() {
    let sectors = |size: u64| Geometry::of(size).map(|form| form.sectors);
    assert_eq!([1_474_560, 737_280, 1_228_800, 2_949_120].map(sectors), [18, 9, 15, 36].map(Some));
    assert_eq!([0, 512, 1_474_561, 1 << 30].map(sectors), [None; 4]);
    let mut none = Floppy::new([None, None]);
    assert_eq!((none.read(4), none.write(2, 0)), (None, None));
}

proptest! {
    /// Whatever is written in whatever order: no panic, and what is asked of memory is never without end.
    #[test]
    fn no_access_panics(
        accesses in proptest::collection::vec(
            (any::<bool>(), 0u8..8, prop_oneof![any::<u8>(), Just(0xE6), Just(0xC5), Just(2), Just(0x0D)], 0u64..300_000),
            0..300,
        ),
        modes in proptest::collection::vec((0u8..16, any::<u8>()), 0..30),
    ) {
        let (mut floppy, mut dma) = controller();
        for (register, value) in modes {
            dma.write(0, register, value);
        }
        dma.write(0, 0xA, 2);
        let mut now = 0;
        for (write, register, value, time) in accesses {
            now += time;
            floppy.advance_to(now, &mut dma);
            if write {
                floppy.write(register, value);
            } else {
                floppy.read(register);
            }
            let mut moved = 0;
            while let Some(transfer) = floppy.take_transfer() {
                match transfer {
                    Transfer::ToMemory(_, bytes) => moved += bytes.len(),
                    Transfer::FromMemory(_, length) => {
                        moved += length;
                        floppy.give(&vec![0; length]);
                    }
                }
            }
            prop_assert!(moved <= 0x2_0000);
            floppy.deadline(&|_| true);
        }
    }
}
