//! One fault after another: serial, double fault, shutdown, and for ever.

use crate::lab::*;
use ia32::{
    AttemptEnd, Branch, Escalation, Gate, GateKind, Interruption, InterruptionKind, Severity,
    Vector, Word, escalate,
};

/// Vectors and error codes of the faults on the way.
fn faults(outcome: &ia32::Outcome) -> Vec<(u8, u32)> {
    let attempts = outcome.attempts.iter().filter_map(|attempt| attempt.fault);
    attempts.map(|fault| (fault.vector.0, fault.error_code)).collect()
}

fn absent(lab: &mut Lab, vector: u8) {
    lab.gate_as(vector, |gate| *gate = Gate { present: false, dpl: 3, ..*gate });
}

#[test]
fn the_classes_combine_as_in_the_manuals_table() {
    use Severity::{Benign, Contributory, DoubleFault, PageFault};
    for (first, benign, contributory, page_fault) in [
        (Benign, Escalation::Serial, Escalation::Serial, Escalation::Serial),
        (Contributory, Escalation::Serial, Escalation::DoubleFault, Escalation::Serial),
        (PageFault, Escalation::Serial, Escalation::DoubleFault, Escalation::DoubleFault),
        (DoubleFault, Escalation::Serial, Escalation::Shutdown, Escalation::Shutdown),
    ] {
        assert_eq!(escalate(first, Benign), benign);
        assert_eq!(escalate(first, Contributory), contributory);
        assert_eq!(escalate(first, PageFault), page_fault);
    }
}

#[test]
fn a_refused_interrupt_becomes_a_fault_with_its_error_code() {
    let mut lab = Lab::user();
    absent(&mut lab, 0x30);
    let outcome = lab.take(Interruption::external(0x30));
    assert_eq!(outcome.end, AttemptEnd::Completed);
    assert_eq!(faults(&outcome), [(11, idt(0x30, 1))]);
    assert_eq!(pushed(&outcome, Word::ErrorCode), Some(idt(0x30, 1)));
    assert_eq!(outcome.state.eip, HANDLER + 11);
    // It is a fault: EIP at the instruction, RF set.
    assert_eq!(pushed(&outcome, Word::Eflags), Some(0x1_0202));
}

#[test]
fn an_int_on_a_closed_gate_points_at_the_int() {
    let outcome = Lab::user().take(Interruption::int(0x30));
    assert_eq!(faults(&outcome), [(13, idt(0x30, 0))]);
    assert_eq!(pushed(&outcome, Word::Eip), Some(0x6000));
}

#[test]
fn two_contributory_faults_are_a_double_fault() {
    let mut lab = Lab::user();
    absent(&mut lab, 13);
    let outcome = lab.take(Interruption::fault(Vector::GP, Some(0)));
    assert_eq!(faults(&outcome), [(11, idt(13, 1))]);
    assert_eq!(outcome.state.eip, HANDLER + 8);
    assert_eq!(pushed(&outcome, Word::ErrorCode), Some(0));
}

#[test]
fn an_interrupt_with_a_contributory_vector_is_benign() {
    let mut lab = Lab::user();
    absent(&mut lab, 13);
    for event in [Interruption::int(13), Interruption::external(13)] {
        let outcome = lab.take(event);
        assert_eq!(outcome.state.eip, HANDLER + 11, "{event:?}");
    }
}

#[test]
fn a_page_fault_after_a_contributory_one_is_delivered() {
    let mut lab = Lab::user().paged();
    // The gate of #DE names a segment in a second page of the LDT, which is absent.
    lab.state.ldtr.base = 0xb000;
    lab.state.ldtr.limit = 0xfff;
    lab.page(0xb000, 0);
    lab.gate(0, GateKind::Trap32, 0x0c, 0);
    let outcome = lab.take(Interruption::fault(Vector::DE, None));
    assert_eq!(faults(&outcome), [(14, 0)]);
    assert_eq!((outcome.end, outcome.state.cr2), (AttemptEnd::Completed, 0xb008));
    assert_eq!(outcome.state.eip, HANDLER + 14);
    // After a page fault, or in a second page fault, it is a double fault.
    lab.gate(14, GateKind::Trap32, 0x0c, 0);
    let outcome = lab.take(Interruption::fault(Vector::PF, Some(4)));
    assert_eq!((faults(&outcome), outcome.state.eip), (vec![(14, 0)], HANDLER + 8));
    absent(&mut lab, 14);
    let outcome = lab.take(Interruption::fault(Vector::PF, Some(4)));
    assert_eq!((faults(&outcome), outcome.state.eip), (vec![(11, idt(14, 1))], HANDLER + 8));
}

