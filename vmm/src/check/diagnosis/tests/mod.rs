//! A small world of tables in memory, and what is said of the ways in which it can end.
//!
//! ```text
//!  1000 GDT   2000 IDT   3000 TSS   5000 code   8000 ESP0   a000 directory   b000 page table
//! ```

mod handlers;
mod waiting;

use super::*;
use crate::check::{ChangedWord, CodePlace, Degree, LookBack};
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
    arriving: Option<Vector>,
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
        arriving: None,
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
        let end = End { ending, state: self.state, last_event: last, arriving: self.arriving };
        let aftermath = Aftermath {
            end: &end,
            memory: &self.memory,
            devices: &self.devices,
            probes: &self.probes,
            processor: Processor::INTEL,
            names: &|address| (address == 0x6000).then(|| "handler".to_owned()),
            arrays: None,
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
        let asks = |finding: &Finding| matches!(finding.look_back, Some(LookBack::Stored(_)));
        assert!(found.iter().all(|(_, finding)| asks(finding)), "who made the gate: {found:?}");
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
    // Its line is shown, and who has made the entry is asked for: the processor's marks aside.
    assert_eq!(found[0].1.places, [CodePlace::Instruction(CODE)]);
    let word = ChangedWord { address: 0xa000, physical: 0xa000, value: 0x0058_0003 };
    assert_eq!(found[0].1.look_back, Some(LookBack::StoredPart { word, bits: !0x60 }));
}

fn kernel_state() -> State {
    ring(0)
}
