//! What an event pushes, and in which state its handler begins.

use crate::lab::*;
use ia32::{Eflags, Gate, GateKind, Interruption, Owner, SegmentRegister, Vector, Word};

const ALL_FLAGS: Eflags = Eflags(0x003f_7fd7 & !(1 << 17));

#[test]
fn from_ring_3_five_words_go_to_ss0_esp0() {
    let lab = Lab::user();
    let outcome = lab.done(Interruption::external(0x20));
    assert_eq!(
        frame(&outcome),
        [
            (Word::Eip, ESP0 - 20, 0x6000),
            (Word::Cs, ESP0 - 16, u32::from(USER_CODE)),
            (Word::Eflags, ESP0 - 12, 0x202),
            (Word::Esp, ESP0 - 8, USER_ESP),
            (Word::Ss, ESP0 - 4, u32::from(USER_DATA)),
        ]
    );
    let after = &outcome.state;
    assert_eq!((after.cs().selector, after.eip), (KERNEL_CODE, HANDLER + 0x20));
    assert_eq!((after.ss().selector, after.general.esp), (KERNEL_DATA, ESP0 - 20));
    assert_eq!((after.eflags, after.cpl()), (Eflags(2), 0));
    // Data segments and the other general registers stay.
    assert_eq!(after.segment(SegmentRegister::Ds), lab.state.segment(SegmentRegister::Ds));
    assert_eq!(after.general.eax, 1);
}

#[test]
fn in_ring_0_three_words_go_to_the_same_stack() {
    let lab = Lab::kernel();
    let outcome = lab.done(Interruption::external(0x20));
    let esp = ESP0 - 0x100;
    assert_eq!(
        frame(&outcome),
        [
            (Word::Eip, esp - 12, 0x6000),
            (Word::Cs, esp - 8, u32::from(KERNEL_CODE)),
            (Word::Eflags, esp - 4, 0x202),
        ]
    );
    assert_eq!(outcome.state.general.esp, esp - 12);
    assert_eq!(outcome.state.ss(), lab.state.ss());
}

#[test]
fn only_the_frame_is_written_where_descriptors_are_accessed_and_paging_is_off() {
    let outcome = Lab::user().done(Interruption::external(0x80));
    assert!(outcome.writes.iter().all(|write| matches!(write.owner, Owner::Pushed(_))));
}

#[test]
fn an_error_code_lies_below_eip() {
    for (lab, size) in [(Lab::user(), 24), (Lab::kernel(), 16)] {
        let outcome = lab.done(Interruption::fault(Vector::GP, Some(0x1234)));
        let (word, at, value) = frame(&outcome)[0];
        assert_eq!((word, value), (Word::ErrorCode, 0x1234));
        let top = if size == 24 { ESP0 } else { ESP0 - 0x100 };
        assert_eq!(at, top - size);
    }
}

#[test]
fn from_ring_3_to_ring_1_the_stack_is_ss1_esp1() {
    let mut lab = Lab::user();
    lab.gate(0x20, GateKind::Trap32, RING_1_CODE, 3);
    let outcome = lab.done(Interruption::int(0x20));
    let after = &outcome.state;
    assert_eq!((after.ss().selector, after.general.esp), (RING_1_DATA, ESP0 - 0x400 - 20));
    assert_eq!((after.cpl(), after.cs().selector), (1, RING_1_CODE));
}

#[test]
fn the_rpl_of_the_gates_selector_does_not_matter() {
    let mut lab = Lab::user();
    lab.gate(0x20, GateKind::Trap32, KERNEL_CODE | 3, 3);
    assert_eq!(lab.done(Interruption::int(0x20)).state.cs().selector, KERNEL_CODE);
}

#[test]
fn conforming_code_runs_in_the_interrupted_ring() {
    let mut lab = Lab::user();
    lab.gate(0x20, GateKind::Trap32, CONFORMING, 3);
    let outcome = lab.done(Interruption::int(0x20));
    assert_eq!(frame(&outcome).len(), 3);
    assert_eq!(outcome.state.cs().selector, CONFORMING | 3);
    assert_eq!((outcome.state.cpl(), outcome.state.general.esp), (3, USER_ESP - 12));
}

