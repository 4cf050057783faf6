//! What waits when the time allowed is up: interrupts in service, interrupts that nobody takes.
//!
//! ```text
//!  device ─► request (IRR) ─► not masked ─► nothing of its rank in service (ISR) ─► IF = 1 ─► CPU
//!                                              └ no EOI was written                └ closed for ever
//! ```
//! (8259A data sheet, "Interrupt Sequence" and "End of Interrupt".)

use super::{
    Aftermath, Closed, Diagnosis, Placed, apic_source, cascade, no_table, programmed, source,
};
use crate::check::{CodePlace, Finding, History, Retrace, Subject};
use crate::devices::{CASCADE, Pic, TIMER_IRQ};
use crate::instruction::valid_32;
use crate::run::Ending;
use ia32::{Eflags, Vector};
use iced_x86::FlowControl;

pub(super) const RULE: &str = "interrupt_controller";

/// At a time-out no interrupt waits for what cannot come.
pub(super) fn what_waits(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let unfinished = matches!(aftermath.end.ending, Ending::TimedOut | Ending::Stopped);
    let halted = aftermath.end.ending == Ending::Halted;
    let state = &aftermath.end.state;
    let place = format!(
        "the end, in ring {}, at {}",
        state.cpl(),
        aftermath.place(state.instruction_address())
    );
    if !halted && !unfinished {
        return None;
    }
    let found = if !halted && !diagnosis.is_settled() {
        // The guest is in the middle of something: what counts is what has lasted.
        in_service(diagnosis, aftermath, history)
            .or_else(|| apic_source::in_service(diagnosis, aftermath, history))
            .or_else(|| source::stands_still(diagnosis, aftermath))
            // Masks may be closed for a moment.
            .or_else(|| cascade::is_masked(diagnosis, aftermath).map(Finding::as_note))
            .or_else(|| masked_since(diagnosis, aftermath))
    } else if state.eflags.contains(Eflags::IF) {
        in_service(diagnosis, aftermath, history)
            .or_else(|| apic_source::in_service(diagnosis, aftermath, history))
            .or_else(|| source::stands_still(diagnosis, aftermath))
            .or_else(|| apic_source::stands_still(diagnosis, aftermath))
            .or_else(|| source::counted_once(diagnosis, aftermath))
            .or_else(|| cascade::is_masked(diagnosis, aftermath))
            .or_else(|| masked(diagnosis, aftermath))
            .or_else(|| masked_since(diagnosis, aftermath))
    } else if halted {
        halted_closed(diagnosis, aftermath)
    } else if let Some(finding) = closed_by_sysenter(diagnosis, aftermath, history) {
        Some(finding)
    } else if state.cpl() == 3 {
        closed_ring_3(diagnosis, aftermath)
    } else {
        closed_ring_0(diagnosis, aftermath)
    };
    found.map(|finding| (place, finding))
}

/// So many entries after an interrupt its handler has had the time for an EOI, where it has returned, and where it has
/// been left for another task.
pub(super) const SOON: u64 = 8;
pub(super) const LATER: u64 = 64;

