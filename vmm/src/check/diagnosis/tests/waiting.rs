//! Interrupts that wait, or that nobody waits for.

use super::*;

fn timer(devices: &mut Devices, base: u32) {
    let writes: [(u16, u32); 8] = [
        (0x20, 0x11),
        (0x21, base),
        (0x21, 4),
        (0x21, 1),
        (0x21, 0xfe),
        (0x43, 0x34),
        (0x40, 0x9b),
        (0x40, 0x2e),
    ];
    for (port, value) in writes {
        let _ = devices.port_write(port, AccessSize::Byte, value, 0);
    }
}

#[test]
fn at_a_time_out_an_interrupt_without_eoi_is_told_and_one_that_nobody_takes() {
    let mut world = world();
    world.code(&[0xeb, 0xfe]);
    timer(&mut world.devices, 0x20);
    world.devices.advance_to(20_000_000);
    // Ring 3 with IF = 0.
    let diagnosis = Diagnosis {
        closed: Some(Closed { after_sequence: 0, eip: CODE, eflags: 2, iret: 0x1234 }),
        ..Diagnosis::default()
    };
    let found = world.conclude(&diagnosis, Ending::TimedOut, None);
    let [(_, finding)] = &found[..] else { panic!("{found:?}") };
    has(&finding.sentence, &["ring 3 runs with IF=0", "IRQ 0, the timer's, waits"]);
    has(finding.reason.as_deref().unwrap(), &["from the frame that the first IRET popped"]);
    assert_eq!(finding.places, [CodePlace::Instruction(0x1234)], "that IRET, not what runs now");
    // IOPL 3 can open them itself.
    world.state.eflags.0 = 0x3002;
    assert!(world.conclude(&diagnosis, Ending::TimedOut, None).is_empty());
    // In service: the next tick is held back.
    world.state.eflags.0 = 0x202;
    assert!(world.conclude(&diagnosis, Ending::TimedOut, None).is_empty(), "it is to be taken now");
    assert_eq!(world.devices.acknowledge_interrupt(), 0x20);
    assert!(world.conclude(&diagnosis, Ending::TimedOut, None).is_empty(), "nothing waits");
    world.devices.advance_to(40_000_000);
    let found = world.conclude(&diagnosis, Ending::TimedOut, None);
    let [(_, finding)] = &found[..] else { panic!("{found:?}") };
    has(&finding.sentence, &["IRQ 0 is in service", "no EOI was written"]);
    has(finding.advice.as_deref().unwrap(), &["0x20 to port 0x20", "vector 0x20"]);
    assert_eq!(finding.degree, Degree::Fault);
    has(&finding.got, &["requested 0001: IRQ 0 waits"]);
    // On its way to its handler it owes nothing yet.
    world.arriving = Some(Vector(0x20));
    assert!(world.conclude(&diagnosis, Ending::TimedOut, None).is_empty());
    world.arriving = None;
    assert!(world.conclude(&diagnosis, Ending::PoweredOff, None).is_empty());
    // The serial port's transmitter is empty.
    for (port, value) in [(0x21, 0xee), (0x3fc, 0x08), (0x3f9, 0x02)] {
        let _ = world.devices.port_write(port, AccessSize::Byte, value, 40_000_000);
    }
    let found = world.conclude(&diagnosis, Ending::TimedOut, None);
    has(&found[0].1.got, &["requested 0011: IRQ 0 and IRQ 4 wait"]);
}

/// The clock's periodic interrupt, through the slave, beside the timer's.
fn clock(devices: &mut Devices, masks: [u32; 2]) {
    timer(devices, 0x20);
    let slave: [(u16, u32); 5] =
        [(0xa0, 0x11), (0xa1, 0x28), (0xa1, 2), (0xa1, 1), (0xa1, masks[1])];
    let opened: [(u16, u32); 3] = [(0x21, masks[0]), (0x70, 0xb), (0x71, 0x42)];
    for (port, value) in slave.into_iter().chain(opened) {
        let _ = devices.port_write(port, AccessSize::Byte, value, 0);
    }
}

/// A world in which the clock's interrupt came in entry #4, and 100 entries since.
fn after_the_clock(masks: [u32; 2]) -> (World, Diagnosis) {
    let mut world = world();
    world.code(&[0xeb, 0xfe]);
    world.state.eflags.0 = 0x202;
    clock(&mut world.devices, masks);
    world.devices.advance_to(2_000_000);
    let used = Used::without_a_return(Vector(0x28), CODE, 4, 4);
    let last_entry = Some((104, Kind::Software, Vector(0x80)));
    let entered_at = Some(Instant::now());
    (world, Diagnosis { used, last_entry, entered_at, ..Diagnosis::default() })
}