#[test]
fn a_16_bit_gate_truncates_each_word() {
    let mut lab = Lab::user();
    lab.state.eip = 0xc012_3456;
    lab.state.general.esp = 0xbfff_1234;
    lab.flags(Eflags::AC);
    lab.gate(0x20, GateKind::Trap16, KERNEL_CODE, 3);
    let outcome = lab.done(Interruption::int(0x20));
    assert_eq!(
        frame(&outcome),
        [
            (Word::Eip, ESP0 - 10, 0x3458),
            (Word::Cs, ESP0 - 8, u32::from(USER_CODE)),
            (Word::Eflags, ESP0 - 6, 0x202),
            (Word::Esp, ESP0 - 4, 0x1234),
            (Word::Ss, ESP0 - 2, u32::from(USER_DATA)),
        ]
    );
    assert_eq!(outcome.state.general.esp, ESP0 - 10);
    assert!(outcome.state.eflags.contains(Eflags::AC | Eflags::IF));
}

#[test]
fn a_16_bit_gate_has_a_16_bit_offset_and_error_code() {
    let mut lab = Lab::kernel();
    lab.gate_as(13, |gate| {
        *gate = Gate { kind: GateKind::Interrupt16, offset: 0xdead_5678, ..*gate };
    });
    let outcome = lab.done(Interruption::fault(Vector::GP, Some(0xabcd)));
    assert_eq!(outcome.state.eip, 0x5678);
    assert_eq!(frame(&outcome)[0], (Word::ErrorCode, ESP0 - 0x100 - 8, 0xabcd));
}

#[test]
fn tf_nt_rf_and_vm_are_cleared_and_if_by_an_interrupt_gate_only() {
    for (kind, also) in [
        (GateKind::Interrupt32, Eflags::IF),
        (GateKind::Interrupt16, Eflags::IF),
        (GateKind::Trap32, Eflags::default()),
        (GateKind::Trap16, Eflags::default()),
    ] {
        let mut lab = Lab::user();
        lab.state.eflags = ALL_FLAGS;
        lab.gate(0x20, kind, KERNEL_CODE, 3);
        let after = lab.done(Interruption::int(0x20)).state.eflags;
        let gone = Eflags::TF | Eflags::NT | Eflags::RF | also;
        assert_eq!(after, ALL_FLAGS.without(gone), "{kind}");
    }
}

#[test]
fn rf_is_pushed_as_the_kind_of_event_says() {
    let rf = |event: Interruption, before: bool| {
        let mut lab = Lab::user();
        for vector in [3, 4, 0x30] {
            lab.gate_as(vector, |gate| gate.dpl = 3);
        }
        if before {
            lab.flags(Eflags::RF);
        }
        let outcome = lab.done(event);
        let write = outcome
            .writes
            .iter()
            .find(|write| write.owner == Owner::Pushed(Word::Eflags))
            .copied()
            .unwrap();
        let open = write.undefined & Eflags::RF.0 != 0;
        (!open).then_some(write.value & Eflags::RF.0 != 0)
    };
    let breakpoint = Interruption {
        kind: ia32::InterruptionKind::InstructionBreakpoint,
        ..Interruption::trap(Vector::DB)
    };
    let repeated = Interruption { repeating: true, ..Interruption::external(0x30) };
    for (event, clear, set) in [
        (Interruption::fault(Vector::PF, Some(4)), Some(true), Some(true)),
        (Interruption::int(0x30), Some(false), Some(false)),
        (Interruption::int3(), Some(false), Some(false)),
        (Interruption::into(), Some(false), Some(false)),
        (Interruption::icebp(), Some(false), Some(false)),
        (Interruption::external(0x30), Some(false), Some(true)),
        (Interruption::nmi(), Some(false), Some(true)),
        (Interruption::trap(Vector::DB), Some(false), Some(true)),
        (breakpoint, Some(false), Some(true)),
        (repeated, Some(true), Some(true)),
        (Interruption::double_fault(), None, None),
    ] {
        assert_eq!((rf(event, false), rf(event, true)), (clear, set), "{event:?}");
    }
}

#[test]
fn an_instruction_breakpoint_pushes_rf_0_on_amd() {
    let mut lab = Lab::user();
    lab.flags(Eflags::RF);
    lab.processor = ia32::Processor::AMD;
    let event = Interruption {
        kind: ia32::InterruptionKind::InstructionBreakpoint,
        ..Interruption::trap(Vector::DB)
    };
    assert_eq!(pushed(&lab.done(event), Word::Eflags), Some(0x202));
}

