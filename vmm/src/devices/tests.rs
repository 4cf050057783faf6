//! The devices together, as a kernel meets them.

use proptest::prelude::*;

use super::*;

const MILLISECOND: u64 = 1_000_000;

fn out(devices: &mut Devices, port: u16, value: u8, now: u64) {
    assert_eq!(devices.port_write(port, AccessSize::Byte, value.into(), now), Effect::None);
}

fn input(devices: &mut Devices, port: u16, now: u64) -> u8 {
    devices.port_read(port, AccessSize::Byte, now) as u8
}

/// Vectors 0x20 and 0x28, IRQ 0 and 4 unmasked, timer at 100 Hz from time 0.
fn kernel() -> Devices {
    let mut devices = Devices::new(16 << 20);
    for (port, value) in [
        (0x20, 0x11),
        (0xA0, 0x11),
        (0x21, 0x20),
        (0xA1, 0x28),
        (0x21, 0x04),
        (0xA1, 0x02),
        (0x21, 0x01),
        (0xA1, 0x01),
        (0x21, 0xEE),
        (0xA1, 0xFF),
        (0x43, 0x34),
        (0x40, 0x9C),
        (0x40, 0x2E),
    ] {
        out(&mut devices, port, value, 0);
    }
    devices
}

#[test]
fn the_timer_ticks_at_its_deadlines_through_the_interrupt_controller() {
    let mut devices = kernel();
    let mut now = 0;
    for tick in 1..=1000u64 {
        assert!(!devices.interrupt_pending());
        now = devices.next_deadline().unwrap();
        assert_eq!(now, (tick * 11_932 + 1).checked_mul(88_000).unwrap().div_ceil(105));
        assert_eq!(devices.advance_to(now - 1), 0);
        assert_eq!(devices.advance_to(now), 1);
        assert!(devices.interrupt_pending());
        assert_eq!(devices.acknowledge_interrupt(), 0x20);
        out(&mut devices, 0x20, 0x20, now);
    }
    assert_eq!(now / MILLISECOND, 10_000);
}

#[test]
fn a_guest_that_is_not_interrupted_in_time_sees_one_tick() {
    let mut devices = kernel();
    assert_eq!(devices.advance_to(1000 * MILLISECOND), 99);
    devices.acknowledge_interrupt();
    out(&mut devices, 0x20, 0x20, 1000 * MILLISECOND);
    assert!(!devices.interrupt_pending());
}

#[test]
fn a_square_wave_waits_for_a_late_guest_too() {
    let mut devices = kernel();
    for (port, value) in [(0x43, 0x36), (0x40, 0x9C), (0x40, 0x2E)] {
        out(&mut devices, port, value, 0);
    }
    devices.advance_to(18 * MILLISECOND);
    assert!(devices.interrupt_pending(), "OUT is low again, the tick is not lost");
}

#[test]
fn a_masked_timer_sets_no_deadline_but_its_tick_waits_for_the_unmasking() {
    let mut devices = kernel();
    out(&mut devices, 0x21, 0xFF, 0);
    assert_eq!(devices.next_deadline(), None);
    devices.advance_to(25 * MILLISECOND);
    assert!(!devices.interrupt_pending());
    out(&mut devices, 0x21, 0xFE, 25 * MILLISECOND);
    assert!(devices.interrupt_pending());
}

#[test]
fn a_kernel_that_has_programmed_nothing_gets_the_timer_as_vector_8_and_nothing_else() {
    let mut devices = Devices::new(16 << 20);
    devices.receive_console_input(b"x");
    assert_eq!(devices.next_deadline(), Some(QUIET), "not before a second has passed");
    devices.advance_to(QUIET - 1);
    assert!(!devices.interrupt_pending());
    devices.advance_to(QUIET);
    assert_eq!(devices.acknowledge_interrupt(), 0x08);
    assert!(!devices.interrupt_pending());
    let due = devices.next_deadline().expect("it goes on");
    assert!((1..=55 * MILLISECOND).contains(&(due - QUIET)), "18.2 times a second");
}

