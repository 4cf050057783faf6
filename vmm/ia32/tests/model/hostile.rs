//! What a hostile ring-3 program can bring along, as far as an entry decides it.

use crate::lab::*;
use ia32::{Eflags, Interruption, Iret, Segment, SegmentRegister, Vector, Word};

#[test]
fn a_wild_esp_is_only_stored() {
    for esp in [0, 1, 3, 0xffff_ffff, ESP0, 0x8000_0001] {
        let mut lab = Lab::user().paged();
        lab.state.general.esp = esp;
        assert_eq!(pushed(&lab.done(Interruption::external(0x20)), Word::Esp), Some(esp));
    }
}

#[test]
fn df_and_ac_are_kept_and_tf_and_nt_are_stored_then_cleared() {
    let mut lab = Lab::user();
    lab.flags(Eflags::DF | Eflags::AC | Eflags::TF | Eflags::NT);
    let outcome = lab.done(Interruption::external(0x20));
    assert!(outcome.state.eflags.contains(Eflags::DF | Eflags::AC));
    assert!(!outcome.state.eflags.intersects(Eflags::TF | Eflags::NT));
    let saved = Eflags(pushed(&outcome, Word::Eflags).unwrap());
    assert!(saved.contains(Eflags::DF | Eflags::AC | Eflags::TF | Eflags::NT));
}

#[test]
fn an_nt_that_survived_makes_the_next_iret_a_task_return() {
    let mut lab = Lab::kernel();
    lab.flags(Eflags::NT);
    // The link is 0: a null TSS.
    assert_eq!(lab.refused(Iret::BITS32), (Vector::TS, 0));
}

#[test]
fn a_debug_trap_held_off_by_mov_ss_arrives_from_ring_0() {
    // CVE-2018-8897: INT n behind MOV SS with a data watchpoint. The #DB comes after the entry.
    let mut lab = Lab::user();
    lab.gate_as(0x80, |gate| gate.dpl = 3);
    lab.state.interrupt_shadow = 1;
    let entered = lab.done(Interruption::int(0x80));
    let debug = lab.then(&entered).done(Interruption::trap(Vector::DB));
    assert_eq!(frame(&debug).len(), 3);
    assert_eq!(pushed(&debug, Word::Cs), Some(u32::from(KERNEL_CODE)));
    assert_eq!(pushed(&debug, Word::Eip), Some(HANDLER + 0x80));
}

#[test]
fn icebp_needs_no_dpl_and_a_closed_int_is_a_fault_with_its_vector() {
    let lab = Lab::user();
    assert_eq!(lab.done(Interruption::icebp()).state.eip, HANDLER + 1);
    assert_eq!(lab.refused(Interruption::int(1)), (Vector::GP, idt(1, 0)));
}

#[test]
fn odd_data_segments_are_not_reloaded() {
    let mut lab = Lab::user();
    let segments = &mut lab.state.segments;
    segments[SegmentRegister::Ds as usize] = Segment::null(3);
    segments[SegmentRegister::Gs as usize] = flat(DATA_3).segment(LDT_DATA);
    let outcome = lab.done(Interruption::external(0x20));
    for register in [SegmentRegister::Ds, SegmentRegister::Es, SegmentRegister::Gs] {
        assert_eq!(outcome.state.segment(register), lab.state.segment(register));
    }
}

#[test]
fn a_16_bit_stack_segment_is_stored_with_the_whole_of_esp() {
    let mut lab = Lab::user();
    lab.state.segments[SegmentRegister::Ss as usize] =
        ia32::Descriptor::new(0, 0xffff, 0x00f3).segment(USER_DATA_16);
    lab.state.general.esp = 0xdead_1234;
    assert_eq!(pushed(&lab.done(Interruption::external(0x20)), Word::Esp), Some(0xdead_1234));
}

#[test]
fn a_return_frame_with_a_bad_ss_faults_in_ring_0() {
    // CVE-2014-9322.
    let mut lab = Lab::kernel();
    lab.descriptor(SPARE, flat(DATA_3 & !0x80));
    let ss = u32::from(SPARE | 3);
    lab.stack(&[0x6100, u32::from(USER_CODE), 0x202, USER_ESP, ss]);
    let outcome = lab.take(Iret::BITS32);
    assert_eq!(outcome.state.eip, HANDLER + 12);
    assert_eq!(pushed(&outcome, Word::ErrorCode), Some(u32::from(SPARE)));
    assert_eq!(pushed(&outcome, Word::Cs), Some(u32::from(KERNEL_CODE)));
    assert_eq!(frame(&outcome).len(), 4);
}

#[test]
fn with_iopl_3_a_cleared_if_is_stored() {
    let mut lab = Lab::user();
    lab.state.eflags = Eflags(0x3002);
    assert_eq!(pushed(&lab.done(Interruption::nmi()), Word::Eflags), Some(0x3002));
}

#[test]
fn with_a_code_segment_base_the_stored_eip_is_an_offset() {
    let mut lab = Lab::user();
    lab.state.segments[SegmentRegister::Cs as usize].base = 0x4000_0000;
    assert_eq!(pushed(&lab.done(Interruption::external(0x20)), Word::Eip), Some(0x6000));
}

#[test]
fn in_virtual_8086_mode_the_rpl_of_cs_means_nothing() {
    // CVE-2010-0232: a CS that looks like the kernel's.
    let mut lab = Lab::virtual_8086(3);
    lab.state.segments[SegmentRegister::Cs as usize] = Segment::virtual_8086(KERNEL_CODE);
    let outcome = lab.done(Interruption::fault(Vector::GP, Some(0)));
    assert_eq!(frame(&outcome).len(), 10);
    assert_eq!(pushed(&outcome, Word::Cs), Some(u32::from(KERNEL_CODE)));
}

#[test]
fn an_iret_inside_an_nmi_handler_opens_nmis() {
    let lab = Lab::user();
    let nmi = lab.done(Interruption::nmi());
    let inside = lab.then(&nmi);
    let fault = inside.done(Interruption::fault(Vector::PF, Some(0)));
    assert!(fault.state.nmi_blocked);
    // The page-fault handler takes its error code off and returns into the NMI's.
    let mut handler = inside.then(&fault);
    handler.state.general.esp += 4;
    assert!(!handler.done(Iret::BITS32).state.nmi_blocked);
}
