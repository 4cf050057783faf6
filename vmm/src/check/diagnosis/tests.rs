//! A small world of tables in memory, and what is said of the ways in which it can end.
//!
//! ```text
//!  1000 GDT   2000 IDT   3000 TSS   5000 code   8000 ESP0   a000 directory   b000 page table
//! ```

use super::*;
use crate::check::{CodePlace, Degree};
use crate::devices::AccessSize;
use crate::entry::{CodeBytes, Frame, Named, Walk};
use crate::probe::Choice;
use crate::run::{Ending, LastEvent};
use ia32::{FrameShape, Segment, TableRegister};

const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const CODE: u32 = 0x5000;
const TOP: u32 = 0x8000;

struct World {
    memory: Memory,
    state: State,
    devices: Devices,
    probes: Probes,
}

/// Ring 3, flat segments, a TSS, and a gate for each exception.
fn world() -> World {
    let mut memory = Memory::detached(0x10_0000).unwrap();
    let descriptors: [u64; 6] = [
        0,
        0x00cf_9a00_0000_ffff,
        0x00cf_9200_0000_ffff,
        0x00cf_fa00_0000_ffff,
        0x00cf_f200_0000_ffff,
        0x0000_8900_3000_0067,
    ];
    for (index, descriptor) in descriptors.iter().enumerate() {
        memory.write(GDT + index as u64 * 8, &descriptor.to_le_bytes()).unwrap();
    }
    let mut world = World {
        memory,
        state: ring(3),
        devices: Devices::new(0x10_0000),
        probes: Probes::new(Choice::None, crate::probe::DebugRegisters::NONE),
    };
    for vector in 0..0x30 {
        world.gate(vector, 0x0000_8e00_0008_6000);
    }
    world.word(TSS + 4, TOP);
    world.word(TSS + 8, 0x10);
    world
}

fn ring(ring: u16) -> State {
    let flat = |selector: u16, attributes: u16| Segment {
        selector: selector | ring,
        attributes: attributes | ring << 5,
        base: 0,
        limit: u32::MAX,
    };
    let (code, data) = if ring == 3 { (0x18, 0x20) } else { (0x08, 0x10) };
    let data = flat(data, 0xc093);
    let mut state = State {
        cr0: 1,
        eip: CODE,
        segments: [data, flat(code, 0xc09b), data, data, data, data],
        gdtr: TableRegister { base: GDT as u32, limit: 0x2f },
        idtr: TableRegister { base: IDT as u32, limit: 0x7ff },
        tr: Segment { selector: 0x28, attributes: 0x8b, base: TSS as u32, limit: 0x67 },
        ..State::default()
    };
    state.eflags.0 = 2;
    state.general.esp = if ring == 3 { 0x9000 } else { TOP - 0x100 };
    state
}

impl World {
    fn word(&mut self, address: u64, value: u32) {
        self.memory.write(address, &value.to_le_bytes()).unwrap();
    }

    fn gate(&mut self, vector: u64, gate: u64) {
        self.memory.write(IDT + vector * 8, &gate.to_le_bytes()).unwrap();
    }

    fn code(&mut self, bytes: &[u8]) {
        self.memory.write(CODE.into(), bytes).unwrap();
    }

    /// Identity for all but the pages of `absent`, U/S where `user` says so.
    fn page(&mut self, absent: &[u32], user: fn(u32) -> bool) {
        self.word(0xa000, 0xb007);
        for page in 0..0x100 {
            let entry = if absent.contains(&page) { 0 } else { page << 12 | 3 };
            self.word(0xb000 + u64::from(page) * 4, entry | if user(page) { 4 } else { 0 });
        }
        self.state.cr0 |= 1 << 31;
        self.state.cr3 = 0xa000;
    }

    fn conclude(
        &self,
        diagnosis: &Diagnosis,
        ending: Ending,
        last: Option<LastEvent>,
    ) -> Vec<Placed> {
        let end = End { ending, state: self.state, last_event: last };
        let aftermath = Aftermath {
            end: &end,
            memory: &self.memory,
            devices: &self.devices,
            probes: &self.probes,
            processor: Processor::INTEL,
            names: &|address| (address == 0x6000).then(|| "handler".to_owned()),
        };
        diagnosis.conclude(&aftermath, &History::default())
    }