/// The handler of `irq`, which is in service, has been left long ago.
fn handler_was_left(
    irq: u8,
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> bool {
    // What the cascade serves is one of the slave's.
    let irqs = if irq == CASCADE { 8..16 } else { irq..irq + 1 };
    let vectors = irqs.map(|irq| Vector(aftermath.devices.pic().vector(irq)));
    let entry = vectors.filter_map(|vector| diagnosis.used.last(vector)).max();
    let (Some(entry), Some((last, ..))) = (entry, diagnosis.last_entry) else { return false };
    let is_live = history.live().any(|live| live.sequence == entry);
    last - entry >= if is_live { LATER } else { SOON }
}

/// The place of an interrupt in the order of the 8259s: 0, 1, those of the slave, 3 to 7.
fn rank(irq: u8) -> u8 {
    match irq {
        8.. => irq - 8 + CASCADE,
        0..=CASCADE => irq,
        _ => irq + 8,
    }
}

/// The interrupts that are in service and hold others back, which are named, those of the lowest number first. The
/// cascade's is one of them where the slave has ended its own.
fn serving(pic: &Pic) -> impl Iterator<Item = (u8, Vec<u8>)> {
    let in_service = pic.in_service();
    let own = (0..16).filter(move |irq| *irq != CASCADE && in_service & 1 << irq != 0);
    let cascade = (in_service & 1 << CASCADE != 0 && in_service >> 8 == 0).then_some(CASCADE);
    own.chain(cascade).map(move |irq| (irq, held_by(irq, pic))).filter(|(_, held)| !held.is_empty())
}

/// What waits for the end of `irq`.
fn held_by(irq: u8, pic: &Pic) -> Vec<u8> {
    let is_set = |word: u16, irq: u8| word & 1 << irq != 0;
    let waits = |irq: &u8| *irq != CASCADE && is_set(pic.requests(), *irq) && !pic.is_masked(*irq);
    // Where the master has its end, only the slave holds back what it has.
    let alone = irq >= 8 && !is_set(pic.in_service(), CASCADE);
    let from = if irq >= 8 && !alone { rank(CASCADE) } else { rank(irq) };
    let next = if alone { pic.slave_pending() } else { pic.next() };
    // It lets others of its own or a lower rank through.
    if next.is_some_and(|next| alone || rank(next) >= from) {
        return Vec::new();
    }
    let holds = |other: &u8| rank(*other) >= from && (*other >= 8 || !alone);
    (0..16).filter(waits).filter(holds).collect()
}

/// What its handler wrote in place of the EOI for `irq`.
fn misdirected(pic: &Pic, irq: u8) -> Option<String> {
    let [master, slave] = pic.stray_ends(irq);
    let specific = |word: u8| word & 0x40 != 0;
    let (own, other) = if irq < 8 { (master, slave) } else { (slave, master) };
    let (port, others) = if irq < 8 { ("0x20", "0xa0") } else { ("0xa0", "0x20") };
    if let Some(word) = own.filter(|word| specific(*word) && word & 7 != irq & 7) {
        return Some(format!(
            "{word:#04x} was written to port {port}: the end of IRQ {}",
            (irq & 8) + (word & 7)
        ));
    }
    if other.is_some() {
        return Some(format!("an EOI was written to port {others}, and there was nothing to end"));
    }
    let (mask, port) = mask_over(pic, irq);
    (mask == 0x20).then(|| format!("0x20 stands in the mask: it was written to port {port:#x}"))
}

/// The mask of the 8259 that `irq` comes through, and its port.
fn mask_over(pic: &Pic, irq: u8) -> (u8, u16) {
    ((pic.masks() >> (irq & 8)) as u8, if irq < 8 { 0x21 } else { 0xa1 })
}

/// An interrupt is in service, and holds back the next of its own or of a lower rank.
fn in_service(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Finding> {
    let pic = aftermath.devices.pic();
    let lasts = aftermath.end.ending == Ending::Halted || diagnosis.is_settled();
    if lasts && let Some(finding) = delivered_to_nobody(diagnosis, aftermath, history) {
        return Some(finding);
    }
    let is_left = |irq| lasts || handler_was_left(irq, diagnosis, aftermath, history);
    // What is on its way to its handler is in service, and nobody has owed it an EOI yet.
    let arrives = |irq| aftermath.end.arriving == Some(Vector(pic.vector(irq)));
    let (serving, held) = serving(pic).find(|(irq, _)| !arrives(*irq) && is_left(*irq))?;
    let vector = Vector(pic.vector(serving));
    let got = format!(
        "in service {:04x}, requested {:04x}: {}",
        pic.in_service(),
        pic.requests(),
        they_wait(&held)
    );
    if serving == CASCADE {
        return Some(
            Finding::new(
                RULE,
                Subject::Kernel,
                "the cascade, IRQ 2, is in service: an interrupt of the slave was ended there, and not in the master",
                "an EOI to both controllers for IRQ 8 to 15",
                got,
            )
            .because("the master lets none of the slave's interrupts, nor IRQ 3 to 7, through until then")
            .advise("write 0x20 to port 0xa0 and to port 0x20 before such a handler returns"),
        );
    }
    let Some(entry) = diagnosis.used.last(vector) else {
        return Some(not_ended(serving, vector, None, got, aftermath));
    };
    let handler = diagnosis.used.first(vector).map(|(_, handler)| (entry, handler));
    let mut finding = not_ended(serving, vector, handler, got, aftermath);
    finding.places.extend(handler.map(|(_, handler)| CodePlace::Handler(handler)));
    Some(left_for_another(entry, serving, finding, aftermath, history))
}

/// The processor has taken an interrupt, and no handler has been entered, for want of a gate.
fn delivered_to_nobody(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Finding> {
    let pic = aftermath.devices.pic();
    let serving = (0..16).filter(|irq| *irq != CASCADE && pic.in_service() & 1 << irq != 0);
    let mut vectors = serving.map(|irq| (irq, Vector(pic.vector(irq))));
    let (irq, vector) = vectors.find(|(_, vector)| diagnosis.used.last(*vector).is_none())?;
    no_table::took(vector, irq, aftermath, history.objects())
}

/// `serving` is in service since an entry, at a handler; no EOI was written.
fn not_ended(
    serving: u8,
    vector: Vector,
    entry: Option<(u64, u32)>,
    got: String,
    aftermath: &Aftermath<'_>,
) -> Finding {
    let pic = aftermath.devices.pic();
    let since = entry.map_or_else(String::new, |(entry, _)| format!(" since entry #{entry}"));
    let handler = entry
        .map_or_else(String::new, |(_, handler)| format!(", at {},", aftermath.place(handler)));
    let elsewhere = misdirected(pic, serving).map_or(String::new(), |what| format!("; {what}"));
    let (whose, what, why, ports) = if serving >= 8 && pic.in_service() & 1 << CASCADE == 0 {
        (
            " in the slave 8259",
            "no EOI was written to it",
            "the slave asks for no interrupt of the same or a lower rank until then: an EOI at port 0x20 ends IRQ 2 alone, \
             which the slave is on",
            "port 0xa0 as well",
        )
    } else {
        (
            "",
            "no EOI was written",
            "the 8259 lets no interrupt of the same or a lower rank through until then",
            if serving >= 8 { "port 0xa0 and to port 0x20" } else { "port 0x20" },
        )
    };
    let sentence = format!("IRQ {serving} is in service{whose}{since}, and {what}");
    Finding::new(
        RULE,
        Subject::Kernel,
        sentence,
        "an EOI from each handler, on each way out of it",
        got,
    )
    .because(format!("{why}{elsewhere}"))
    .advise(format!(
        "write 0x20 to {ports} before the handler of vector {:#04x}{handler} returns",
        vector.0
    ))
}

/// The handler of `entry` has not returned: its frame is live still, and another stack is in use.
fn left_for_another(
    entry: u64,
    serving: u8,
    finding: Finding,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Finding {
    let Some(live) = history.live().find(|live| live.sequence == entry) else { return finding };
    let Some(task) = live.task else { return finding };
    let state = &aftermath.end.state;
    let runs = match state.cpl() {
        0 => history.owner(state.stack_address()),
        _ => history.last_switch().filter(|(_, after)| *after >= entry).map(|(task, _)| task),
    };
    let Some(runs) = runs.filter(|runs| *runs != task) else { return finding };
    let ports = if serving >= 8 { "ports 0xa0 and 0x20" } else { "port 0x20" };
    let reason = finding.reason.clone().unwrap_or_default();
    finding
        .because(format!(
            "{reason}; the handler of #{entry} has not returned: it was left for task {}, and its frame is on the stack \
             of task {} still",
            runs.0, task.0
        ))
        .advise(format!(
            "write 0x20 to {ports} before the handler changes the stack: a task that goes on elsewhere does not come to an \
             EOI that stands behind the switch"
        ))
}

/// `IRQ 0 waits`, `IRQ 0 and IRQ 4 wait`.
fn they_wait(irqs: &[u8]) -> String {
    let names: Vec<String> = irqs.iter().map(|irq| format!("IRQ {irq}")).collect();
    match &names[..] {
        [] => "none waits".into(),
        [one] => format!("{one} waits"),
        [first @ .., last] => format!("{} and {last} wait", first.join(", ")),
    }
}

/// The kernel has a gate of its own for this interrupt: it wants it.
pub(super) fn is_wanted(aftermath: &Aftermath<'_>, irq: u8) -> bool {
    let vector = aftermath.devices.pic().vector(irq);
    vector >= 32 && aftermath.gate(&aftermath.end.state, vector).is_some_and(|gate| gate.present)
}

/// The first interrupt that is requested, or is going to be by the timer, which the kernel has a gate for and
/// has never had.
fn never_came(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<u8> {
    let pic = aftermath.devices.pic();
    let timer = aftermath.devices.next_deadline().map(|_| TIMER_IRQ);
    let requested = (0..16u8).find(|irq| pic.requests() & 1 << irq != 0 && *irq != CASCADE);
    [requested, timer]
        .into_iter()
        .flatten()
        .filter(|_| diagnosis.last_entry.is_none())
        .find(|irq| !pic.is_masked(*irq) && is_wanted(aftermath, *irq))
}

/// The guest waits, and its 8259 lets nothing through, or all but the timer that the kernel has set. A note: it may wait
/// for nothing.
fn masked(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let (devices, pic) = (aftermath.devices, aftermath.devices.pic());
    let apic = devices.local_apic();
    let is_open = |irq| !pic.is_masked(irq) || devices.arrives_by_io_apic(irq);
    if diagnosis.last_entry.is_some() || apic.timer().is_set || !apic.passes_external() {
        return None;
    }
    if devices.open_pins().next().is_some() {
        return apic_source::timer_at_another_pin(aftermath);
    }
    let all = !(0..16).any(|irq| irq != CASCADE && is_open(irq));
    if !all && (is_open(TIMER_IRQ) || !devices.pit().is_programmed()) {
        return None;
    }
    let irq = (0..16u8).find(|irq| *irq != CASCADE && is_wanted(aftermath, *irq))?;
    let (vector, (mask, port)) = (pic.vector(irq), mask_over(pic, irq));
    let (others, got, clear) = if all {
        (
            ", as are all others",
            "a mask of ff: no interrupt has ever come".to_owned(),
            String::new(),
        )
    } else {
        (
            ", though the kernel has set its timer",
            format!("a mask of {mask:02x}: no interrupt has ever come"),
            format!(", where a 1 closes a line: {:02x} opens IRQ {irq} alone", !(1u8 << (irq & 7))),
        )
    };
    if !all && irq != TIMER_IRQ {
        return None;
    }
    let others_are_open =
        (0..16u8).any(|other| other != CASCADE && is_open(other) && is_wanted(aftermath, other));
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("IRQ {irq} has a gate, and is masked in the 8259{others}"),
            format!("bit {} of the mask at port {port:#x} clear", irq & 7),
            got,
        )
        .because(if others_are_open {
            format!("vector {vector:#04x} is never entered: what counts its ticks waits for ever")
        } else {
            format!("nothing can wake the guest: vector {vector:#04x} is never entered")
        })
        .advise(format!("clear the bit of IRQ {irq} in the mask: write to port {port:#x}{clear}"))
        .about_some(programmed::writes(aftermath, port, mask))
        .as_note(),
    )
}

/// The interrupt that came last was masked then, and has not been let through since. A note: the kernel may want no
/// more of them.
fn masked_since(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let pic = aftermath.devices.pic();
    // Who uses the local APIC or the HPET has another timer, and masks the 8259's for good.
    let apic = aftermath.devices.local_apic();
    let has_another = apic.timer_is_used()
        || aftermath.devices.hpet().is_used() && !aftermath.devices.timer_is_replaced();
    if has_another || !apic.passes_external() || pic.in_service() != 0 {
        return None;
    }
    let taken = |irq: u8| Some((diagnosis.used.last(Vector(pic.vector(irq)))?, irq));
    let (entry, irq) = (0..16).filter(|irq| *irq != CASCADE).filter_map(taken).max()?;
    let (last, ..) = diagnosis.last_entry?;
    let requested = pic.requests() & 1 << irq != 0;
    let comes = requested || irq == TIMER_IRQ && aftermath.devices.timer_runs();
    if !pic.is_masked(irq) || !comes || (!diagnosis.is_settled() && last - entry < LATER) {
        return None;
    }
    // It comes another way by now, and the mask is as it should be.
    if aftermath.devices.arrives_by_io_apic(irq) {
        return None;
    }
    let (mask, port) = mask_over(pic, irq);
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("IRQ {irq} came last in entry #{entry}, and is masked in the 8259 since"),
            format!("bit {} of the mask at port {port:#x} clear again", irq & 7),
            format!("a mask of {mask:02x}"),
        )
        .because("none of them reaches the processor until the bit is clear again")
        .advise(format!(
            "write the mask with bit {} clear to port {port:#x}: {:02x}",
            irq & 7,
            mask & !(1 << (irq & 7))
        ))
        .about_some(programmed::writes(aftermath, port, mask))
        .as_note(),
    )
}

/// HLT with IF = 0, by a kernel that waits for interrupts: no CLI stands before it. A note, for so a kernel
/// may end that has no more to do.
fn halted_closed(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let state = &aftermath.end.state;
    let irq = never_came(diagnosis, aftermath)?;
    // EIP is at HLT or behind it.
    let code = aftermath.code(state, state.instruction_address().wrapping_sub(2));
    if code.iter().take(2).any(|byte| *byte == 0xfa) {
        return None;
    }
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("the guest halts with IF=0 and nothing can wake it: IRQ {irq} waits"),
            "interrupts open where the kernel waits for one: `sti` before `hlt`",
            format!("EFLAGS {:08x}", state.eflags.0),
        )
        .because(format!(
            "vector {:#04x} has a gate and was never entered: interrupts are closed where it would come",
            aftermath.devices.pic().vector(irq)
        ))
        .about_instruction(state.instruction_address())
        .advise("`sti` once the IDT is loaded and the 8259 is set up")
        .retraced(Retrace::Closing { after_entry: 0 })
        .as_note(),
    )
}

