use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;

/// What delivery has to leave alone, or to make null where it comes from virtual-8086 mode.
const KEPT: [&str; 11] = ["EAX", "ECX", "EDX", "EBX", "EBP", "ESI", "EDI", "ES", "DS", "FS", "GS"];

/// Delivery changes no general register but ESP, and does not reload DS, ES, FS and GS.
///
/// SDM vol. 3A, "Exception- or interrupt-handler procedures"; from virtual-8086 mode the four become
/// null. Judged by the model, where the state before was seen.
#[inline]
pub(crate) fn registers_are_kept(entry: &Entry, _: &History, findings: &mut Findings) {
    let Some(model) = &entry.expected else { return };
    for difference in model.differences(&entry.after) {
        if KEPT.contains(&difference.field) {
            findings.add(changed(entry, difference.field, difference.expected, difference.got));
        }
    }
}

fn changed(entry: &Entry, name: &str, was: u32, is: u32) -> Finding {
    Finding::new(
        "registers_kept",
        Subject::Processor,
        format!("{name} changed while {} was delivered", entry.vector),
        format!("{name} {was:08x}"),
        format!("{name} {is:08x}"),
    )
}