#[test]
fn a_kernel_that_programs_an_8259_gets_the_tick_that_was_pending() {
    let mut devices = Devices::new(16 << 20);
    assert!(!devices.interrupt_pending());
    // OCW1 alone: all but IRQ 0 masked.
    out(&mut devices, 0x21, 0xFE, MILLISECOND);
    assert_eq!(devices.acknowledge_interrupt(), 0x08);
}

#[test]
fn initialising_the_controllers_does_not_raise_a_line_that_was_high() {
    let mut devices = Devices::new(16 << 20);
    devices.advance_to(1000 * MILLISECOND);
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0)] {
        out(&mut devices, port, value, 1000 * MILLISECOND);
    }
    assert!(!devices.interrupt_pending());
}

#[test]
fn both_consoles_come_out_in_the_order_of_the_writes() {
    let mut devices = Devices::new(16 << 20);
    out(&mut devices, 0x3F8, b'a', 0);
    out(&mut devices, 0xE9, b'b', 0);
    let effect = devices.port_write_string(0xE9, AccessSize::Byte, b"cd", 0);
    assert_eq!(effect, Effect::None);
    let effect = devices.port_write_string(0x3F8, AccessSize::Byte, b"ef", 0);
    assert_eq!(effect, Effect::None);
    assert_eq!(devices.take_console_output(), b"abcdef");
    assert_eq!(devices.take_console_output(), b"");
    assert_eq!(input(&mut devices, 0xE9, 0), 0xE9);
}

#[test]
fn the_exit_port_takes_a_number_of_any_size() {
    let mut devices = Devices::new(16 << 20);
    for (size, expected) in [
        (AccessSize::Byte, 0x04),
        (AccessSize::Word, 0x0304),
        (AccessSize::Doubleword, 0x0102_0304),
    ] {
        assert_eq!(devices.port_write(0xF4, size, 0x0102_0304, 0), Effect::PowerOff(expected));
    }
}

#[test]
fn every_way_to_reset_is_told_apart() {
    let mut devices = Devices::new(16 << 20);
    for (port, value, line) in [
        (0x64, 0xFE, ResetLine::KeyboardController),
        (0x92, 0x01, ResetLine::FastReset),
        (0xCF9, 0x06, ResetLine::ResetControl),
    ] {
        assert_eq!(devices.port_write(port, AccessSize::Byte, value, 0), Effect::Reset(line));
    }
}

#[test]
fn a_wide_access_is_several_narrow_ones_at_ascending_ports() {
    let mut devices = Devices::new(16 << 20);
    let effect = devices.port_write(0x70, AccessSize::Word, 0x5A_0F, 0);
    assert_eq!(effect, Effect::None);
    out(&mut devices, 0x70, 0x0F, 0);
    assert_eq!(input(&mut devices, 0x71, 0), 0x5A);
    let both = devices.port_read(0x20, AccessSize::Word, 0);
    assert_eq!(both, 0xFA00 | u32::from(devices.pic().requests() as u8));
}

#[test]
fn an_access_to_nothing_reads_all_ones_and_is_remembered() {
    let mut devices = Devices::new(16 << 20);
    assert_eq!(devices.by(0x10_0000).port_read(0x2F0, AccessSize::Byte, 0), 0xFF);
    assert_eq!(devices.by(0x10_0005).port_read(0x2F0, AccessSize::Word, 0), 0xFFFF);
    assert_eq!(devices.port_read(0xFFF8, AccessSize::Doubleword, 0), 0xFFFF_FFFF);
    out(&mut devices, 0x300, 0x0F, 0);
    let mut data = [0; 8];
    devices.by(0x10_0010).memory_read(0xFEA0_0002, &mut data, 0);
    assert_eq!(data, [0xFF; 8]);
    let unanswered = devices.unanswered();
    let port = unanswered.tally(Place::Port(0x2F0));
    assert_eq!((port.reads, port.writes, port.first), (2, 0, 0x10_0000));
    assert_eq!(unanswered.tally(Place::Port(0x300)).writes, 1);
    assert_eq!(unanswered.tally(Place::Memory(0xFEA0_0000)).first, 0x10_0010);
}

