//! Each check of a delivery, with the error code it gives: EXT is 1 unless the event is an INT n,
//! INT3 or INTO.

use crate::lab::*;
use ia32::{
    Branch, Descriptor, Gate, GateKind, Interruption, InterruptionKind, SegmentRegister, Selector,
    Vector,
};

/// Sends each kind of event through the gates that `change` has made, and expects the same fault.
#[track_caller]
fn refused(start: fn() -> Lab, change: impl Fn(&mut Lab), vector: Vector, code: u32) {
    for (event, ext) in events() {
        let mut lab = start();
        for vector in [2, 6, 0x30] {
            lab.gate_as(vector, |gate| gate.dpl = 3);
        }
        change(&mut lab);
        assert_eq!(lab.refused(event), (vector, code | ext), "{event:?}");
    }
}

/// Changes the gates that [`events`] uses.
fn gates(lab: &mut Lab, change: impl Fn(&mut Gate)) {
    for vector in [2, 6, 0x30] {
        lab.gate_as(vector, &change);
    }
}

fn handler(selector: u16) -> impl Fn(&mut Lab) {
    move |lab| gates(lab, |gate| gate.selector = Selector(selector))
}

fn spare(attributes: u16) -> impl Fn(&mut Lab) {
    move |lab| {
        lab.descriptor(SPARE, flat(attributes));
        handler(SPARE)(lab);
    }
}

fn inner(selector: u16, descriptor: Descriptor) -> impl Fn(&mut Lab) {
    move |lab| {
        lab.descriptor(SPARE, descriptor);
        lab.ss0(selector);
    }
}

#[test]
fn a_gate_outside_the_idt_is_a_general_protection_fault() {
    for (event, ext) in events() {
        let mut lab = Lab::user();
        let vector = event.vector.0;
        lab.gate_as(vector, |gate| gate.dpl = 3);
        lab.state.idtr.limit = u16::from(vector) * 8 + 7;
        assert!(lab.attempt(event).is_completed());
        lab.state.idtr.limit -= 1;
        assert_eq!(lab.refused(event), (Vector::GP, idt(vector, ext)));
    }
}

#[test]
fn an_entry_that_is_no_gate_is_a_general_protection_fault() {
    for ty in (0..32).filter(|ty| ![5, 6, 7, 14, 15].contains(ty)) {
        for (event, ext) in events() {
            let mut lab = Lab::user();
            let vector = event.vector.0;
            lab.write(IDT + 8 * u32::from(vector) + 4, 4, 0x8000 | 3 << 13 | ty << 8);
            assert_eq!(lab.refused(event), (Vector::GP, idt(vector, ext)), "type {ty}");
        }
    }
}

#[test]
fn only_int_int3_and_into_need_the_gates_dpl() {
    for (event, vector) in
        [(Interruption::int(0x30), 0x30), (Interruption::int3(), 3), (Interruption::into(), 4)]
    {
        let lab = Lab::user();
        assert_eq!(lab.refused(event), (Vector::GP, idt(vector, 0)));
        assert!(Lab::kernel().attempt(event).is_completed());
    }
    for event in [
        Interruption::icebp(),
        Interruption::external(0x30),
        Interruption::nmi(),
        Interruption::fault(Vector::DE, None),
    ] {
        assert!(Lab::user().attempt(event).is_completed(), "{event:?}");
    }
}

#[test]
fn an_absent_gate_is_not_present() {
    for (event, ext) in events() {
        let mut lab = Lab::user();
        let vector = event.vector.0;
        gates(&mut lab, |gate| *gate = Gate { present: false, dpl: 3, ..*gate });
        assert_eq!(lab.refused(event), (Vector::NP, idt(vector, ext)));
    }
}

#[test]
fn the_dpl_is_asked_before_presence() {
    let mut lab = Lab::user();
    gates(&mut lab, |gate| gate.present = false);
    assert_eq!(lab.refused(Interruption::int(0x30)), (Vector::GP, idt(0x30, 0)));
}

#[test]
fn the_handlers_code_segment_is_checked() {
    let selector = u32::from(SPARE);
    for null in 0..4 {
        refused(Lab::user, handler(null), Vector::GP, 0);
    }
    refused(Lab::user, handler(BEYOND | 3), Vector::GP, u32::from(BEYOND));
    refused(Lab::user, handler(LDT_DATA | 0x20), Vector::GP, u32::from(LDT_DATA & !3 | 0x20));
    refused(Lab::user, spare(DATA_0), Vector::GP, selector);
    // A system descriptor: an LDT.
    refused(Lab::user, spare(0xc082), Vector::GP, selector);
    // Further out, conforming or not.
    refused(Lab::kernel, spare(CODE_3), Vector::GP, selector);
    refused(Lab::kernel, spare(0xc0ff), Vector::GP, selector);
    refused(Lab::user, spare(CODE_0 & !0x80), Vector::NP, selector);
    // What it is comes before whether it is present.
    refused(Lab::user, spare(DATA_0 & !0x80), Vector::GP, selector);
}