/// What is requested, or is going to be by the timer.
pub(super) fn waits(aftermath: &Aftermath<'_>) -> Option<String> {
    let pic = aftermath.devices.pic();
    if let Some(irq) = (0..16)
        .find(|irq| pic.requests() & 1 << irq != 0 && *irq != CASCADE && !pic.is_masked(*irq))
    {
        return Some(waits_at(irq));
    }
    aftermath.devices.next_deadline().map(|_| waits_at(TIMER_IRQ))
}

/// The same words on each clock, whether the timer has asked already or is going to.
fn waits_at(irq: u8) -> String {
    let whose = if irq == TIMER_IRQ { ", the timer's," } else { "" };
    format!("IRQ {irq}{whose} waits")
}

/// SYSENTER clears IF, and SYSEXIT loads no EFLAGS (SDM vol. 2B, SYSENTER and SYSEXIT, "Operation").
fn closed_by_sysenter(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Finding> {
    let state = &aftermath.end.state;
    // In ring 0 it may be about to open them: what counts is what has lasted.
    let in_ring_3 = state.cpl() == 3 && state.eflags.iopl() < 3;
    let goes_on = in_ring_3 || (diagnosis.last_entry.is_none() && history.sysexits() >= LATER);
    if diagnosis.closed.is_some() || !goes_on || history.sysexits() == 0 {
        return None;
    }
    let waits = waits(aftermath)?;
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("ring 3 runs with IF=0 and nothing can interrupt it: {waits}"),
            "interrupts open again where ring 3 goes on after a system call",
            format!("EFLAGS {:08x}", state.eflags.0),
        )
        .because("SYSENTER clears IF, and SYSEXIT loads no EFLAGS: ring 3 goes on with those of the kernel")
        .about_instruction(state.instruction_address())
        .advise("`sti` as the instruction right before SYSEXIT: it takes effect after SYSEXIT, so nothing comes between"),
    )
}