    /// The one finding of a shutdown: its reason and its advice.
    fn shutdown(&self, interrupt: Option<u8>) -> String {
        let last =
            LastEvent { before: self.state, interrupt: interrupt.map(Vector), certain: true };
        let found = self.conclude(&Diagnosis::default(), Ending::TripleFault, Some(last));
        let [(_, finding)] = &found[..] else { panic!("{found:?}") };
        format!(
            "{} | {} | {}",
            finding.sentence,
            finding.reason.as_deref().unwrap_or_default(),
            finding.advice.as_deref().unwrap_or_default()
        )
    }

    /// What is said of a kernel that halts in the handler of this exception.
    fn halted(&mut self, vector: Vector, code: Option<u32>, ring: u8) -> Option<Finding> {
        let shape = FrameShape {
            changes_stack: ring == 3,
            from_virtual_8086: false,
            error_code: code.is_some(),
            word_size: 4,
        };
        let interrupted = self.state;
        let top = if ring == 3 { TOP } else { interrupted.general.esp };
        let at = top - shape.size();
        let pushed = [
            code.unwrap_or(0),
            interrupted.eip,
            interrupted.cs().selector.into(),
            interrupted.eflags.0,
            interrupted.general.esp,
            interrupted.ss().selector.into(),
        ];
        let skip = usize::from(code.is_none());
        for (index, word) in pushed[skip..skip + shape.count() as usize].iter().enumerate() {
            self.word(u64::from(at) + index as u64 * 4, *word);
        }
        let linear = LinearMemory { memory: &self.memory, paging: (&interrupted).into() };
        let mut bytes = CodeBytes { linear: Some(interrupted.eip), ..CodeBytes::default() };
        bytes.length = linear.read_some(interrupted.eip, &mut bytes.at) as u8;
        let mut behind = [0; 2];
        linear.read(interrupted.eip - 2, &mut behind).unwrap();
        bytes.behind = Some(behind);
        let mut after = kernel_state();
        after.cr0 = interrupted.cr0;
        after.cr2 = interrupted.cr2;
        after.cr3 = interrupted.cr3;
        after.general = interrupted.general;
        after.general.esp = at;
        after.segments[3] = interrupted.segments[3];
        let word = |offset: u32| linear.read_u32(interrupted.general.esp.wrapping_add(offset));
        let fault = Fault {
            sequence: 1,
            vector,
            kind: Kind::Fault,
            ring,
            after,
            frame: Frame::read(&linear, at, shape),
            code: bytes,
            walk: Walk::of(&self.memory, &after, after.cr2),
            named: match code {
                Some(code) if vector != Vector::PF => crate::entry::named(&linear, &after, code),
                _ => Named::Nothing,
            },
            stack: [word(u32::MAX - 3), word(0), word(4)],
            refused: None,
            behind_int: 0,
        };
        let mut diagnosis = Diagnosis::default();
        diagnosis.faults[0] = Some(Box::new(fault));
        diagnosis.last_entry = Some((1, Kind::Fault, vector));
        self.state = after;
        self.state.general.esp = at - 0x40;
        let found = self.conclude(&diagnosis, Ending::Halted, None);
        self.state = interrupted;
        found.into_iter().map(|(_, finding)| finding).find(|finding| finding.rule == "ending")
    }

    fn reason(&mut self, vector: Vector, code: Option<u32>, ring: u8) -> String {
        self.halted(vector, code, ring).and_then(|finding| finding.reason).unwrap_or_default()
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in {text:?}");
    }
}

#[test]
fn a_shutdown_for_want_of_a_tss_names_the_one_that_is_not_loaded() {
    let mut world = world();
    world.code(&[0xcd, 0x21]);
    world.gate(0x21, 0x0000_ee00_0008_6000);
    world.state.tr = Segment { selector: 0, attributes: 0x8b, base: 0, limit: 0xffff };
    has(
        &world.shutdown(None),
        &[
            "`int 0x21`",
            "TR is 0: there is no TSS",
            "GDT entry 5 holds one that is not loaded",
            "0x28; ltr",
        ],
    );
    world.memory.write(GDT + 5 * 8, &[0; 8]).unwrap();
    has(&world.shutdown(None), &["TR is 0", "no descriptor of one"]);
}

