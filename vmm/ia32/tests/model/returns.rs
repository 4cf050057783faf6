//! IRET: what it loads, and each check with its error code.

use crate::lab::*;
use ia32::{
    Branch, Descriptor, Eflags, Interruption, Iret, OperandSize, Processor, Segment,
    SegmentRegister, Vector,
};

/// Ring 0, with a frame that returns to ring 3.
fn outer() -> Lab {
    let mut lab = Lab::kernel();
    lab.stack(&[0x6100, u32::from(USER_CODE), 0x202, USER_ESP, u32::from(USER_DATA)]);
    lab
}

/// Ring 0, with a frame that stays there.
fn same() -> Lab {
    let mut lab = Lab::kernel();
    lab.stack(&[0x6100, u32::from(KERNEL_CODE), 0x46]);
    lab
}

fn with_word(mut lab: Lab, word: u32, value: u32) -> Lab {
    let esp = lab.state.general.esp;
    lab.write(esp + 4 * word, 4, value);
    lab
}

#[track_caller]
fn refused(lab: Lab, vector: Vector, code: u16) {
    assert_eq!(lab.refused(Iret::BITS32), (vector, u32::from(code)));
}

/// The frame names [`SPARE`] with this RPL as CS, and the descriptor is that.
fn cs(lab: Lab, rpl: u16, attributes: u16) -> Lab {
    let mut lab = with_word(lab, 1, u32::from(SPARE | rpl));
    lab.descriptor(SPARE, flat(attributes));
    lab
}

fn ss(selector: u16, attributes: u16) -> Lab {
    let mut lab = with_word(outer(), 4, u32::from(selector));
    lab.descriptor(SPARE, flat(attributes));
    lab
}

#[test]
fn to_the_same_ring_three_words_are_popped() {
    let outcome = same().done(Iret::BITS32);
    let after = &outcome.state;
    assert_eq!((after.eip, after.eflags, after.cpl()), (0x6100, Eflags(0x46), 0));
    assert_eq!(after.general.esp, ESP0 - 0x100 + 12);
    assert_eq!(outcome.writes.iter().count(), 0);
}

#[test]
fn to_an_outer_ring_five_words_are_popped() {
    let after = outer().done(Iret::BITS32).state;
    assert_eq!((after.cs().selector, after.eip), (USER_CODE, 0x6100));
    assert_eq!((after.ss().selector, after.general.esp), (USER_DATA, USER_ESP));
    assert_eq!((after.cpl(), after.eflags), (3, Eflags(0x202)));
}

#[test]
fn data_segments_of_an_inner_ring_become_null() {
    let mut lab = outer();
    let segments = &mut lab.state.segments;
    segments[SegmentRegister::Es as usize] = flat(DATA_3).segment(USER_DATA);
    segments[SegmentRegister::Fs as usize] = flat(0xc09f).segment(CONFORMING);
    segments[SegmentRegister::Gs as usize] = Segment::null(3);
    let outcome = lab.done(Iret::BITS32);
    let selector = |register| outcome.state.segment(register).selector;
    assert_eq!(selector(SegmentRegister::Ds), 0);
    assert!(!outcome.state.segment(SegmentRegister::Ds).present());
    assert_eq!(selector(SegmentRegister::Es), USER_DATA);
    assert_eq!(selector(SegmentRegister::Fs), CONFORMING);
    assert_eq!(selector(SegmentRegister::Gs), 0);
    assert!(outcome.path().contains(Branch::ReturnSegmentCleared));
}

#[test]
fn what_a_frame_pushed_an_iret_gives_back() {
    let mut lab = Lab::user();
    lab.flags(Eflags::AC | Eflags::DF | Eflags::TF | Eflags::NT | Eflags::ID);
    lab.state.general.esp = 0xdead_beef;
    let entered = lab.done(Interruption::external(0x20));
    let back = lab.then(&entered).done(Iret::BITS32).state;
    let mut expected = lab.state;
    expected.eflags = lab.state.eflags;
    let differences: Vec<_> = ia32::Undefined::default().differences(&expected, &back).collect();
    assert_eq!(differences, []);
}