fn write(world: &mut World, port: u16, value: u32) {
    let _ = world.devices.port_write(port, AccessSize::Byte, value, 2_000_000);
}

fn told(world: &World, diagnosis: &Diagnosis) -> String {
    let found = world.conclude(diagnosis, Ending::TimedOut, None);
    let told = found.into_iter().filter(|(_, told)| told.rule == "interrupt_controller");
    told.map(|(_, told)| told.sentence).collect::<Vec<_>>().join("; ")
}

#[test]
fn an_interrupt_of_the_slave_waits_for_an_eoi_there_while_the_timer_goes_on() {
    let (mut world, mut diagnosis) = after_the_clock([0xfa, 0xfe]);
    diagnosis.used = diagnosis.used.and(Used::without_a_return(Vector(0x20), CODE, 3, 90));
    assert_eq!(world.devices.acknowledge_interrupt(), 0x28);
    write(&mut world, 0x20, 0x20);
    assert_eq!(told(&world, &diagnosis), "", "nothing waits");
    let _ = world.devices.port_write(0x70, AccessSize::Byte, 0xc, 2_000_000);
    let _ = world.devices.port_read(0x71, AccessSize::Byte, 2_000_000);
    world.devices.advance_to(40_000_000);
    assert_eq!(world.devices.acknowledge_interrupt(), 0x20, "the timer comes");
    has(&told(&world, &diagnosis), &["IRQ 0 is in service since entry #90"]);
    world.arriving = Some(Vector(0x20));
    has(
        &told(&world, &diagnosis),
        &["IRQ 8 is in service in the slave 8259 since entry #4", "no EOI was written to it"],
    );
    write(&mut world, 0xa0, 0x20);
    assert_eq!(told(&world, &diagnosis), "", "the slave asks again");
}

#[test]
fn the_clock_comes_again_when_register_c_has_been_read() {
    let (mut world, mut diagnosis) = after_the_clock([0xfa, 0xfe]);
    assert_eq!(world.devices.acknowledge_interrupt(), 0x28);
    assert_eq!(told(&world, &diagnosis), "", "its handler runs");
    write(&mut world, 0xa0, 0x20);
    write(&mut world, 0x20, 0x20);
    has(&told(&world, &diagnosis), &["register C of the clock has not been read since"]);
    diagnosis.last_entry = Some((6, Kind::Software, Vector(0x80)));
    assert_eq!(told(&world, &diagnosis), "", "it may be about to");
    diagnosis.last_entry = Some((104, Kind::Software, Vector(0x80)));
    write(&mut world, 0xa1, 0xff);
    assert_eq!(told(&world, &diagnosis), "", "its line is masked");
    write(&mut world, 0xa1, 0xfe);
    let _ = world.devices.port_write(0x70, AccessSize::Byte, 0xc, 2_000_000);
    let _ = world.devices.port_read(0x71, AccessSize::Byte, 2_000_000);
    assert_eq!(told(&world, &diagnosis), "");
}

#[test]
fn a_slave_that_is_masked_in_the_master_is_told_where_its_interrupt_was_wanted() {
    let (mut world, _) = after_the_clock([0xfe, 0xfe]);
    let never = Diagnosis::default();
    has(
        &told(&world, &never),
        &["IRQ 8 waits in the slave 8259, and the master masks IRQ 2, which the slave is on"],
    );
    write(&mut world, 0xa1, 0xff);
    assert_eq!(told(&world, &never), "");
}

#[test]
fn a_timer_with_half_a_count_stands_still() {
    let mut world = world();
    world.code(&[0xeb, 0xfe]);
    world.state.eflags.0 = 0x202;
    timer(&mut world.devices, 0x20);
    write(&mut world, 0x43, 0x36);
    assert_eq!(told(&world, &Diagnosis::default()), "", "who gives no count wants no timer");
    write(&mut world, 0x40, 0x9b);
    has(&told(&world, &Diagnosis::default()), &["the timer stands still"]);
    write(&mut world, 0x21, 0xfd);
    has(
        &told(&world, &Diagnosis::default()),
        &["is masked in the 8259, though the kernel has set its timer"],
    );
}

