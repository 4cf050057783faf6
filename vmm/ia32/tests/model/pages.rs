//! Deliveries and returns through page tables: which accesses can fault, what they mark, and what
//! stays behind.

use crate::lab::*;
use ia32::{Branch, Eflags, Interruption, Iret, OperandSize, Owner, RaisedFault, Vector, Word};

#[track_caller]
fn page_fault(lab: &Lab, event: impl Into<ia32::Operation>) -> (u32, u32) {
    let outcome = lab.attempt(event);
    match outcome.fault() {
        Some(RaisedFault { vector: Vector::PF, error_code, address: Some(address), .. }) => {
            assert_eq!(outcome.state.cr2, address);
            (error_code, address)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_table_that_a_delivery_reads_can_be_absent() {
    for (page, cr2) in [(IDT, 0x20 * 8), (GDT, GDT + 8), (TSS, TSS + 8)] {
        let mut lab = Lab::user().paged();
        lab.page(page, 0);
        // Read by the processor itself: neither a write nor ring 3's.
        assert_eq!(page_fault(&lab, Interruption::external(0x20)), (0, cr2));
    }
}

#[test]
fn the_kernel_stack_is_written_in_the_new_ring() {
    let mut lab = Lab::user().paged();
    lab.page(ESP0 - 4, 0);
    assert_eq!(page_fault(&lab, Interruption::external(0x20)), (0b010, ESP0 - 4));
    lab.page(ESP0 - 4, 0x7000 | 5);
    assert_eq!(page_fault(&lab, Interruption::external(0x20)), (0b011, ESP0 - 4));
    // Without CR0.WP ring 0 writes read-only pages.
    lab.state.cr0 &= !(1 << 16);
    assert!(lab.attempt(Interruption::external(0x20)).is_completed());
}

#[test]
fn a_handler_in_ring_3_pushes_as_ring_3() {
    let mut lab = Lab::user().paged();
    lab.gate(0x30, ia32::GateKind::Trap32, USER_CODE, 3);
    lab.page(USER_ESP - 4, 0x8000 | 3);
    assert_eq!(page_fault(&lab, Interruption::int(0x30)), (0b111, USER_ESP - 4));
}

#[test]
fn a_stack_that_ends_in_an_absent_page_leaves_half_a_frame_perhaps() {
    let mut lab = Lab::user().paged();
    lab.write(TSS + 4, 4, 0x7008);
    lab.page(0x6000, 0);
    let outcome = lab.attempt(Interruption::external(0x20));
    assert_eq!(outcome.fault().and_then(|fault| fault.address), Some(0x6ffc));
    let made: Vec<Word> = outcome
        .writes
        .iter()
        .filter(|write| !write.certain)
        .filter_map(|write| match write.owner {
            Owner::Pushed(word) => Some(word),
            _ => None,
        })
        .collect();
    assert_eq!(made, [Word::Ss, Word::Esp]);
    assert!(outcome.writes.iter().all(|write| !write.certain));
    // Either is right: the old bytes or the new ones.
    let at = u64::from(0x7004u32);
    let expected = outcome.writes.expect(at, 0);
    assert!(expected.allows(0) && expected.allows(USER_DATA as u8));
}

#[test]
fn a_word_across_two_pages_faults_at_the_page_that_is_missing() {
    let mut lab = Lab::user().paged();
    lab.write(TSS + 4, 4, 0x7002);
    lab.page(0x7000, 0);
    assert_eq!(page_fault(&lab, Interruption::external(0x20)), (0b010, 0x7000));
    lab.page(0x7000, 0x7007);
    lab.page(0x6000, 0);
    assert_eq!(page_fault(&lab, Interruption::external(0x20)), (0b010, 0x6ffe));
    lab.page(0x6000, 0x6007);
    let outcome = lab.done(Interruption::external(0x20));
    assert!(outcome.path().contains(Branch::AccessCrossesPage));
    // SS lies in two pieces.
    let ss: Vec<_> = outcome
        .writes
        .iter()
        .filter(|write| write.owner == Owner::Pushed(Word::Ss))
        .map(|write| (write.address, write.width))
        .collect();
    assert_eq!(ss, [(0x6ffe, 2), (0x7000, 2)]);
}

#[test]
fn each_page_that_is_used_becomes_accessed_and_the_stack_dirty() {
    let lab = Lab::user().paged();
    let outcome = lab.done(Interruption::external(0x20));
    let after = lab.then(&outcome);
    let entry = |page: u32| after.read(TABLE + 4 * page) & 0xfff;
    assert_eq!(after.read(DIRECTORY) & 0xfff, 0x27);
    for page in 0..16 {
        let expected = match page {
            0..=2 => 0x27,
            7 => 0x67,
            _ => 7,
        };
        assert_eq!(entry(page), expected, "page {page}");
    }
    // The second time nothing is left to mark.
    let mut again = after;
    again.state = lab.state;
    let outcome = again.done(Interruption::external(0x20));
    assert!(outcome.writes.iter().all(|write| matches!(write.owner, Owner::Pushed(_))));
}

#[test]
fn an_accessed_bit_in_a_read_only_table_is_a_page_fault() {
    let mut lab = Lab::user().paged();
    lab.descriptor(KERNEL_CODE, flat(CODE_0 & !1));
    lab.page(GDT, GDT | 5);
    assert_eq!(page_fault(&lab, Interruption::external(0x20)), (0b011, GDT + 8 + 5));
}

#[test]
fn smap_lets_the_processor_into_no_user_page() {
    let mut lab = Lab::user().paged();
    lab.state.cr4 |= 1 << 21;
    lab.flags(Eflags::AC);
    assert_eq!(page_fault(&lab, Interruption::external(0x20)), (0b001, 0x20 * 8));
    for page in 0..3 {
        lab.page(page << 12, page << 12 | 3);
    }
    // The frame is the kernel's own access: AC, as it was, allows it.
    assert!(lab.attempt(Interruption::external(0x20)).is_completed());
    lab.state.eflags = lab.state.eflags.without(Eflags::AC);
    assert_eq!(page_fault(&lab, Interruption::external(0x20)), (0b011, ESP0 - 4));
}

#[test]
fn an_iret_reads_its_frame_in_its_own_ring() {
    let mut lab = Lab::kernel().paged();
    lab.stack(&[0x6000, u32::from(KERNEL_CODE), 2]);
    assert!(lab.attempt(Iret::BITS32).is_completed());
    let esp = lab.state.general.esp;
    lab.page(esp, 0);
    assert_eq!(page_fault(&lab, Iret::BITS32), (0, esp));
    let mut lab = Lab::user().paged();
    let esp = lab.state.general.esp;
    lab.page(esp, esp | 3);
    assert_eq!(page_fault(&lab, Iret::BITS32), (0b101, esp));
    assert_eq!(OperandSize::Bits32.bytes(), 4);
}

#[test]
fn memory_over_linear_addresses_is_not_translated() {
    let mut lab = Lab::user().paged();
    lab.page(IDT, 0);
    let memory = ia32::Linear(lab.memory.as_slice());
    let outcome = ia32::attempt(&lab.state, &memory, Interruption::external(0x20), &lab.processor);
    assert!(outcome.is_completed());
}