#[test]
fn flags_are_loaded_as_far_as_cpl_and_iopl_allow() {
    let all = Eflags(0x003d_7fd5);
    let popped = |start: Lab, code: u16, size: OperandSize, before: Eflags| {
        let mut lab = start;
        let esp = lab.state.general.esp;
        let bytes = size.bytes();
        lab.write(esp, bytes, 0x6100);
        lab.write(esp + bytes, bytes, u32::from(code));
        lab.write(esp + 2 * bytes, bytes, all.0);
        lab.state.eflags = before | Eflags::FIXED;
        lab.done(Iret { size, length: 1 }).state.eflags
    };
    let (wide, narrow) = (OperandSize::Bits32, OperandSize::Bits16);
    // Ring 0 loads all but VM.
    assert_eq!(popped(Lab::kernel(), KERNEL_CODE, wide, Eflags(0)), all | Eflags::FIXED);
    let low = Eflags(all.0 & 0xffff) | Eflags::FIXED;
    assert_eq!(popped(Lab::kernel(), KERNEL_CODE, narrow, Eflags(0)), low);
    // Ring 3 with IOPL 0 keeps IF, IOPL, VIF and VIP.
    let kept = Eflags::IF | Eflags::IOPL | Eflags::VIF | Eflags::VIP;
    let expected = all.without(kept) | Eflags::FIXED;
    assert_eq!(popped(Lab::user(), USER_CODE, wide, Eflags(0)), expected);
    // With IOPL 3 it loads IF.
    let kept = kept.without(Eflags::IF | Eflags::IOPL);
    let expected = all.without(kept) | Eflags::FIXED;
    assert_eq!(popped(Lab::user(), USER_CODE, wide, Eflags::IOPL), expected);
}

#[test]
fn ring_3_cannot_set_vm() {
    let mut lab = Lab::user();
    lab.stack(&[0x6100, u32::from(USER_CODE), 0x2_0202]);
    let after = lab.done(Iret::BITS32).state;
    assert!(!after.eflags.contains(Eflags::VM));
}

#[test]
fn a_16_bit_iret_pops_words_of_two_bytes() {
    let mut lab = Lab::kernel();
    let esp = lab.state.general.esp;
    for (n, word) in
        [0x6100, u32::from(USER_CODE), 0x202, 0x9000, u32::from(USER_DATA)].into_iter().enumerate()
    {
        lab.write(esp + 2 * n as u32, 2, word);
    }
    lab.flags(Eflags::AC);
    let outcome = lab.done(Iret::BITS16);
    let after = &outcome.state;
    assert_eq!((after.eip, after.general.esp, after.cpl()), (0x6100, 0x9000, 3));
    // The upper half of EFLAGS stays.
    assert!(after.eflags.contains(Eflags::AC));
}

#[test]
fn a_16_bit_user_stack_gets_sp_and_the_kernels_upper_half_shows_through() {
    let mut lab = with_word(outer(), 4, u32::from(USER_DATA_16));
    lab = with_word(lab, 3, 0xabcd_1234);
    let outcome = lab.done(Iret::BITS32);
    assert_eq!(outcome.state.general.esp & 0xffff, 0x1234);
    assert_eq!(outcome.undefined.general.esp, 0xffff_0000);
}

#[test]
fn the_frame_has_to_lie_within_the_stack() {
    for (lab, words) in [(same(), 3), (outer(), 5)] {
        let mut lab = lab;
        let esp = lab.state.general.esp;
        let ss = SegmentRegister::Ss as usize;
        lab.state.segments[ss].limit = esp + 4 * words - 1;
        assert!(lab.attempt(Iret::BITS32).is_completed());
        lab.state.segments[ss].limit -= 1;
        refused(lab, Vector::SS, 0);
    }
}

#[test]
fn the_popped_code_segment_is_checked() {
    for null in 0..4 {
        refused(with_word(same(), 1, null), Vector::GP, 0);
    }
    refused(with_word(same(), 1, u32::from(BEYOND)), Vector::GP, BEYOND);
    refused(cs(same(), 0, DATA_0), Vector::GP, SPARE);
    refused(cs(same(), 0, 0x0089), Vector::GP, SPARE);
    refused(cs(same(), 0, CODE_3), Vector::GP, SPARE);
    refused(cs(outer(), 3, CODE_0), Vector::GP, SPARE);
    // Conforming code: DPL above RPL.
    refused(cs(same(), 0, 0xc0ff), Vector::GP, SPARE);
    refused(cs(same(), 0, CODE_0 & !0x80), Vector::NP, SPARE);
    assert!(cs(same(), 0, 0xc09f).attempt(Iret::BITS32).is_completed());
    assert!(cs(outer(), 3, 0xc09f).attempt(Iret::BITS32).is_completed());
}

#[test]
fn an_inner_ring_cannot_be_returned_to() {
    let mut lab = Lab::user();
    lab.stack(&[0x6100, u32::from(KERNEL_CODE), 2]);
    refused(lab, Vector::GP, KERNEL_CODE);
}