#[test]
fn all_eight_bytes_of_a_descriptor_have_to_lie_within_its_table() {
    for (selector, code) in [(SPARE, u32::from(SPARE)), (LDT_DATA, u32::from(LDT_DATA & !3))] {
        let mut lab = Lab::kernel();
        lab.descriptor(SPARE, flat(CODE_0));
        lab.write(LDT + 8, 4, flat(CODE_0).0 as u32);
        lab.write(LDT + 12, 4, (flat(CODE_0).0 >> 32) as u32);
        gates(&mut lab, |gate| gate.selector = Selector(selector));
        lab.state.gdtr.limit = SPARE + 7;
        lab.state.ldtr.limit = 15;
        assert!(lab.attempt(Interruption::nmi()).is_completed());
        lab.state.gdtr.limit -= 1;
        lab.state.ldtr.limit -= 1;
        assert_eq!(lab.refused(Interruption::nmi()), (Vector::GP, code | 1));
    }
}

#[test]
fn an_ldt_that_is_not_loaded_has_no_descriptors() {
    let mut lab = Lab::user();
    lab.state.ldtr = ia32::Segment::null(0);
    gates(&mut lab, |gate| gate.selector = Selector(LDT_DATA));
    assert_eq!(lab.refused(Interruption::nmi()), (Vector::GP, u32::from(LDT_DATA & !3) | 1));
}

#[test]
fn the_inner_stack_pointer_has_to_lie_within_the_tss() {
    let limit = |limit| move |lab: &mut Lab| lab.state.tr.limit = limit;
    refused(Lab::user, limit(8), Vector::TS, u32::from(TSS_SELECTOR));
    for (bytes, enough) in [(6, 9), (8, 11)] {
        let mut lab = Lab::user();
        lab.processor.inner_stack_bytes = bytes;
        lab.state.tr.limit = enough;
        assert!(lab.attempt(Interruption::nmi()).is_completed());
        lab.state.tr.limit = enough - 1;
        assert_eq!(lab.refused(Interruption::nmi()), (Vector::TS, u32::from(TSS_SELECTOR) | 1));
    }
    let bits_16 = |lab: &mut Lab| {
        lab.state.tr.attributes = 0x83;
        lab.state.tr.limit = 4;
    };
    refused(Lab::user, bits_16, Vector::TS, u32::from(TSS_SELECTOR));
    // In ring 0 the TSS is not looked at.
    let mut lab = Lab::kernel();
    lab.state.tr.limit = 0;
    assert!(lab.attempt(Interruption::nmi()).is_completed());
}

#[test]
fn the_inner_stack_segment_is_checked() {
    let selector = u32::from(SPARE);
    let ss0 = |selector| move |lab: &mut Lab| lab.ss0(selector);
    for null in 0..4 {
        refused(Lab::user, ss0(null), Vector::TS, 0);
    }
    refused(Lab::user, ss0(BEYOND), Vector::TS, u32::from(BEYOND));
    refused(Lab::user, inner(SPARE | 1, flat(DATA_0)), Vector::TS, selector);
    refused(Lab::user, inner(SPARE, flat(DATA_3)), Vector::TS, selector);
    refused(Lab::user, inner(SPARE, flat(CODE_0)), Vector::TS, selector);
    refused(Lab::user, inner(SPARE, flat(0xc091)), Vector::TS, selector);
    refused(Lab::user, inner(SPARE, flat(0xc082)), Vector::TS, selector);
    refused(Lab::user, inner(SPARE, flat(DATA_0 & !0x80)), Vector::SS, selector);
}

#[test]
fn the_inner_stack_segment_has_the_handlers_rpl_and_dpl_not_a_lower_one() {
    for ss1 in [KERNEL_DATA, RING_1_DATA & !3, KERNEL_DATA | 1] {
        let mut lab = Lab::user();
        lab.gate(0x30, GateKind::Trap32, RING_1_CODE, 3);
        lab.write(TSS + 16, 2, u32::from(ss1));
        assert_eq!(lab.refused(Interruption::int(0x30)), (Vector::TS, u32::from(ss1 & !3)));
    }
}

#[test]
fn the_inner_stack_needs_room_for_the_whole_frame() {
    let selector = u32::from(SPARE);
    // Twenty bytes from 8000H down.
    let small = Descriptor::new(0, ESP0 - 2, 0x4093);
    refused(Lab::user, inner(SPARE, small), Vector::SS, selector);
    let expand_down = |limit| Descriptor::new(0, limit, 0x4097);
    refused(Lab::user, inner(SPARE, expand_down(ESP0 - 20)), Vector::SS, selector);
    let mut lab = Lab::user();
    inner(SPARE, expand_down(ESP0 - 21))(&mut lab);
    assert!(lab.attempt(Interruption::nmi()).is_completed());
    // An error code needs four bytes more.
    assert_eq!(lab.refused(Interruption::fault(Vector::GP, Some(0))), (Vector::SS, selector | 1));
}

