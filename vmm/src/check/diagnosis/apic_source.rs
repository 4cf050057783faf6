//! The local APIC: an interrupt that nobody has ended, and a timer that cannot tick.
//!
//! SDM vol. 3A, "Signaling interrupt servicing completion", "Local APIC state after it has been software disabled" and
//! "APIC timer".

use super::waiting::{LATER, RULE, SOON};
use super::{Aftermath, Diagnosis};
use crate::check::{CodePlace, Finding, History, Subject};
use crate::run::Ending;
use ia32::Vector;

/// An interrupt is in service there, and holds back one of its own or of a lower class.
pub(super) fn in_service(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Finding> {
    let apic = aftermath.devices.local_apic();
    let (serving, waits) = apic.held_back()?;
    let vector = Vector(serving);
    if aftermath.end.arriving == Some(vector) {
        return None;
    }
    let entry = diagnosis.used.last(vector)?;
    let (_, handler) = diagnosis.used.first(vector)?;
    let (last, ..) = diagnosis.last_entry?;
    let is_live = history.live().any(|live| live.sequence == entry);
    let lasts = aftermath.end.ending == Ending::Halted || diagnosis.is_settled();
    if !lasts && last - entry < if is_live { LATER } else { SOON } {
        return None;
    }
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            format!(
                "vector {serving:#04x} is in service in the local APIC since entry #{entry}, and no EOI was written there"
            ),
            "a write to FEE000B0 from the handler of each of its interrupts",
            format!("in service {serving:#04x}, requested {waits:#04x}: it waits"),
        )
        .because(
            "the local APIC lets no interrupt of the same or a lower class through until then; an EOI to an 8259 ends nothing \
             there",
        )
        .about(CodePlace::Handler(handler))
        .advise(format!(
            "write 0 to FEE000B0 before the handler of vector {serving:#04x}, at {}, returns",
            aftermath.place(handler)
        )),
    )
}

/// Its timer was set, and cannot come, or not again. A note: the kernel may want no more of it.
pub(super) fn stands_still(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Finding> {
    let timer = aftermath.devices.local_apic().timer();
    // Another timer may be what ticks.
    if !timer.is_set || aftermath.devices.next_deadline().is_some() {
        return None;
    }
    let last = diagnosis.used.last(Vector(timer.vector));
    let note = |sentence: String, expected: &str, got: String, reason: &str, advice: &str| {
        let finding = Finding::new(RULE, Subject::Kernel, sentence, expected, got);
        Some(finding.because(reason).advise(advice).as_note())
    };
    if timer.is_disabled {
        return note(
            "the local APIC's timer was set, and the APIC is disabled by software".into(),
            "bit 8 of the spurious-interrupt vector register, at FEE000F0, set",
            format!("{:08x} there", timer.spurious),
            "while bit 8 is clear, each entry of the local vector table stays masked",
            "write the spurious vector with bit 8 (0x100) to FEE000F0 before the timer is set",
        );
    }
    if timer.is_masked {
        return note(
            "the local APIC's timer was set, and is masked".into(),
            "bit 16 of the timer's entry, at FEE00320, clear",
            format!("vector {:#04x}, bit 16 set", timer.vector),
            "a timer that is masked counts, and interrupts nobody",
            "write the vector with bit 16 clear to FEE00320",
        );
    }
    let last = last.filter(|_| !timer.is_periodic && !timer.runs)?;
    note(
        format!(
            "the local APIC's timer came last in entry #{last}, and does not come again: it counted once"
        ),
        "bit 17 of the timer's entry, at FEE00320, set, or a new initial count in its handler",
        format!("vector {:#04x}, bit 17 clear: one-shot", timer.vector),
        "in one-shot mode the timer stands still once it has come to 0",
        "write the vector with bit 17 (0x20000) to FEE00320 for a timer that ticks, or the initial count to FEE00380 each time",
    )
}

/// The timer's line comes to pin 2 of the I/O APIC, and what the kernel has opened is pin 0, where IRQ 0 would be if all
/// pins had the numbers of their lines. A note.
pub(super) fn timer_at_another_pin(aftermath: &Aftermath<'_>) -> Option<Finding> {
    let pins: Vec<usize> = aftermath.devices.open_pins().collect();
    if !pins.contains(&0) || pins.contains(&2) || !aftermath.devices.pit().is_programmed() {
        return None;
    }
    Some(
        Finding::new(
            RULE,
            Subject::Kernel,
            "pin 0 of the I/O APIC is open, and the timer is at pin 2",
            "the redirection of pin 2, registers 14 and 15, with the timer's vector",
            "pin 2 masked: no interrupt has ever come",
        )
        .because("the MADT overrides the line of IRQ 0: it is global interrupt 2")
        .advise("read the interrupt source overrides in the MADT, or use pin 2 for the timer")
        .as_note(),
    )
}
