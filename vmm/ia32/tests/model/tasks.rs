//! Hardware task switches: by task gate, by IRET with NT, by far JMP and CALL.

use crate::lab::*;
use ia32::{
    AttemptEnd, Branch, Descriptor, Eflags, FarTransfer, Interruption, Iret, Operation, Outcome,
    Owner, Segment, SegmentRegister, State, Unspecified, Vector, Word,
};

const JUMP: FarTransfer = FarTransfer { call: false, selector: OTHER_TSS_SELECTOR, length: 7 };
const CALL: FarTransfer = FarTransfer { call: true, ..JUMP };

/// Ring 0, where NT is set and the current TSS links to the other one, which is busy.
fn nested() -> Lab {
    let mut lab = Lab::kernel();
    lab.flags(Eflags::NT);
    lab.write(TSS, 2, u32::from(OTHER_TSS_SELECTOR));
    lab.descriptor(OTHER_TSS_SELECTOR, Descriptor::new(OTHER_TSS, 103, 0x8b));
    lab
}

/// A lab in which vector 20H and #GP are task gates, and the four ways into the other task.
fn ways() -> [(Lab, Operation); 4] {
    let mut gate = Lab::user();
    gate.task_gate(0x20, OTHER_TSS_SELECTOR);
    [
        (gate, Interruption::external(0x20).into()),
        (Lab::kernel(), JUMP.into()),
        (Lab::kernel(), CALL.into()),
        (nested(), Iret::BITS32.into()),
    ]
}

fn busy(lab: &Lab, selector: u16) -> bool {
    lab.read(GDT + u32::from(selector & !7) + 4) & 1 << 9 != 0
}

#[test]
fn the_new_tasks_registers_come_from_its_tss() {
    for (lab, operation) in ways() {
        let outcome = lab.done(operation);
        let after = &outcome.state;
        assert_eq!(after.eip, 0x7000);
        assert_eq!(after.general.to_array(), [0xa0, 0xa1, 0xa2, 0xa3, 0x7800, 0xa5, 0xa6, 0xa7]);
        assert_eq!(after.cs().selector, KERNEL_CODE);
        assert_eq!(after.segment(SegmentRegister::Gs).selector, KERNEL_DATA);
        assert_eq!(
            (after.tr.selector, after.tr.base, after.tr.ty()),
            (OTHER_TSS_SELECTOR, OTHER_TSS, 0xb)
        );
        assert_eq!(after.cr0 & 8, 8);
        assert_eq!(after.ldtr, Segment::null(0));
    }
}

#[test]
fn busy_bits_nt_and_link_go_by_the_manuals_table() {
    // Old busy, NT in the new EFLAGS, linked.
    let expected = [(true, true), (false, false), (true, true), (false, false)];
    for ((lab, operation), (nests, linked)) in ways().into_iter().zip(expected) {
        let outcome = lab.done(operation);
        let after = lab.then(&outcome);
        assert_eq!(busy(&after, TSS_SELECTOR), nests, "{operation:?}");
        assert!(busy(&after, OTHER_TSS_SELECTOR));
        assert_eq!(outcome.state.eflags.contains(Eflags::NT), nests);
        let link = after.read(OTHER_TSS) & 0xffff;
        assert_eq!(link == u32::from(TSS_SELECTOR), linked);
        // IRET clears NT in what it saves.
        let saved = Eflags(after.read(TSS + 36));
        assert!(!saved.contains(Eflags::NT));
    }
}

#[test]
fn the_old_task_is_saved_and_its_stack_fields_are_not_touched() {
    for (lab, operation) in ways() {
        let outcome = lab.done(operation);
        let after = lab.then(&outcome);
        let state = &lab.state;
        let length = match operation {
            Operation::Interruption(_) => 0,
            Operation::Iret(_) => 1,
            Operation::Far(_) => 7,
        };
        assert_eq!(after.read(TSS + 32), state.eip + length);
        for (n, register) in (0..).zip(state.general.to_array()) {
            assert_eq!(after.read(TSS + 40 + 4 * n), register);
        }
        for (n, segment) in (0..).zip(&state.segments) {
            assert_eq!(after.read(TSS + 72 + 4 * n), u32::from(segment.selector));
        }
        // Link, ESP0 to SS2, CR3, LDT, T and the I/O map.
        for field in (0..32).step_by(4).chain([96, 100]) {
            assert_eq!(after.read(TSS + field), lab.read(TSS + field), "+{field}");
        }
    }
}

