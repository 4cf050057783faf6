use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;

const ADVICE: &str = "close interrupts (`cli`) before TSS.ESP0 is changed, until ESP is";

/// What `finding` tells of has come of the interrupt `mixed` within a switch.
pub(crate) fn has_led_to(finding: Finding, mixed: u64) -> Finding {
    finding
        .because(format!(
            "interrupts are open within the switch between tasks: #{mixed} came between the change of ESP0 and that of \
             ESP, and its handler switched as well, with ESP0 as it found it and a stack pointer that had not been stored"
        ))
        .advise(ADVICE)
}

/// No interrupt comes between the change of ESP0 and that of ESP.
///
/// A handler that finds another task's ESP0 than its own stack's, and switches tasks itself, leaves both in a mix. A
/// note: one that does not switch bears it. What comes of it if it does is a finding of its own. Broken on purpose by
/// OPEN_SWITCH in `tests/c/switches.c`.
#[inline]
pub(crate) fn no_interrupt_comes_within_a_switch(
    entry: &Entry,
    history: &History,
    findings: &mut Findings,
) {
    let Some(esp0) = history.within_switch(entry) else { return };
    let running = history.running().unwrap_or(0);
    findings.add(
        Finding::new(
            "open_switch",
            Subject::Kernel,
            "an interrupt came between the change of ESP0 and that of ESP",
            format!("ESP0 {running:08x}, as long as the kernel runs on the stack that ends there"),
            format!("ESP0 {esp0:08x}, another task's, and ESP {:08x}", entry.after.general.esp),
        )
        .because("interrupts are open within the switch: a handler that switches as well mixes the two tasks")
        .advise(ADVICE)
        .as_note(),
    );
}