#[test]
fn esp0_on_an_absent_page_ends_in_shutdown() {
    let mut lab = Lab::user().paged();
    lab.page(ESP0 - 4, 0);
    let outcome = lab.take(Interruption::external(0x20));
    assert_eq!(outcome.end, AttemptEnd::Shutdown);
    assert_eq!(faults(&outcome), [(14, 2), (14, 2), (14, 2)]);
    assert_eq!(outcome.state.cr2, ESP0 - 4);
    assert!(outcome.path().contains(Branch::ChainShutdown));
    assert!(outcome.writes.iter().all(|write| !write.certain));
}

#[test]
fn esp0_on_an_absent_page_is_survived_through_a_task_gate() {
    let mut lab = Lab::user().paged();
    lab.page(ESP0 - 4, 0);
    lab.task_gate(8, OTHER_TSS_SELECTOR);
    lab.write(OTHER_TSS + 56, 4, 0xa800);
    let outcome = lab.take(Interruption::external(0x20));
    assert_eq!((outcome.end, outcome.unspecified), (AttemptEnd::Completed, None));
    assert_eq!(outcome.state.tr.selector, OTHER_TSS_SELECTOR);
    assert_eq!(frame(&outcome), [(Word::ErrorCode, 0xa800 - 4, 0)]);
    assert_eq!(outcome.state.general.esp, 0xa800 - 4);
}

#[test]
fn the_longest_chain_is_four_attempts() {
    let mut lab = Lab::user().paged();
    lab.state.ldtr.base = 0xb000;
    lab.state.ldtr.limit = 0xfff;
    lab.page(0xb000, 0);
    absent(&mut lab, 0x20);
    lab.gate(11, GateKind::Trap32, 0x0c, 0);
    absent(&mut lab, 14);
    absent(&mut lab, 8);
    let outcome = lab.take(Interruption::external(0x20));
    assert_eq!(outcome.end, AttemptEnd::Shutdown);
    assert_eq!(faults(&outcome), [(11, idt(0x20, 1)), (14, 0), (11, idt(14, 1)), (11, idt(8, 1))]);
}

#[test]
fn an_unaligned_handler_of_alignment_checks_never_begins() {
    let mut lab = Lab::user();
    lab.state.cr0 |= 1 << 18;
    lab.state.eflags = lab.state.eflags | ia32::Eflags::AC;
    lab.state.general.esp += 1;
    lab.gate(17, GateKind::Trap32, USER_CODE, 3);
    let outcome = lab.take(Interruption::fault(Vector::AC, Some(0)));
    assert_eq!(outcome.end, AttemptEnd::Endless);
    assert_eq!(outcome.attempts.len(), ia32::MAX_ATTEMPTS);
}

#[test]
fn a_failed_iret_is_a_fault_in_ring_0_with_three_words() {
    let mut lab = Lab::kernel();
    lab.stack(&[0x6000, u32::from(SPARE | 3), 2, 0, 0]);
    let outcome = lab.take(ia32::Iret::BITS32);
    assert_eq!(faults(&outcome), [(13, u32::from(SPARE))]);
    assert_eq!(frame(&outcome).len(), 4);
    assert_eq!(pushed(&outcome, Word::Eip), Some(0x6000));
    let last = outcome.attempts.last().unwrap();
    assert!(
        matches!(last.operation, ia32::Operation::Interruption(e) if e.kind == InterruptionKind::Fault)
    );
}

#[test]
fn the_explanation_tells_the_way_and_the_end() {
    let mut lab = Lab::user().paged();
    lab.page(ESP0 - 4, 0);
    let outcome = lab.take(Interruption::external(0x20));
    let text = ia32::explain(&lab.state, &outcome).to_string();
    let mut lines = text.lines();
    for expected in [
        "before  ring 3, CS:EIP 001b:00006000, SS:ESP 0023:00009000, EFLAGS IF",
        "        external interrupt 0x20: #PF (0x2) at 00007ffc",
        "        #PF: #PF (0x2) at 00007ffc",
        "        #DF: #PF (0x2) at 00007ffc",
        "     1  an external interrupt with vector 0x20: EXT is 1",
        "        00003000        27  accessed and dirty bits of a directory entry, for 00000100, perhaps",
        "        the processor shuts down",
    ] {
        assert!(lines.any(|line| line == expected), "{expected:?} in order in\n{text}");
    }
}