#[test]
fn a_task_gate_saves_rf_as_a_frame_would() {
    let mut lab = Lab::user();
    lab.task_gate(13, OTHER_TSS_SELECTOR);
    let outcome = lab.done(Interruption::fault(Vector::GP, Some(0x18)));
    let after = lab.then(&outcome);
    assert_eq!(after.read(TSS + 36), 0x1_0202);
    // The error code is on the new task's stack.
    assert_eq!(frame(&outcome), [(Word::ErrorCode, 0x77fc, 0x18)]);
    assert_eq!(outcome.state.general.esp, 0x77fc);
}

#[test]
fn from_virtual_8086_mode_a_task_gate_saves_vm() {
    let mut lab = Lab::virtual_8086(0);
    lab.task_gate(0x20, OTHER_TSS_SELECTOR);
    let outcome = lab.done(Interruption::external(0x20));
    assert_eq!(lab.then(&outcome).read(TSS + 36), 0x2_0202);
    assert!(!outcome.state.virtual_8086());
}

#[test]
fn a_task_in_virtual_8086_mode_has_its_segments_as_paragraphs() {
    let mut lab = Lab::kernel();
    lab.write(OTHER_TSS + 36, 4, 0x2_0202);
    lab.task_segment(SegmentRegister::Cs, 0xf000);
    let after = lab.done(JUMP).state;
    assert!(after.virtual_8086());
    assert_eq!(*after.cs(), Segment::virtual_8086(0xf000));
    assert_eq!(after.cpl(), 3);
}

#[test]
fn a_16_bit_task_is_loaded_and_what_it_lacks_is_open() {
    let mut lab = Lab::kernel();
    lab.task_gate(13, TSS_16_SELECTOR);
    let outcome = lab.done(Interruption::fault(Vector::GP, Some(0x18)));
    let after = &outcome.state;
    assert_eq!((after.eip, after.general.esp & 0xffff), (0x7000, 0x77fe));
    assert_eq!(frame(&outcome), [(Word::ErrorCode, 0x77fe, 0x18)]);
    assert_eq!(outcome.undefined.general.eax, 0xffff_0000);
    assert_eq!(outcome.undefined.selectors, 0b11_0000);
    assert_eq!(after.cr3, lab.state.cr3);
}

#[test]
fn whether_ac_of_a_16_bit_task_lets_the_error_code_pass_is_open() {
    let mut lab = Lab::kernel().paged();
    for page in 0..8 {
        lab.page(page << 12, page << 12 | 3);
    }
    lab.task_gate(13, TSS_16_SELECTOR);
    let push = |lab: &Lab| lab.attempt(Interruption::fault(Vector::GP, Some(0x18)));
    assert_eq!(push(&lab).unspecified, None);
    lab.page(0x7000, 0x7000 | 7);
    assert_eq!(push(&lab).unspecified, None, "SMAP is off");
    lab.state.cr4 |= 1 << 21;
    assert_eq!(push(&lab).unspecified, Some(Unspecified::AlignmentCheck));
}

#[test]
fn a_16_bit_task_is_saved_in_44_bytes() {
    let mut lab = Lab::kernel();
    lab.state.tr = Descriptor::new(TSS_16, 43, 0x83).segment(TSS_16_SELECTOR);
    lab.state.general.eax = 0xdead_1234;
    let outcome = lab.done(JUMP);
    let after = lab.then(&outcome);
    assert_eq!(after.read(TSS_16 + 14) & 0xffff, 0x6007);
    assert_eq!(after.read(TSS_16 + 18) & 0xffff, 0x1234);
    assert_eq!(after.read(TSS_16 + 36) & 0xffff, u32::from(KERNEL_CODE));
    for write in &outcome.writes {
        if matches!(write.owner, Owner::TssGeneral(_) | Owner::TssSegment(_)) {
            assert_eq!(write.width, 2);
        }
    }
}

#[test]
fn cr3_comes_from_a_32_bit_tss() {
    let mut lab = Lab::kernel().paged();
    lab.memory.copy_within(0x3000..0x4000, 0xa000);
    lab.write(OTHER_TSS + 28, 4, 0xa000);
    let outcome = lab.done(JUMP);
    assert_eq!(outcome.state.cr3, 0xa000);
    // The segments are loaded through the new directory.
    assert!(outcome.writes.iter().any(|write| write.address == 0xa000));
}

/// The other task, with one thing changed, entered through a task gate.
#[track_caller]
fn refused(change: impl Fn(&mut Lab), vector: Vector, code: u16) {
    for (event, ext) in [(Interruption::int(0x30), 0), (Interruption::external(0x30), 1)] {
        let mut lab = Lab::user();
        lab.task_gate(0x30, OTHER_TSS_SELECTOR);
        change(&mut lab);
        assert_eq!(lab.refused(event), (vector, u32::from(code) | ext));
    }
}