#[test]
fn a_tss_that_is_too_short_or_has_no_ss0_is_named_with_its_words() {
    let mut world = world();
    world.state.tr.limit = 7;
    has(&world.shutdown(Some(0x20)), &["interrupt 0x20", "limit 7", "0x67"]);
    world.state.tr.limit = 0x67;
    world.word(TSS + 8, 0);
    has(&world.shutdown(Some(0x20)), &["SS0:ESP0 0000:00008000", "store SS0"]);
}

#[test]
fn a_gate_that_cannot_be_used_is_named_with_what_it_names() {
    let mut world = world();
    let mut data = |vector| world.gate(vector, 0x0000_8e00_0010_6000);
    for vector in [8, 13, 0x20] {
        data(vector);
    }
    has(
        &world.shutdown(Some(0x20)),
        &["the gate of vector 0x20 names CS 0010", "GDT entry 2 is a data segment of DPL 0"],
    );
    world.memory.write(GDT + 8, &[0; 8]).unwrap();
    for vector in 0..0x30 {
        world.gate(vector, 0x0000_8e00_0008_6000);
    }
    has(&world.shutdown(Some(0x20)), &["names CS 0008, and GDT entry 1 is now empty"]);
    for vector in 0..0x30 {
        world.gate(vector, 0);
    }
    has(&world.shutdown(Some(0x20)), &["vector 0x20 has no gate", "it is empty"]);
}

#[test]
fn a_stack_that_is_full_is_told_from_an_esp0_that_was_never_mapped() {
    let mut world = world();
    world.page(&[7], |_| true);
    // The interrupt comes in ring 3, and ESP0's page is not there.
    has(
        &world.shutdown(Some(0x20)),
        &["no frame can be pushed at 00007f", "page 00007000 is not mapped"],
    );
    // PUSH in ring 0 with ESP at the page's end.
    let paged = (world.state.cr0, world.state.cr3);
    world.state = ring(0);
    (world.state.cr0, world.state.cr3) = paged;
    world.state.general.esp = TOP;
    world.code(&[0x50]);
    has(
        &world.shutdown(None),
        &[
            "#PF(0002) of `push eax`",
            "stack is full down to 00008000",
            "page 00007000 is not mapped",
        ],
    );
}

#[test]
fn where_the_model_does_not_shut_down_no_cause_is_invented() {
    let world = world();
    let text = world.shutdown(Some(0x20));
    has(&text, &["the processor shut down at"]);
    assert!(text.ends_with(" |  | "), "{text}");
}

#[test]
fn a_gate_that_ring_3_may_not_use_is_told_with_the_byte_that_mends_it() {
    let mut world = world();
    world.code(&[0xcd, 0x21]);
    let finding = world.halted(Vector::GP, Some(0x21 * 8 + 2), 3).unwrap();
    has(&finding.sentence, &["#GP(010a) at `int 0x21`"]);
    has(
        finding.reason.as_deref().unwrap(),
        &["IDT entry 0x21: its gate has DPL 0, ring 3 may not use `int 0x21`"],
    );
    has(finding.advice.as_deref().unwrap(), &["type byte ee in place of 8e"]);
    world.gate(0x21, 0);
    has(&world.reason(Vector::GP, Some(0x21 * 8 + 2), 3), &["IDT entry 0x21: it is empty"]);
}

#[test]
fn a_selector_that_is_an_address_of_the_stack_is_told_with_the_word_that_should_have_come() {
    let mut world = world();
    world.state = ring(0);
    let esp = world.state.general.esp;
    // pop es: the argument was left.
    world.code(&[0x07]);
    world.word(esp.into(), esp + 0x40);
    world.word(u64::from(esp) + 4, 0x10);
    let finding = world.halted(Vector::GP, Some((esp + 0x40) & 0xfffc), 0).unwrap();
    has(
        finding.reason.as_deref().unwrap(),
        &["popped into ES", "is no selector but a stack address", "off by one word", "0010"],
    );
    // pop ebx; mov ds, bx.
    world.memory.write(u64::from(CODE) - 1, &[0x5b, 0x8e, 0xdb]).unwrap();
    world.state.general.ebx = esp + 0x20;
    world.word(esp.into(), 0x10);
    has(
        &world.reason(Vector::GP, Some((esp + 0x20) & 0xfffc), 0),
        &["popped into DS", "off by one word"],
    );
    // mov ds, ax with a selector beyond the GDT.
    world.memory.write(u64::from(CODE) - 1, &[0x90, 0x8e, 0xd8]).unwrap();
    world.state.general.eax = 0x48;
    has(
        &world.reason(Vector::GP, Some(0x48), 0),
        &["the selector loaded into DS is 0048: GDT entry 9 lies beyond the table's limit"],
    );
}

