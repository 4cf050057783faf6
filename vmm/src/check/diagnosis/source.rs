//! A device that was told to interrupt, and stands still: the timer with half a count, the clock whose register C
//! nobody reads.

use super::waiting::{LATER, RULE, is_wanted};
use super::{Aftermath, Diagnosis, programmed};
use crate::check::{CodePlace, Finding, Subject};
use crate::devices::{TIMER_IRQ, cmos};
use crate::run::Ending;
use ia32::Vector;

/// What a device that stands still waits for.
pub(super) fn stands_still(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    if aftermath.devices.timer_is_replaced() {
        return None;
    }
    half_a_count(diagnosis, aftermath).or_else(|| unread(diagnosis, aftermath))
}

/// Its interrupt would get through the 8259s, and what there is now has lasted.
fn is_awaited(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>, irq: u8) -> bool {
    let (devices, pic) = (aftermath.devices, aftermath.devices.pic());
    let last = diagnosis.last_entry.map_or(0, |(last, ..)| last);
    let own = diagnosis.used.last(Vector(pic.vector(irq))).unwrap_or(0);
    !pic.is_masked(irq)
        && devices.local_apic().passes_external()
        && !devices.arrives_by_io_apic(irq)
        && is_wanted(aftermath, irq)
        && (diagnosis.is_settled() || last - own >= LATER)
}

/// Counter 0 gets as many bytes of its count as its control word says (8254 data sheet, "Write Operations").
fn half_a_count(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let (control, low) = aftermath.devices.pit().half_a_count()?;
    let apic = aftermath.devices.local_apic();
    if !is_awaited(diagnosis, aftermath, TIMER_IRQ) || apic.timer_is_used() {
        return None;
    }
    // Who programs it anew for each turn may have been cut off between two bytes.
    let has_come = diagnosis.used.last(Vector(aftermath.devices.pic().vector(TIMER_IRQ))).is_some();
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        "the timer stands still: its control word asks for a count of two bytes, and one came",
        "the count's low byte, then its high byte, at port 0x40",
        format!("{control:#04x} at port 0x43, {low:#04x} at port 0x40, and nothing more"),
    )
    .because("counter 0 begins to count when its count is whole: IRQ 0 does not come before")
    .advise("write bits 15:8 of the count to port 0x40 as well")
    .about_some(programmed::writes(aftermath, 0x43, control));
    Some(if has_come { finding.as_note() } else { finding })
}

/// The timer has counted once, in a mode that does not begin anew, and the guest waits (8254 data sheet, "Mode
/// Definitions"). A note: the kernel may want no more of it.
pub(super) fn counted_once(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let control = aftermath.devices.pit().counted_once()?;
    let apic = aftermath.devices.local_apic();
    let last = diagnosis.used.last(Vector(aftermath.devices.pic().vector(TIMER_IRQ)))?;
    let pic = aftermath.devices.pic();
    let is_open = !pic.is_masked(TIMER_IRQ)
        && apic.passes_external()
        && !aftermath.devices.timer_is_replaced();
    if aftermath.end.ending != Ending::Halted || !is_open || apic.timer_is_used() {
        return None;
    }
    let mode = control >> 1 & 7;
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            format!("IRQ 0 came last in entry #{last}, and does not come again: the timer counted once"),
            "mode 2 or 3 of counter 0, which begins anew by itself",
            format!("mode {mode}, by the control word {control:#04x} at port 0x43"),
        )
        .because(format!("in mode {mode} a counter raises its line once for each count that is written"))
        .advise("write 0x34 or 0x36 to port 0x43 before the count, or a new count in the timer's handler")
        .about_some(programmed::writes(aftermath, 0x43, control))
        .as_note(),
    )
}

/// The clock's interrupts come again when register C is read: that lets its line fall (MC146818A data sheet, "Register C"),
/// and an 8259 takes each rise of it once.
fn unread(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let pic = aftermath.devices.pic();
    let (irq, bit) = (cmos::IRQ, 1 << cmos::IRQ);
    let register = aftermath.devices.cmos().unread()?;
    let vector = Vector(pic.vector(irq));
    let (entry, handler) = (diagnosis.used.last(vector)?, diagnosis.used.first(vector)?.1);
    let waits = (pic.in_service() | pic.requests()) & bit != 0;
    if waits || !is_awaited(diagnosis, aftermath, irq) {
        return None;
    }
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!(
            "IRQ {irq} came last in entry #{entry}, and cannot come again: register C of the clock has not been read since"
        ),
        "a read of register C in the handler of each of the clock's interrupts",
        format!("register C {register:02x}: IRQF (bit 7) is set"),
    )
    .because("the clock's line stays high until register C is read, and the 8259 waits for it to rise")
    .advise(format!(
        "write 0x0c to port 0x70 and read port 0x71 in the handler of vector {:#04x}, at {}",
        vector.0,
        aftermath.place(handler)
    ))
    .about(CodePlace::Handler(handler));
    // A clock that is set for one interrupt at a time may be read when it is set.
    let once = !aftermath.devices.cmos().is_periodic();
    let halted = aftermath.end.ending == Ending::Halted;
    Some(if halted || once { finding.as_note() } else { finding })
}