fn tss(attributes: u16, limit: u32) -> impl Fn(&mut Lab) {
    move |lab| lab.descriptor(OTHER_TSS_SELECTOR, Descriptor::new(OTHER_TSS, limit, attributes))
}

#[test]
fn the_new_tss_is_checked() {
    let named = |selector| move |lab: &mut Lab| lab.task_gate(0x30, selector);
    refused(named(OTHER_TSS_SELECTOR | 4), Vector::GP, OTHER_TSS_SELECTOR | 4);
    refused(named(BEYOND), Vector::GP, BEYOND);
    refused(named(0), Vector::GP, 0);
    refused(named(KERNEL_DATA), Vector::GP, KERNEL_DATA);
    refused(tss(0x8b, 103), Vector::GP, OTHER_TSS_SELECTOR);
    refused(tss(0x09, 103), Vector::NP, OTHER_TSS_SELECTOR);
    refused(tss(0x89, 102), Vector::TS, OTHER_TSS_SELECTOR);
    refused(tss(0x81, 42), Vector::TS, OTHER_TSS_SELECTOR);
}

#[test]
fn iret_to_a_bad_link_is_an_invalid_tss() {
    let link = |selector: u16| {
        let mut lab = nested();
        lab.write(TSS, 2, u32::from(selector));
        lab.refused(Iret::BITS32)
    };
    assert_eq!(link(OTHER_TSS_SELECTOR | 4), (Vector::TS, u32::from(OTHER_TSS_SELECTOR) | 4));
    assert_eq!(link(BEYOND), (Vector::TS, u32::from(BEYOND)));
    assert_eq!(link(KERNEL_DATA), (Vector::TS, u32::from(KERNEL_DATA)));
    let mut lab = nested();
    tss(0x89, 103)(&mut lab);
    assert_eq!(lab.refused(Iret::BITS32), (Vector::TS, u32::from(OTHER_TSS_SELECTOR)));
    tss(0x0b, 103)(&mut lab);
    assert_eq!(lab.refused(Iret::BITS32), (Vector::NP, u32::from(OTHER_TSS_SELECTOR)));
}

#[test]
fn a_fault_before_the_point_of_no_return_is_one_in_the_old_task() {
    let mut lab = Lab::kernel().paged();
    lab.page(OTHER_TSS, TSS & 0xf000 | 5);
    let outcome = lab.attempt(CALL);
    assert_eq!(outcome.fault().map(|fault| fault.vector), Some(Vector::PF));
    let expected = State { cr2: outcome.state.cr2, ..lab.state };
    assert_eq!(outcome.state, expected);
    assert!(outcome.writes.iter().all(|write| !write.certain));
}

/// Like [`refused`], and the fault is one in the new task.
#[track_caller]
fn refused_inside(change: impl Fn(&mut Lab), vector: Vector, code: u16) {
    refused(&change, vector, code);
    let mut lab = Lab::kernel();
    change(&mut lab);
    let outcome = lab.attempt(JUMP);
    assert_eq!(outcome.state.tr.selector, OTHER_TSS_SELECTOR);
    assert!(outcome.writes.iter().any(|write| write.certain && write.owner == Owner::TssEip));
}

fn segment(register: SegmentRegister, selector: u16, attributes: u16) -> impl Fn(&mut Lab) {
    move |lab| {
        lab.descriptor(SPARE, flat(attributes));
        lab.task_segment(register, selector);
    }
}

#[test]
fn the_new_tasks_ldt_is_checked() {
    let ldt = |selector: u16, attributes: u16| {
        move |lab: &mut Lab| {
            lab.descriptor(SPARE, Descriptor::new(LDT, 0x1f, attributes));
            lab.write(OTHER_TSS + 96, 2, u32::from(selector));
        }
    };
    refused_inside(ldt(SPARE | 4, 0x82), Vector::TS, SPARE | 4);
    refused_inside(ldt(BEYOND, 0x82), Vector::TS, BEYOND);
    refused_inside(ldt(SPARE, 0x89), Vector::TS, SPARE);
    refused_inside(ldt(SPARE, 0x02), Vector::TS, SPARE);
    let mut lab = Lab::kernel();
    ldt(SPARE, 0x82)(&mut lab);
    let after = lab.done(JUMP).state;
    assert_eq!((after.ldtr.selector, after.ldtr.base), (SPARE, LDT));
}