#[test]
fn a_frame_that_runs_over_the_end_of_4_gib_is_left_open() {
    let mut lab = Lab::user();
    lab.write(TSS + 4, 4, 2);
    let outcome = lab.attempt(Interruption::nmi());
    assert_eq!(outcome.unspecified, Some(ia32::Unspecified::SegmentWrap));
}

#[test]
fn the_same_stack_needs_room_too_and_the_error_code_names_no_selector() {
    refused(
        Lab::kernel,
        |lab| lab.state.segments[SegmentRegister::Ss as usize].limit = 0x100,
        Vector::SS,
        0,
    );
    let mut lab = Lab::kernel();
    lab.state.segments[SegmentRegister::Ss as usize].attributes |= 4;
    lab.state.segments[SegmentRegister::Ss as usize].limit = ESP0;
    assert_eq!(lab.refused(Interruption::nmi()), (Vector::SS, 1));
}

#[test]
fn the_handler_has_to_lie_within_its_segment() {
    let change = |lab: &mut Lab| {
        lab.descriptor(SPARE, Descriptor::new(0, 0xfff, 0x409b));
        handler(SPARE)(lab);
    };
    refused(Lab::user, change, Vector::GP, 0);
    refused(Lab::kernel, change, Vector::GP, 0);
    let mut lab = Lab::kernel();
    lab.descriptor(SPARE, Descriptor::new(0, HANDLER + 2, 0x409b));
    gates(&mut lab, |gate| gate.selector = Selector(SPARE));
    assert!(lab.attempt(Interruption::nmi()).is_completed());
    assert_eq!(lab.refused(Interruption::external(0x30)), (Vector::GP, 1));
}

#[test]
fn the_stack_is_checked_before_the_handlers_eip() {
    let mut lab = Lab::kernel();
    lab.descriptor(SPARE, Descriptor::new(0, 0xfff, 0x409b));
    gates(&mut lab, |gate| gate.selector = Selector(SPARE));
    lab.state.segments[SegmentRegister::Ss as usize].limit = 0x100;
    assert_eq!(lab.refused(Interruption::nmi()), (Vector::SS, 1));
}

#[test]
fn an_unaligned_push_in_ring_3_is_an_alignment_check() {
    let mut lab = Lab::user();
    lab.gate(0x30, GateKind::Trap32, USER_CODE, 3);
    lab.state.cr0 |= 1 << 18;
    lab.state.eflags = lab.state.eflags | ia32::Eflags::AC;
    assert!(lab.attempt(Interruption::int(0x30)).is_completed());
    lab.state.general.esp += 2;
    assert_eq!(lab.refused(Interruption::int(0x30)), (Vector::AC, 0));
    assert_eq!(lab.refused(Interruption::external(0x30)), (Vector::AC, 1));
    // Rings 0 to 2 are not checked.
    lab.write(TSS + 4, 4, ESP0 + 2);
    lab.write(TSS + 12, 4, ESP0 - 0x3ff);
    assert!(lab.attempt(Interruption::external(0x20)).is_completed());
    lab.gate(0x30, GateKind::Trap32, RING_1_CODE, 3);
    assert!(lab.attempt(Interruption::int(0x30)).is_completed());
}

#[test]
fn a_fault_leaves_the_state_as_it_was() {
    let mut lab = Lab::user();
    lab.ss0(0);
    let outcome = lab.attempt(Interruption::nmi());
    assert_eq!(outcome.state, lab.state);
    assert!(outcome.path().contains(Branch::InnerStackNull));
    assert_eq!(lab.after(&outcome), lab.memory);
}

#[test]
fn a_state_outside_the_model_is_named_so() {
    use ia32::{AttemptEnd, Unmodelled};
    let end = |change: fn(&mut Lab)| {
        let mut lab = Lab::user().paged();
        change(&mut lab);
        lab.take(Interruption::int(0x30)).end
    };
    assert_eq!(end(|lab| lab.state.cr0 &= !1), AttemptEnd::Unmodelled(Unmodelled::RealMode));
    assert_eq!(
        end(|lab| lab.state.cr4 |= 1 << 5),
        AttemptEnd::Unmodelled(Unmodelled::PhysicalAddressExtension)
    );
    assert_eq!(
        end(|lab| lab.state.cr4 |= 1 << 23),
        AttemptEnd::Unmodelled(Unmodelled::ControlFlowEnforcement)
    );
    let mut lab = Lab::virtual_8086(3);
    lab.state.cr4 |= 1;
    assert_eq!(
        lab.take(Interruption::int(0x30)).end,
        AttemptEnd::Unmodelled(Unmodelled::VirtualModeExtensions)
    );
    assert!(matches!(Interruption::int(0x30).kind, InterruptionKind::Software { .. }));
}