#[test]
fn the_upper_half_of_a_popped_selector_does_not_matter() {
    let lab = with_word(outer(), 1, 0xdead_0000 | u32::from(USER_CODE));
    assert_eq!(lab.done(Iret::BITS32).state.cs().selector, USER_CODE);
}

#[test]
fn the_popped_stack_segment_is_checked() {
    for null in 0..4 {
        refused(ss(null, DATA_3), Vector::GP, 0);
    }
    refused(ss(BEYOND | 3, DATA_3), Vector::GP, BEYOND);
    refused(ss(SPARE, DATA_3), Vector::GP, SPARE);
    refused(ss(SPARE | 3, DATA_0), Vector::GP, SPARE);
    refused(ss(SPARE | 3, CODE_3), Vector::GP, SPARE);
    refused(ss(SPARE | 3, 0xc0f1), Vector::GP, SPARE);
    refused(ss(SPARE | 3, DATA_3 & !0x80), Vector::SS, SPARE);
    assert!(ss(SPARE | 3, DATA_3).attempt(Iret::BITS32).is_completed());
}

#[test]
fn a_return_to_ring_1_wants_a_stack_of_ring_1() {
    let to_ring_1 =
        |ss: u16| with_word(with_word(outer(), 1, u32::from(RING_1_CODE)), 4, u32::from(ss));
    assert_eq!(to_ring_1(RING_1_DATA).done(Iret::BITS32).state.cpl(), 1);
    refused(to_ring_1(RING_1_DATA | 3), Vector::GP, RING_1_DATA & !3);
    refused(to_ring_1(RING_1_DATA & !3), Vector::GP, RING_1_DATA & !3);
    refused(to_ring_1(USER_DATA), Vector::GP, USER_DATA & !3);
}

#[test]
fn a_16_bit_iret_within_a_ring_takes_six_bytes_off_the_stack() {
    let mut lab = Lab::kernel();
    let esp = lab.state.general.esp;
    for (at, word) in [(esp, 0x6100), (esp + 2, u32::from(KERNEL_CODE)), (esp + 4, 0x46)] {
        lab.write(at, 2, word);
    }
    let after = lab.done(Iret::BITS16).state;
    assert_eq!((after.general.esp, after.eip), (esp + 6, 0x6100));
}

#[test]
fn the_popped_eip_has_to_lie_within_the_code_segment() {
    for (lab, rpl, attributes) in [(same(), 0, 0x409b), (outer(), 3, 0x40fb)] {
        let mut lab = with_word(lab, 1, u32::from(SPARE | rpl));
        lab.descriptor(SPARE, Descriptor::new(0, 0x6100, attributes));
        assert!(lab.attempt(Iret::BITS32).is_completed());
        lab.descriptor(SPARE, Descriptor::new(0, 0x60ff, attributes));
        refused(lab, Vector::GP, 0);
    }
}

#[test]
fn a_bad_frame_changes_nothing() {
    let lab = ss(SPARE | 3, DATA_0);
    let outcome = lab.attempt(Iret::BITS32);
    assert_eq!(outcome.state, lab.state);
    assert_eq!(outcome.writes.iter().count(), 0);
}

#[test]
fn an_unaligned_pop_in_ring_3_is_an_alignment_check() {
    let mut lab = Lab::user();
    lab.state.general.esp += 2;
    lab.stack(&[0x6100, u32::from(USER_CODE), 0x202]);
    lab.flags(Eflags::AC);
    assert!(lab.attempt(Iret::BITS32).is_completed());
    lab.state.cr0 |= 1 << 18;
    refused(lab, Vector::AC, 0);
}

#[test]
fn nmis_are_open_again_after_an_iret_and_on_intel_after_one_that_faults() {
    let mut good = outer();
    good.state.nmi_blocked = true;
    assert!(!good.done(Iret::BITS32).state.nmi_blocked);
    let mut bad = ss(0, DATA_3);
    bad.state.nmi_blocked = true;
    assert!(!bad.attempt(Iret::BITS32).state.nmi_blocked);
    bad.processor = Processor::AMD;
    assert!(bad.attempt(Iret::BITS32).state.nmi_blocked);
}

#[test]
fn descriptors_become_accessed() {
    let mut lab = outer();
    lab.descriptor(USER_CODE, flat(CODE_3 & !1));
    lab.descriptor(USER_DATA, flat(DATA_3 & !1));
    let outcome = lab.done(Iret::BITS32);
    let values: Vec<u32> = outcome.writes.iter().map(|write| write.value).collect();
    assert_eq!(values, [0xfb, 0xf3]);
    assert_eq!((outcome.state.cs().ty(), outcome.state.ss().ty()), (0xb, 3));
}