#[test]
fn the_new_tasks_code_segment_is_checked() {
    let cs = |selector, attributes| segment(SegmentRegister::Cs, selector, attributes);
    refused_inside(cs(0, CODE_0), Vector::TS, 0);
    refused_inside(cs(BEYOND, CODE_0), Vector::TS, BEYOND);
    refused_inside(cs(SPARE, DATA_0), Vector::TS, SPARE);
    refused_inside(cs(SPARE, CODE_3), Vector::TS, SPARE);
    refused_inside(cs(SPARE, 0xc0ff), Vector::TS, SPARE);
    refused_inside(cs(SPARE, CODE_0 & !0x80), Vector::NP, SPARE);
}

#[test]
fn the_new_tasks_stack_segment_is_checked() {
    let ss = |selector, attributes| segment(SegmentRegister::Ss, selector, attributes);
    refused_inside(ss(0, DATA_0), Vector::TS, 0);
    refused_inside(ss(BEYOND, DATA_0), Vector::TS, BEYOND);
    refused_inside(ss(SPARE, 0xc091), Vector::TS, SPARE);
    refused_inside(ss(SPARE, DATA_0 & !0x80), Vector::SS, SPARE);
    refused_inside(ss(SPARE, DATA_3), Vector::TS, SPARE);
    refused_inside(ss(SPARE | 1, DATA_0), Vector::TS, SPARE);
}

#[test]
fn the_new_tasks_data_segments_are_checked() {
    for register in
        [SegmentRegister::Ds, SegmentRegister::Es, SegmentRegister::Fs, SegmentRegister::Gs]
    {
        let data = |selector, attributes| segment(register, selector, attributes);
        refused_inside(data(BEYOND, DATA_0), Vector::TS, BEYOND);
        refused_inside(data(SPARE, 0xc099), Vector::TS, SPARE);
        refused_inside(data(SPARE, 0xc082), Vector::TS, SPARE);
        refused_inside(data(SPARE | 3, DATA_0), Vector::TS, SPARE);
        refused_inside(data(SPARE, DATA_0 & !0x80), Vector::NP, SPARE);
        let mut lab = Lab::kernel();
        data(2, DATA_0)(&mut lab);
        assert_eq!(lab.done(JUMP).state.segment(register).selector, 2);
        data(SPARE, 0xc0ff)(&mut lab);
        assert!(lab.attempt(JUMP).is_completed());
    }
}

#[test]
fn with_two_bad_selectors_the_order_of_checks_is_open() {
    let mut lab = Lab::kernel();
    lab.task_segment(SegmentRegister::Ss, 0);
    lab.task_segment(SegmentRegister::Ds, BEYOND);
    assert_eq!(lab.attempt(JUMP).unspecified, Some(Unspecified::CheckOrder));
}

#[test]
fn a_fault_in_a_task_half_loaded_wants_a_task_for_a_handler() {
    let mut lab = Lab::user();
    lab.task_gate(0x30, OTHER_TSS_SELECTOR);
    lab.task_segment(SegmentRegister::Ss, 0);
    let outcome = lab.take(Interruption::external(0x30));
    assert_eq!(outcome.unspecified, Some(Unspecified::BrokenTask));
    lab.task_gate(10, TSS_16_SELECTOR);
    let outcome = lab.take(Interruption::external(0x30));
    assert_eq!((outcome.end, outcome.unspecified), (AttemptEnd::Completed, None));
    assert_eq!(outcome.state.tr.selector, TSS_16_SELECTOR);
}

#[test]
fn flags_saved_with_an_open_bit_are_open_when_their_task_comes_back() {
    let mut lab = Lab::kernel();
    lab.task_gate(10, TSS_SELECTOR);
    lab.task_segment(SegmentRegister::Ds, BEYOND);
    assert_eq!(lab.take(JUMP).unspecified, None);
    // Whether a jump with RF set saves it as 1 is not said.
    lab.flags(Eflags::RF);
    assert_eq!(lab.take(JUMP).unspecified, Some(Unspecified::OpenWord));
}

#[test]
fn the_error_code_needs_room_and_eip_has_to_lie_within_the_new_code_segment() {
    let mut lab = Lab::user();
    lab.task_gate(13, OTHER_TSS_SELECTOR);
    lab.descriptor(SPARE, Descriptor::new(0, 0x7000, 0x4093));
    lab.task_segment(SegmentRegister::Ss, SPARE);
    assert_eq!(lab.refused(Interruption::fault(Vector::GP, Some(0))), (Vector::SS, 1));

    let beyond = |lab: &mut Lab| {
        lab.descriptor(SPARE, Descriptor::new(0, 0x6fff, 0x409b));
        lab.task_segment(SegmentRegister::Cs, SPARE);
    };
    refused(beyond, Vector::GP, 0);
}

