//! Into virtual-8086 mode, out of it, and within it.

use crate::lab::*;
use ia32::{
    Descriptor, Eflags, GateKind, Interruption, Iret, Segment, SegmentRegister, Vector, Word,
};

#[test]
fn from_virtual_8086_mode_nine_words_are_pushed_and_data_segments_become_null() {
    let lab = Lab::virtual_8086(0);
    let outcome = lab.done(Interruption::external(0x20));
    assert_eq!(
        frame(&outcome),
        [
            (Word::Eip, ESP0 - 36, 0x10),
            (Word::Cs, ESP0 - 32, 0x200),
            (Word::Eflags, ESP0 - 28, 0x2_0202),
            (Word::Esp, ESP0 - 24, 0x80),
            (Word::Ss, ESP0 - 20, 0x300),
            (Word::Es, ESP0 - 16, 0x100),
            (Word::Ds, ESP0 - 12, 0x400),
            (Word::Fs, ESP0 - 8, 0x500),
            (Word::Gs, ESP0 - 4, 0x600),
        ]
    );
    let after = &outcome.state;
    assert_eq!((after.virtual_8086(), after.cpl()), (false, 0));
    for register in
        [SegmentRegister::Ds, SegmentRegister::Es, SegmentRegister::Fs, SegmentRegister::Gs]
    {
        assert_eq!(*after.segment(register), Segment::null(0), "{register}");
        assert!(outcome.undefined.is_hidden(register as u8));
    }
}

#[test]
fn an_iret_gives_virtual_8086_mode_back() {
    let lab = Lab::virtual_8086(3);
    let entered = lab.done(Interruption::fault(Vector::UD, None));
    let mut back = lab.then(&entered).done(Iret::BITS32).state;
    // A fault saves RF as 1.
    assert!(back.eflags.contains(Eflags::RF));
    back.eflags = back.eflags.without(Eflags::RF);
    assert_eq!(back, lab.state);
}

#[test]
fn a_16_bit_gate_from_virtual_8086_mode_pushes_nine_short_words() {
    let mut lab = Lab::virtual_8086(0);
    lab.gate(0x20, GateKind::Interrupt16, KERNEL_CODE, 0);
    let outcome = lab.done(Interruption::external(0x20));
    assert_eq!(outcome.state.general.esp, ESP0 - 18);
    assert_eq!(pushed(&outcome, Word::Eflags), Some(0x202));
}

#[test]
fn int_n_needs_iopl_3_and_int3_into_and_int1_do_not() {
    for iopl in 0..4 {
        let mut lab = Lab::virtual_8086(iopl);
        for vector in [3, 4, 0x30] {
            lab.gate_as(vector, |gate| gate.dpl = 3);
        }
        if iopl < 3 {
            assert_eq!(lab.refused(Interruption::int(0x30)), (Vector::GP, 0));
        } else {
            assert!(lab.attempt(Interruption::int(0x30)).is_completed());
        }
        for event in [
            Interruption::int3(),
            Interruption::into(),
            Interruption::icebp(),
            Interruption::external(0x30),
        ] {
            assert!(lab.attempt(event).is_completed(), "{event:?} with IOPL {iopl}");
        }
    }
}

#[test]
fn virtual_8086_mode_has_cpl_3_for_the_gates_dpl() {
    let lab = Lab::virtual_8086(3);
    assert_eq!(lab.refused(Interruption::int(0x30)), (Vector::GP, idt(0x30, 0)));
}

#[test]
fn the_handler_has_to_be_in_ring_0() {
    for (selector, attributes) in
        [(RING_1_CODE, 0xc0bb), (SPARE, 0xc0db), (USER_CODE, CODE_3), (CONFORMING, 0xc09f)]
    {
        let mut lab = Lab::virtual_8086(3);
        lab.descriptor(selector, flat(attributes));
        lab.gate(0x30, GateKind::Trap32, selector, 3);
        let code = u32::from(selector & !3);
        assert_eq!(lab.refused(Interruption::int(0x30)), (Vector::GP, code));
        assert_eq!(lab.refused(Interruption::external(0x30)), (Vector::GP, code | 1));
    }
}