#[test]
fn eip_is_saved_behind_a_software_interrupt_and_at_a_fault() {
    let mut lab = Lab::user();
    for vector in [3, 4, 0x30] {
        lab.gate_as(vector, |gate| gate.dpl = 3);
    }
    for (event, eip) in [
        (Interruption::int(0x30), 0x6002),
        (Interruption::int3(), 0x6001),
        (Interruption::into(), 0x6001),
        (Interruption::icebp(), 0x6001),
        (Interruption::fault(Vector::UD, None), 0x6000),
        (Interruption::trap(Vector::DB), 0x6000),
        (Interruption::external(0x20), 0x6000),
        (Interruption::nmi(), 0x6000),
    ] {
        assert_eq!(pushed(&lab.done(event), Word::Eip), Some(eip), "{event:?}");
    }
}

#[test]
fn upper_halves_of_selectors_are_open_and_nothing_else_is() {
    let outcome = Lab::user().done(Interruption::external(0x20));
    for write in &outcome.writes {
        let open = match write.owner {
            Owner::Pushed(Word::Cs | Word::Ss) => 0xffff_0000,
            _ => 0,
        };
        assert_eq!(write.undefined, open, "{:?}", write.owner);
    }
}

#[test]
fn with_a_16_bit_inner_stack_only_sp_counts() {
    let mut lab = Lab::user();
    lab.ss0(KERNEL_DATA_16);
    lab.write(TSS + 4, 4, 0xabcd_0000 | ESP0);
    let outcome = lab.done(Interruption::external(0x20));
    assert_eq!(frame(&outcome)[0].1, ESP0 - 20);
    assert_eq!(outcome.state.general.esp & 0xffff, ESP0 - 20);
    assert_eq!(outcome.undefined.general.esp, 0xffff_0000);
}

#[test]
fn a_16_bit_stack_wraps_at_64_kib() {
    let mut lab = Lab::kernel();
    lab.state.segments[SegmentRegister::Ss as usize] =
        ia32::Descriptor::new(0, 0xffff, 0x0093).segment(KERNEL_DATA_16);
    lab.state.general.esp = 0x1234_0004;
    let outcome = lab.done(Interruption::external(0x20));
    let places: Vec<u32> = frame(&outcome).iter().map(|(_, at, _)| *at).collect();
    assert_eq!(places, [0xfff8, 0xfffc, 0]);
    assert_eq!(outcome.state.general.esp, 0x1234_fff8);
}

#[test]
fn a_16_bit_tss_gives_sp_and_ss() {
    let mut lab = Lab::user();
    lab.state.tr.attributes = 0x83;
    lab.state.tr.base = TSS_16;
    lab.write(TSS_16 + 2, 2, 0x7000);
    lab.write(TSS_16 + 4, 2, u32::from(KERNEL_DATA));
    let outcome = lab.done(Interruption::external(0x20));
    // The gate's size makes the words, not the TSS's.
    assert_eq!(frame(&outcome)[4], (Word::Ss, 0x6ffc, u32::from(USER_DATA)));
    assert_eq!(outcome.state.general.esp, 0x7000 - 20);
}

#[test]
fn descriptors_become_accessed() {
    let mut lab = Lab::user();
    lab.descriptor(KERNEL_CODE, flat(CODE_0 & !1));
    lab.descriptor(KERNEL_DATA, flat(DATA_0 & !1));
    let outcome = lab.done(Interruption::external(0x20));
    let bits: Vec<_> =
        outcome.writes.iter().filter(|write| write.owner.is_bit()).copied().collect();
    assert_eq!(bits.len(), 2);
    assert_eq!((bits[0].owner, bits[0].value), (Owner::Accessed(KERNEL_DATA), 0x93));
    assert_eq!((bits[1].owner, bits[1].value), (Owner::Accessed(KERNEL_CODE), 0x9b));
    assert_eq!(u64::from(bits[1].linear), u64::from(GDT + 8 + 5));
    assert_eq!((outcome.state.cs().ty(), outcome.state.ss().ty()), (0xb, 3));
}

#[test]
fn an_nmi_blocks_nmis_and_nothing_else_does() {
    assert!(Lab::user().done(Interruption::nmi()).state.nmi_blocked);
    assert!(!Lab::user().done(Interruption::external(2)).state.nmi_blocked);
}

#[test]
fn a_handler_begins_without_an_interrupt_shadow() {
    let mut lab = Lab::kernel();
    lab.state.interrupt_shadow = 1;
    assert_eq!(lab.done(Interruption::nmi()).state.interrupt_shadow, 0);
}