/// Ring 3 cannot open interrupts again, unless its IOPL is 3 (SDM vol. 3A, "Masking maskable hardware
/// interrupts").
fn closed_ring_3(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let state = &aftermath.end.state;
    if state.eflags.iopl() == 3 {
        return None;
    }
    let waits = waits(aftermath)?;
    let origin = match diagnosis.closed {
        Some(Closed { after_sequence: 0, eflags, .. }) => {
            format!("from the frame that the first IRET popped, EFLAGS {eflags:08x}")
        }
        Some(Closed { after_sequence, eflags, .. }) => {
            format!(
                "from the frame that the IRET after #{after_sequence} popped, EFLAGS {eflags:08x}"
            )
        }
        None => "by a return that was not seen".into(),
    };
    let entry = diagnosis
        .closed
        .map_or_else(String::new, |closed| format!("; it went to {}", aftermath.place(closed.eip)));
    let popped = diagnosis.closed.map_or(state.instruction_address(), |closed| closed.iret);
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("ring 3 runs with IF=0 and nothing can interrupt it: {waits}"),
            "IF = 1 in the EFLAGS that a task starts with: 00000202",
            format!("EFLAGS {:08x}", state.eflags.0),
        )
        .because(format!("IF is 0 {origin}{entry}"))
        .about_instruction(popped)
        .advise("set IF (0x200) in the EFLAGS of a new task's frame"),
    )
}