#[test]
fn the_trap_bit_is_reported() {
    let mut lab = Lab::kernel();
    assert!(!lab.done(JUMP).debug_trap);
    lab.write(OTHER_TSS + 100, 2, 1);
    let outcome = lab.done(JUMP);
    assert!(outcome.debug_trap);
}

#[test]
fn a_far_transfer_needs_the_privilege_of_the_tss() {
    let from = |start: Lab, selector: u16, attributes: u16| {
        let mut lab = start;
        lab.descriptor(OTHER_TSS_SELECTOR, Descriptor::new(OTHER_TSS, 103, attributes));
        let far = FarTransfer { selector, ..JUMP };
        lab.attempt(far).fault().map(|fault| (fault.vector, fault.error_code))
    };
    let code = u32::from(OTHER_TSS_SELECTOR);
    let refused = Some((Vector::GP, code));
    assert_eq!(from(Lab::user(), OTHER_TSS_SELECTOR, 0x89), refused);
    assert_eq!(from(Lab::kernel(), OTHER_TSS_SELECTOR | 3, 0x89), refused);
    assert_eq!(from(Lab::kernel(), OTHER_TSS_SELECTOR, 0x8b), refused);
    assert_eq!(from(Lab::user(), OTHER_TSS_SELECTOR | 3, 0xe9), None);
    assert_eq!(from(Lab::kernel(), 0, 0x89), Some((Vector::GP, 0)));
    assert_eq!(from(Lab::kernel(), BEYOND, 0x89), Some((Vector::GP, u32::from(BEYOND))));
}

#[test]
fn a_far_transfer_goes_through_a_task_gate_in_the_gdt() {
    let gate = |lab: &mut Lab, access: u32| {
        let at = GDT + u32::from(SPARE);
        lab.write(at, 4, u32::from(OTHER_TSS_SELECTOR) << 16);
        lab.write(at + 4, 4, access << 8);
    };
    let far = FarTransfer { selector: SPARE, ..CALL };
    let mut lab = Lab::kernel();
    gate(&mut lab, 0x85);
    assert_eq!(lab.done(far).state.tr.selector, OTHER_TSS_SELECTOR);
    gate(&mut lab, 0x05);
    assert_eq!(lab.refused(far), (Vector::NP, u32::from(SPARE)));
    let mut lab = Lab::user();
    gate(&mut lab, 0x85);
    assert_eq!(lab.refused(far), (Vector::GP, u32::from(SPARE)));
    // The gate's DPL counts, the TSS's does not.
    gate(&mut lab, 0xe5);
    assert!(lab.attempt(far).is_completed());
    let code = FarTransfer { selector: KERNEL_CODE, ..CALL };
    assert!(matches!(Lab::kernel().attempt(code).end, AttemptEnd::Unmodelled(_)));
}

#[test]
fn a_tss_in_the_ldt_is_refused() {
    let mut lab = Lab::kernel();
    let descriptor = Descriptor::new(OTHER_TSS, 103, 0x89).0;
    lab.write(LDT + 16, 4, descriptor as u32);
    lab.write(LDT + 20, 4, (descriptor >> 32) as u32);
    let far = FarTransfer { selector: 0x14, ..JUMP };
    assert_eq!(lab.refused(far), (Vector::GP, 0x14));
}

#[test]
fn an_old_tss_that_is_too_small_is_left_open() {
    let mut lab = Lab::kernel();
    lab.state.tr.limit = 0x5c;
    let outcome: Outcome = lab.attempt(JUMP);
    assert_eq!(outcome.unspecified, Some(Unspecified::OldTaskStateTooSmall));
    assert!(outcome.path().contains(Branch::TaskOldTooSmall));
    lab.state.tr.limit = 0x5d;
    assert!(lab.attempt(JUMP).is_completed());
}

#[test]
fn into_a_task_and_back_the_state_is_as_before() {
    let lab = Lab::kernel();
    let there = lab.done(CALL);
    let back = lab.then(&there).done(Iret::BITS32);
    let mut expected = lab.state;
    expected.eip += 7;
    expected.cr0 |= 8;
    // The LDT is reloaded from the TSS, which names none here.
    expected.ldtr = Segment::null(0);
    let differences: Vec<_> = back.undefined.differences(&expected, &back.state).collect();
    assert_eq!(differences, []);
}