#[test]
fn a_double_word_for_the_pci_address_is_no_reset() {
    let mut devices = Devices::new(16 << 20);
    let mut select = |address| devices.port_write(0xCF8, AccessSize::Doubleword, address, 0);
    assert_eq!(select(0x8000_0400), Effect::None);
    assert_eq!(select(0x8000_0000), Effect::None);
    assert_eq!(devices.port_read(0xCF8, AccessSize::Doubleword, 0), 0x8000_0000);
    assert_eq!(devices.port_read(0xCFC, AccessSize::Doubleword, 0), 0x1237_8086);
    assert_eq!(devices.port_write(0xCF8, AccessSize::Word, 0x0600, 0), Effect::None);
}

#[test]
fn the_ide_function_masters_the_bus_where_and_when_its_configuration_lets_it() {
    let disk = ide::Disk::new(ide::Medium::of_bytes(vec![7; 512 * 8]));
    let mut devices = Devices::new(16 << 20).with_drives([Some(ide::Unit::Disk(disk))]);
    let doubleword = |devices: &mut Devices, port, value| {
        assert_eq!(devices.port_write(port, AccessSize::Doubleword, value, 0), Effect::None);
    };
    doubleword(&mut devices, 0xCF8, 0x8000_0920);
    doubleword(&mut devices, 0xCFC, 0xD000);
    assert_eq!(devices.port_read(0xC004, AccessSize::Doubleword, 0), 0xFFFF_FFFF, "moved away");
    doubleword(&mut devices, 0xD004, 0x0012_3457);
    assert_eq!(devices.port_read(0xD004, AccessSize::Doubleword, 0), 0x0012_3454);
    assert_eq!(devices.port_read(0xD006, AccessSize::Word, 0), 0x0012);
    for (port, value) in [(0x1F2, 1), (0x1F6, 0xE0), (0x1F7, 0xC8), (0xD000, 0x09)] {
        out(&mut devices, port, value, 0);
    }
    assert_eq!(devices.take_transfer(), None, "it is no master of the bus");
    assert_eq!(input(&mut devices, 0xD002, 0), 0x01);
    doubleword(&mut devices, 0xCF8, 0x8000_0904);
    doubleword(&mut devices, 0xCFC, 0x0000_0005);
    let table = Some((Master::Ide(0), Transfer::FromMemory(0x0012_3454, 8)));
    assert_eq!(devices.take_transfer(), table);
    let descriptor = 0x8000_0200_0001_0000u64.to_le_bytes();
    devices.moved(Master::Ide(0), Moved { bytes: &descriptor, answered: true });
    let data = Some((Master::Ide(0), Transfer::ToMemory(0x1_0000, vec![7; 512])));
    assert_eq!(devices.take_transfer(), data);
    devices.moved(Master::Ide(0), Moved { bytes: &[], answered: true });
    assert_eq!(devices.take_transfer(), None);
    out(&mut devices, 0xA1, 0x00, 0);
    let due = devices.next_deadline().expect("the drive is at work");
    devices.advance_to(due);
    assert_eq!(input(&mut devices, 0xD002, due), 0x04);
    assert!(devices.pic().requests() & 1 << 14 != 0);
}

/// Writes a double word to a device's memory.
fn store(devices: &mut Devices, address: u64, value: u32, now: u64) {
    devices.memory_write(address, &value.to_le_bytes(), now);
}

#[test]
fn a_line_reaches_the_local_apic_through_the_io_apic_when_the_8259s_are_masked() {
    let mut devices = Devices::new(16 << 20);
    out(&mut devices, 0x21, 0xFF, 0);
    for (index, value) in [(0x19, 0), (0x18, 0x31), (0x15, 0), (0x14, 0x30)] {
        store(&mut devices, 0xFEC0_0000, index, 0);
        store(&mut devices, 0xFEC0_0010, value, 0);
    }
    out(&mut devices, 0x3F9, 0x02, 0);
    assert_eq!(devices.acknowledge_interrupt(), 0x31, "IRQ 4 on pin 4");
    store(&mut devices, 0xFEE0_00B0, 0, 0);
    assert!(!devices.interrupt_pending());
    let due = devices.next_deadline().unwrap();
    devices.advance_to(due);
    assert_eq!(devices.acknowledge_interrupt(), 0x30, "IRQ 0 on pin 2");
}