#[test]
fn a_page_fault_is_told_by_its_walk() {
    let mut world = world();
    world.page(&[0], |page| page != 5);
    world.code(&[0x90]);
    world.state.cr2 = CODE;
    has(
        &world.reason(Vector::PF, Some(5), 3),
        &[
            "page 00005000 is for the supervisor: U/S is 0 in its page-table entry (00005003",
            "#PF error 5 = user, read",
        ],
    );
    // mov [8], eax
    world.code(&[0xa3, 8, 0, 0, 0]);
    world.state.cr2 = 8;
    let finding = world.halted(Vector::PF, Some(6), 3).unwrap();
    has(
        finding.reason.as_deref().unwrap(),
        &["page 00000000 is not mapped", "user, write, not present"],
    );
    has(finding.advice.as_deref().unwrap(), &["null pointer"]);
}

#[test]
fn instructions_that_a_ring_may_not_execute_are_named() {
    let mut world = world();
    world.code(&[0xf4]);
    has(&world.reason(Vector::GP, Some(0), 3), &["ring 3 may not execute `hlt`"]);
    world.code(&[0xe6, 0x80]);
    has(&world.reason(Vector::GP, Some(0), 3), &["ring 3 may not use this port: IOPL is 0"]);
    world.code(&[0x0f, 0x30]);
    world.state.general.ecx = 0x38f;
    has(&world.reason(Vector::GP, Some(0), 0), &["MSR that ECX names, 38f"]);
    world.code(&[0xf7, 0xf1]);
    world.state.general.ecx = 0;
    has(&world.reason(Vector::DE, None, 0), &["the divisor, ECX, is 0"]);
}

#[test]
fn a_kernel_that_left_the_handler_or_ended_the_task_before_has_not_stopped_itself() {
    let mut world = world();
    world.code(&[0xf4]);
    assert!(world.halted(Vector::GP, Some(0), 3).is_some());
    let mut diagnosis = Diagnosis { ends_tasks: true, ..Diagnosis::default() };
    let linear = LinearMemory { memory: &world.memory, paging: (&world.state).into() };
    let shape = FrameShape {
        changes_stack: true,
        from_virtual_8086: false,
        error_code: true,
        word_size: 4,
    };
    let frame = Frame::read(&linear, TOP - 24, shape);
    let fault = Fault {
        sequence: 1,
        vector: Vector::GP,
        kind: Kind::Fault,
        ring: 3,
        after: ring(0),
        frame,
        code: CodeBytes::default(),
        walk: None,
        named: Named::Nothing,
        stack: [None; 3],
        refused: None,
        behind_int: 0,
    };
    diagnosis.faults[0] = Some(Box::new(fault));
    diagnosis.last_entry = Some((1, Kind::Fault, Vector::GP));
    world.state = ring(0);
    world.state.general.esp = TOP - 64;
    let found = |diagnosis: &Diagnosis, world: &World| {
        world.conclude(diagnosis, Ending::Halted, None).len()
    };
    assert_eq!(found(&diagnosis, &world), 0, "it ends tasks");
    diagnosis.ends_tasks = false;
    assert_eq!(found(&diagnosis, &world), 1);
    world.state.general.esp = TOP;
    assert_eq!(found(&diagnosis, &world), 0, "the stack is above the frame");
    world.state.general.esp = TOP - 64;
    world.word(u64::from(TOP) - 20, 0x1234);
    assert_eq!(found(&diagnosis, &world), 0, "the frame is overwritten");
    world.word(u64::from(TOP) - 20, CODE);
    assert_eq!(found(&diagnosis, &world), 1);
    assert!(world.conclude(&diagnosis, Ending::PoweredOff, None).is_empty(), "it ended well");
    diagnosis.returned = true;
    assert_eq!(found(&diagnosis, &world), 0, "it has returned");
}