/// A jump back follows soon that encloses where the guest is.
fn is_in_a_loop(aftermath: &Aftermath<'_>) -> bool {
    const FEW: usize = 8;
    let state = &aftermath.end.state;
    let here = state.instruction_address();
    let mut at = here;
    for _ in 0..FEW {
        let Some(instruction) = valid_32(&aftermath.code(state, at), at) else { return false };
        let jumps = matches!(
            instruction.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        );
        if jumps && here.wrapping_sub(instruction.near_branch32()) < 64 {
            return true;
        }
        at = instruction.next_ip32();
    }
    false
}

/// A gate is there for the interrupt of a line that is not masked.
fn is_prepared(aftermath: &Aftermath<'_>) -> bool {
    let (pic, state) = (aftermath.devices.pic(), &aftermath.end.state);
    let has_gate =
        |irq: u8| aftermath.gate(state, pic.vector(irq)).is_some_and(|gate| gate.present);
    aftermath.devices.local_apic().timer_is_used()
        || (0..16).any(|irq| irq != CASCADE && !pic.is_masked(irq) && has_gate(irq))
}

/// The kernel runs with interrupts closed, and something waits. A note: it may be about to open them.
fn closed_ring_0(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    // An exception that nothing returned from says more.
    if diagnosis.last_fault().is_some() && !diagnosis.returned {
        return None;
    }
    // It may still be setting itself up.
    let state = &aftermath.end.state;
    if diagnosis.last_entry.is_none() && !is_in_a_loop(aftermath) {
        return None;
    }
    // Who was never entered, and has no gate for it, wants no interrupts.
    if diagnosis.last_entry.is_none() && !is_prepared(aftermath) {
        return None;
    }
    let waits = waits(aftermath)?;
    let handler = match diagnosis.last_entry {
        Some((sequence, _, vector)) if !diagnosis.returned => {
            format!(
                "in the handler of #{sequence}, vector {:#04x}, interrupts are still closed",
                vector.0
            )
        }
        _ => "nothing opens interrupts again".into(),
    };
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("the kernel goes on with IF=0: {waits}"),
            "interrupts open where the kernel waits",
            format!("EFLAGS {:08x}", state.eflags.0),
        )
        .because(handler)
        .about_instruction(state.instruction_address())
        .retraced(Retrace::Closing {
            after_entry: diagnosis.last_entry.map_or(0, |(last, ..)| last),
        })
        .as_note(),
    )
}