/// The HPET counts, replaces the 8254 and the clock if `configuration` says so, and its timer `index` matches each millisecond.
fn tick_by_hpet(devices: &mut Devices, configuration: u32, index: u64, timer: u32, now: u64) {
    let registers = 0xFED0_0100 + index * 0x20;
    store(devices, registers, timer | 0x48, now);
    devices.memory_write(registers + 8, &(now / 10 + 100_000).to_le_bytes(), now);
    devices.memory_write(registers + 8, &100_000u64.to_le_bytes(), now);
    store(devices, 0xFED0_0010, configuration, now);
}

#[test]
fn an_hpet_that_replaces_the_8254_and_the_clock_has_their_lines_at_the_8259s() {
    let mut devices = kernel();
    out(&mut devices, 0x70, 0x0B, 0);
    out(&mut devices, 0x71, 0x42, 0);
    out(&mut devices, 0x21, 0xFA, 0);
    out(&mut devices, 0xA1, 0xFE, 0);
    tick_by_hpet(&mut devices, 3, 0, 4, 0);
    for tick in 1..=100 {
        assert_eq!(devices.next_deadline(), Some(tick * MILLISECOND));
        devices.advance_to(tick * MILLISECOND);
        assert_eq!(devices.acknowledge_interrupt(), 0x20);
        out(&mut devices, 0x20, 0x20, tick * MILLISECOND);
        assert!(!devices.interrupt_pending(), "neither the 8254 nor the clock");
    }
    let both = |devices: &mut Devices| {
        [(); 2].map(|()| {
            let vector = devices.acknowledge_interrupt();
            out(devices, 0xA0, 0x20, 101 * MILLISECOND);
            out(devices, 0x20, 0x20, 101 * MILLISECOND);
            vector
        })
    };
    tick_by_hpet(&mut devices, 3, 1, 4, 100 * MILLISECOND);
    devices.advance_to(101 * MILLISECOND);
    assert_eq!(both(&mut devices), [0x20, 0x28]);
    assert!(!devices.interrupt_pending());
    // Without it what the clock asked for meanwhile is heard, and the 8254's next tick.
    store(&mut devices, 0xFED0_0010, 1, 101 * MILLISECOND);
    assert_eq!(devices.acknowledge_interrupt(), 0x28);
    out(&mut devices, 0xA0, 0x20, 101 * MILLISECOND);
    out(&mut devices, 0x20, 0x20, 101 * MILLISECOND);
    assert!(!devices.interrupt_pending());
    devices.advance_to(111 * MILLISECOND);
    assert_eq!(devices.acknowledge_interrupt(), 0x20);
}

#[test]
fn a_timer_of_the_hpet_has_a_pin_of_the_io_apic_by_edge_and_by_level() {
    for level in [false, true] {
        let mut devices = Devices::new(16 << 20);
        out(&mut devices, 0x21, 0xFF, 0);
        let pin = 0x40 | if level { 0x8000 } else { 0 };
        for (index, value) in [(0x39, 0), (0x38, pin)] {
            store(&mut devices, 0xFEC0_0000, index, 0);
            store(&mut devices, 0xFEC0_0010, value, 0);
        }
        tick_by_hpet(&mut devices, 1, 2, 20 << 9 | 4 | if level { 2 } else { 0 }, 0);
        for tick in 1..=100 {
            let now = tick * MILLISECOND;
            assert_eq!(devices.next_deadline(), Some(now));
            devices.advance_to(now);
            assert_eq!(devices.acknowledge_interrupt(), 0x40);
            if level {
                assert_eq!(devices.next_deadline(), None, "nothing new until it is cleared");
                store(&mut devices, 0xFEE0_00B0, 0, now);
                assert_eq!(devices.acknowledge_interrupt(), 0x40, "the level lasts");
                store(&mut devices, 0xFED0_0020, 4, now);
            }
            store(&mut devices, 0xFEE0_00B0, 0, now);
            assert!(!devices.interrupt_pending());
        }
    }
}

