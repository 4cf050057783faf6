use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;

/// CS:EIP after an entry is what the gate names, with the requested privilege level of the new ring.
///
/// SDM vol. 3A, "Exception- or interrupt-handler procedures".
#[inline]
pub(crate) fn handler_is_the_gates(entry: &Entry, _: &History, findings: &mut Findings) {
    let after = &entry.after;
    let cs = (entry.gate.selector.0 & !3) | u16::from(after.cpl());
    if after.cs().selector == cs && after.eip == entry.gate.offset {
        return;
    }
    findings.add(Finding::new(
        "handler",
        Subject::Processor,
        format!("{} did not lead to its gate's handler", entry.vector),
        format!("CS:EIP {cs:04x}:{:08x}", entry.gate.offset),
        format!("CS:EIP {:04x}:{:08x}", after.cs().selector, after.eip),
    ));
}