#[test]
fn a_loop_that_reads_no_memory_is_told_and_a_jump_to_itself_is_not() {
    let mut world = world();
    world.state = ring(0);
    world.state.eflags.0 = 0x202;
    let mut rules = |code: &[u8]| {
        world.code(code);
        let found = world.conclude(&Diagnosis::default(), Ending::TimedOut, None);
        found.iter().map(|(_, finding)| finding.rule).collect::<Vec<_>>()
    };
    // cmp eax, -11; jbe: the end is at its first instruction.
    assert_eq!(rules(&[0x83, 0xf8, 0xf5, 0x76, 0xfb]), ["bare_loop"]);
    // test eax, eax; jnz out; jmp back.
    assert_eq!(rules(&[0x85, 0xc0, 0x75, 0x02, 0xeb, 0xfa]), ["bare_loop"]);
    assert_eq!(rules(&[0xeb, 0xfe]), [""; 0], "it idles");
    // hlt; jmp back.
    assert_eq!(rules(&[0xf4, 0xeb, 0xfd]), [""; 0]);
    // cmp [8000], eax; jz back.
    assert_eq!(rules(&[0x39, 0x05, 0, 0x80, 0, 0, 0x74, 0xf8]), [""; 0]);
    // dec eax; test eax, eax; jnz back.
    assert_eq!(rules(&[0x48, 0x85, 0xc0, 0x75, 0xfb]), [""; 0]);
    // in al, dx; test al, 1; jz back.
    assert_eq!(rules(&[0xec, 0xa8, 1, 0x74, 0xfb]), [""; 0]);
}

#[test]
fn an_interrupt_that_was_delivered_to_nobody_is_no_missing_eoi() {
    let mut world = world();
    world.code(&[0xeb, 0xfe]);
    world.state.eflags.0 = 0x202;
    timer(&mut world.devices, 0x20);
    world.devices.advance_to(20_000_000);
    world.devices.acknowledge_interrupt();
    world.devices.advance_to(40_000_000);
    world.state.idtr = TableRegister { base: 0x4020_0000, limit: 0x7ff };
    let found = world.conclude(&Diagnosis::default(), Ending::TimedOut, None);
    let [(_, finding)] = &found[..] else { panic!("{found:?}") };
    has(&finding.sentence, &["IDTR names no table: its base 40200000 is outside RAM"]);
}

#[test]
fn a_line_that_the_io_apic_passes_on_may_be_masked_in_the_8259() {
    let mut world = world();
    world.code(&[0xeb, 0xfe]);
    world.state.eflags.0 = 0x202;
    timer(&mut world.devices, 0x20);
    let _ = world.devices.port_write(0x21, AccessSize::Byte, 0xff, 0);
    let used = Used::without_a_return(Vector(0x20), CODE, 4, 4);
    let last_entry = Some((4, Kind::External, Vector(0x20)));
    let since = Diagnosis { used, last_entry, ..Diagnosis::default() };
    let never = Diagnosis::default();
    let notes = |world: &World, diagnosis: &Diagnosis| {
        let found = world.conclude(diagnosis, Ending::TimedOut, None);
        let told = found.into_iter().filter(|(_, told)| told.rule == "interrupt_controller");
        told.map(|(_, told)| told.sentence).collect::<Vec<_>>().join("; ")
    };
    has(&notes(&world, &since), &["IRQ 0 came last in entry #4, and is masked in the 8259 since"]);
    has(&notes(&world, &never), &["IRQ 0 has a gate, and is masked in the 8259, as are all"]);
    // Pin 2, vector 0x20, not masked.
    for (register, value) in [(0xfec0_0000u64, 0x14u32), (0xfec0_0010, 0x20)] {
        world.devices.memory_write(register, &value.to_le_bytes(), 0);
    }
    assert_eq!((notes(&world, &since), notes(&world, &never)), (String::new(), String::new()));
}

#[test]
fn who_has_no_gate_for_an_interrupt_and_was_never_entered_wants_none() {
    let mut world = world();
    world.state = ring(0);
    world.state.eip = CODE;
    world.code(&[0xeb, 0xfe]);
    timer(&mut world.devices, 0x20);
    world.devices.advance_to(20_000_000);
    let found = world.conclude(&Diagnosis::default(), Ending::TimedOut, None);
    let [(_, finding)] = &found[..] else { panic!("{found:?}") };
    has(&finding.sentence, &["the kernel goes on with IF=0", "IRQ 0, the timer's, waits"]);
    world.gate(0x20, 0);
    assert!(world.conclude(&Diagnosis::default(), Ending::TimedOut, None).is_empty());
}