#[test]
fn a_timer_of_the_hpet_at_pin_2_is_heard_beside_the_8254() {
    let mut devices = Devices::new(16 << 20);
    out(&mut devices, 0x21, 0xFF, 0);
    for (index, value) in [(0x15, 0), (0x14, 0x30)] {
        store(&mut devices, 0xFEC0_0000, index, 0);
        store(&mut devices, 0xFEC0_0010, value, 0);
    }
    let mut heard = 0;
    tick_by_hpet(&mut devices, 1, 0, 2 << 9 | 4, 0);
    while let Some(due) = devices.next_deadline().filter(|due| *due <= 1000 * MILLISECOND) {
        devices.advance_to(due);
        if devices.interrupt_pending() {
            heard += u32::from(devices.acknowledge_interrupt() == 0x30);
            store(&mut devices, 0xFEE0_00B0, 0, due);
        }
    }
    assert_eq!(heard, 1000 + 18);
}

#[test]
fn a_masked_lint0_keeps_the_8259s_away_from_the_cpu() {
    let mut devices = kernel();
    store(&mut devices, 0xFEE0_0350, 0x1_0000, 0);
    assert_eq!(devices.next_deadline(), None);
    devices.advance_to(25 * MILLISECOND);
    assert!(!devices.interrupt_pending());
    store(&mut devices, 0xFEE0_0350, 0x700, 25 * MILLISECOND);
    assert_eq!(devices.acknowledge_interrupt(), 0x20);
}

#[test]
fn registers_in_memory_are_read_by_bytes_too() {
    let mut devices = Devices::new(16 << 20);
    let mut byte = [0];
    devices.memory_read(0xFEE0_0032, &mut byte, 0);
    assert_eq!(byte, [0x05], "the highest entry of the local vector table");
    assert!(devices.unanswered().is_empty());
}

#[test]
fn each_byte_of_the_keyboard_is_an_edge() {
    let mut devices = kernel();
    out(&mut devices, 0x21, 0xFD, 0);
    out(&mut devices, 0x64, 0x60, 0);
    out(&mut devices, 0x60, 0x05, 0);
    out(&mut devices, 0x60, 0xFF, 0);
    for expected in [0xFA, 0xAA] {
        assert_eq!(devices.acknowledge_interrupt(), 0x21);
        assert_eq!(input(&mut devices, 0x60, 0), expected);
        out(&mut devices, 0x20, 0x20, 0);
    }
    assert!(!devices.interrupt_pending());
}

#[test]
fn the_serial_port_interrupts_on_irq_4_with_an_edge_for_each_byte() {
    let mut devices = kernel();
    out(&mut devices, 0x3FC, 0x0B, 0);
    out(&mut devices, 0x3F9, 0x02, 0);
    for _ in 0..3 {
        assert!(devices.interrupt_pending());
        assert_eq!(devices.acknowledge_interrupt(), 0x24);
        out(&mut devices, 0x3F8, b'x', 0);
        out(&mut devices, 0x20, 0x20, 0);
    }
    devices.acknowledge_interrupt();
    out(&mut devices, 0x20, 0x20, 0);
    out(&mut devices, 0x3F9, 0x01, 0);
    assert!(!devices.interrupt_pending());
    devices.receive_console_input(b"q");
    assert_eq!(devices.acknowledge_interrupt(), 0x24);
    assert_eq!(input(&mut devices, 0x3F8, 0), b'q');
}

#[test]
fn the_second_serial_port_interrupts_on_irq_3_and_what_it_sends_goes_nowhere() {
    let mut devices = kernel();
    out(&mut devices, 0x21, 0xF7, 0);
    out(&mut devices, 0x2FC, 0x1E, 0);
    out(&mut devices, 0x2F8, 0xAE, 0);
    assert_eq!(input(&mut devices, 0x2F8, 0), 0xAE, "in loopback");
    out(&mut devices, 0x2FC, 0x0B, 0);
    out(&mut devices, 0x2F9, 0x02, 0);
    assert_eq!(devices.acknowledge_interrupt(), 0x23);
    out(&mut devices, 0x2F8, b'x', 0);
    assert_eq!(devices.take_console_output(), b"");
    devices.receive_console_input(b"q");
    assert_eq!(input(&mut devices, 0x2FD, 0) & 1, 0, "what is typed goes to the first");
}