#[test]
fn a_handler_that_an_outer_ring_runs_behind_leads_to_an_iret_whatever_its_code_ends_in() {
    const RET: u8 = 0xc3;
    let mut world = world();
    world.code(&[RET]);
    let is_accused = |last| {
        let used = Used::without_a_return(Vector(0x80), CODE, 1, last);
        let diagnosis = Diagnosis { used, ..Diagnosis::default() };
        let found = world.conclude(&diagnosis, Ending::TimedOut, None);
        found.iter().any(|(_, finding)| finding.rule == "handler_end")
    };
    assert!(is_accused(1));
    assert!(!is_accused(2));
}

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
    has(&finding.sentence, &["ring 3 runs with IF=0", "IRQ 0 waits"]);
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
    let (mut world, diagnosis) = after_the_clock([0xfa, 0xfe]);
    assert_eq!(world.devices.acknowledge_interrupt(), 0x28);
    write(&mut world, 0x20, 0x20);
    assert_eq!(told(&world, &diagnosis), "", "nothing waits");
    let _ = world.devices.port_write(0x70, AccessSize::Byte, 0xc, 2_000_000);
    let _ = world.devices.port_read(0x71, AccessSize::Byte, 2_000_000);
    world.devices.advance_to(40_000_000);
    assert_eq!(world.devices.acknowledge_interrupt(), 0x20, "the timer comes");
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
    assert_eq!(told(&world, &Diagnosis::default()), "");
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
fn a_gate_that_leads_outside_ram_is_told_with_its_halves_exchanged() {
    let mut world = world();
    world.gate(0x20, 0x6000_8e00_0008_0000);
    world.state = ring(0);
    world.state.eip = 0x6000_0000;
    let gave_up = Ending::InternalError { suberror: 1, data: Vec::new() };
    let found = world.conclude(&Diagnosis::default(), gave_up.clone(), None);
    let [(_, finding)] = &found[..] else { panic!("{found:?}") };
    has(&finding.sentence, &["gate 0x20 leads to 60000000, outside RAM"]);
    has(
        finding.reason.as_deref().unwrap(),
        &["with the halves exchanged it is 00006000 (handler)"],
    );
    // No gate: a jump.
    world.state.eip = 0x7000_0000;
    let found = world.conclude(&Diagnosis::default(), gave_up, None);
    has(&found[0].1.sentence, &["ring 0 runs at 70000000, where there is no RAM"]);
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
    has(&finding.sentence, &["the kernel goes on with IF=0", "IRQ 0 waits"]);
    world.gate(0x20, 0);
    assert!(world.conclude(&Diagnosis::default(), Ending::TimedOut, None).is_empty());
}

/// The vectors of real mode that a BIOS leaves in IDTR are pairs of segments and offsets, and no gates.
#[test]
fn a_table_of_real_mode_has_no_gates() {
    let mut world = world();
    world.word(0x60, 0xf000_d57b);
    world.word(0x64, 0xf000_8600);
    world.state = ring(0);
    world.state.eip = CODE;
    world.code(&[0xeb, 0xfe]);
    let mut rules = |limit| {
        world.state.idtr = ia32::TableRegister { base: 0, limit };
        let found = world.conclude(&Diagnosis::default(), Ending::TimedOut, None);
        found.iter().map(|(_, finding)| finding.rule).collect::<Vec<_>>()
    };
    assert_eq!(rules(0x3ff), [""; 0]);
    assert_eq!(rules(0x7ff), ["gate_kind"]);
}

#[test]
fn an_instruction_that_cannot_be_fetched_is_told_by_the_entry_that_leads_nowhere() {
    let mut world = world();
    world.page(&[], |_| true);
    world.word(0xa000, 0x0058_0003);
    world.state.cr2 = CODE;
    world.state.segments = ring(0).segments;
    let found = world.conclude(&Diagnosis::default(), Ending::NoProgress, None);
    has(
        found[0].1.reason.as_deref().unwrap(),
        &["its directory entry (00580003", "points to a table at 00580000, where there is no RAM"],
    );
}

fn kernel_state() -> State {
    ring(0)
}