#[test]
fn the_inner_stack_needs_room_for_nine_words() {
    let mut lab = Lab::virtual_8086(0);
    lab.descriptor(SPARE, Descriptor::new(0, ESP0 - 36, 0x4097));
    lab.ss0(SPARE);
    assert_eq!(lab.refused(Interruption::nmi()), (Vector::SS, u32::from(SPARE) | 1));
    lab.descriptor(SPARE, Descriptor::new(0, ESP0 - 37, 0x4097));
    assert!(lab.attempt(Interruption::nmi()).is_completed());
}

/// Ring 0, with a frame that returns to virtual-8086 mode.
fn returning(eip: u32) -> Lab {
    let mut lab = Lab::kernel();
    lab.stack(&[eip, 0x200, 0x2_0202, 0x80, 0x300, 0x100, 0x400, 0x500, 0x600]);
    lab
}

#[test]
fn the_whole_frame_has_to_lie_within_the_stack() {
    let mut lab = returning(0x10);
    let esp = lab.state.general.esp;
    lab.state.segments[SegmentRegister::Ss as usize].limit = esp + 35;
    assert!(lab.attempt(Iret::BITS32).is_completed());
    lab.state.segments[SegmentRegister::Ss as usize].limit = esp + 34;
    assert_eq!(lab.refused(Iret::BITS32), (Vector::SS, 0));
}

#[test]
fn virtual_8086_code_ends_at_64_kib() {
    assert!(returning(0xffff).attempt(Iret::BITS32).is_completed());
    assert_eq!(returning(0x1_0000).refused(Iret::BITS32), (Vector::GP, 0));
}

#[test]
fn editions_differ_about_a_return_with_a_short_stack_and_a_high_eip() {
    let mut lab = returning(0x1_0000);
    lab.state.segments[SegmentRegister::Ss as usize].limit = lab.state.general.esp + 12;
    let outcome = lab.attempt(Iret::BITS32);
    assert_eq!(outcome.unspecified, Some(ia32::Unspecified::CheckOrder));
}

#[test]
fn iopl_vif_and_vip_come_from_the_frame() {
    let mut lab = returning(0x10);
    let esp = lab.state.general.esp;
    lab.write(esp + 8, 4, 0x001a_3246);
    let after = lab.done(Iret::BITS32).state;
    assert_eq!(after.eflags, Eflags(0x001a_3246));
}

#[test]
fn an_iret_in_virtual_8086_mode_needs_iopl_3() {
    for iopl in 0..3 {
        assert_eq!(Lab::virtual_8086(iopl).refused(Iret::BITS32), (Vector::GP, 0));
    }
}

#[test]
fn an_iret_in_virtual_8086_mode_stays_in_it_and_keeps_iopl() {
    let mut lab = Lab::virtual_8086(3);
    // SS:SP is 0300:0080. NT does not make a task return of it.
    lab.state.eflags = lab.state.eflags | Eflags::NT;
    for (n, word) in [0x123, 0x777, 0x0ed7].into_iter().enumerate() {
        lab.write(0x3080 + 2 * n as u32, 2, word);
    }
    let after = lab.done(Iret::BITS16).state;
    assert_eq!((after.eip, *after.cs()), (0x123, Segment::virtual_8086(0x777)));
    assert_eq!(after.eflags, Eflags(0x2_3ed7));
    assert_eq!(after.general.esp, 0x86);

    for (n, word) in [0x1_0000, 0x777, 0x202].into_iter().enumerate() {
        lab.write(0x3080 + 4 * n as u32, 4, word);
    }
    assert_eq!(lab.refused(Iret::BITS32), (Vector::GP, 0));
}