#[test]
fn a_clone_is_a_snapshot() {
    let mut devices = kernel();
    devices.advance_to(15 * MILLISECOND);
    let mut snapshot = devices.clone();
    let run = |devices: &mut Devices| {
        let mut seen = Vec::new();
        for step in 16..100 {
            devices.advance_to(step * MILLISECOND);
            if devices.interrupt_pending() {
                seen.push((step, devices.acknowledge_interrupt()));
                out(devices, 0x20, 0x20, step * MILLISECOND);
            }
            seen.push((step, input(devices, 0x40, step * MILLISECOND)));
        }
        seen
    };
    assert_eq!(run(&mut devices), run(&mut snapshot));
}

proptest! {
    #[test]
    fn no_sequence_of_accesses_panics_or_surprises(
        accesses in proptest::collection::vec(
            (
                prop_oneof![
                    any::<u16>(), 0x20u16..0x22, 0x40u16..0x44, 0x60u16..0x72,
                    0xA0u16..0xA2, 0x3C0u16..0x3DC, 0x3F8u16..0x400, 0x4D0u16..0x4D2,
                    0xCF8u16..0xD00, 0xC000u16..0xC010, 0x1F0u16..0x1F8,
                ],
                prop_oneof![
                    Just(AccessSize::Byte), Just(AccessSize::Word), Just(AccessSize::Doubleword),
                ],
                proptest::option::of(any::<u32>()),
                0u64..50_000_000,
            ),
            0..150,
        ),
    ) {
        let disk = ide::Disk::new(ide::Medium::of_bytes(vec![0; 512 * 300]));
        let mut devices = Devices::new(16 << 20).with_drives([Some(ide::Unit::Disk(disk))]);
        let mut now = 0;
        for (port, size, value, passed) in accesses {
            now += passed;
            while let Some((master, transfer)) = devices.take_transfer() {
                let wanted = match transfer {
                    Transfer::ToMemory(..) => 0,
                    Transfer::FromMemory(_, count) => count,
                };
                devices.moved(master, Moved { bytes: &vec![0x5A; wanted], answered: now & 1 == 0 });
            }
            match value {
                Some(value) => { let _ = devices.port_write(port, size, value, now); }
                None => { devices.port_read(port, size, now); }
            }
            if let Some(deadline) = devices.next_deadline() {
                prop_assert!(deadline > now, "a deadline in the past would never be reached");
            }
            if devices.interrupt_pending() {
                devices.acknowledge_interrupt();
            }
        }
    }
    #[test]
    fn no_sequence_of_accesses_to_memory_panics_or_surprises(
        accesses in proptest::collection::vec(
            (
                prop_oneof![
                    0xFEE0_0000u64..0xFEE0_0400, 0xFEC0_0000u64..0xFEC0_0020, any::<u64>(),
                    (0u64..0x40).prop_map(|register| 0xFEE0_0000 + register * 16),
                    Just(0xFEC0_0000), Just(0xFEC0_0010), 0xFED0_0000u64..0xFED0_0160,
                    (0u64..0x2C).prop_map(|register| 0xFED0_0000 + register * 8),
                ],
                1usize..9,
                proptest::option::of(prop_oneof![any::<u64>(), 0u64..0x40, 0x2_0000u64..0x2_0100]),
                0u64..50_000_000,
            ),
            0..150,
        ),
    ) {
        let mut devices = Devices::new(16 << 20);
        let mut now = 0;
        for (address, size, value, passed) in accesses {
            now += passed;
            match value {
                Some(value) => devices.memory_write(address, &value.to_le_bytes()[..size], now),
                None => devices.memory_read(address, &mut [0; 8][..size], now),
            }
            if let Some(deadline) = devices.next_deadline() {
                prop_assert!(deadline > now, "a deadline in the past would never be reached");
            }
            if devices.interrupt_pending() {
                devices.acknowledge_interrupt();
            }
        }
    }
}
