use crate::check::glance::Foreign;
use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;

/// A handler reaches its variables by the kernel's data segment.
///
/// Delivery loads CS and SS, and leaves DS as the program had it (SDM vol. 3A, "Exception- or interrupt-handler
/// procedures"). Where programs have segments with a base of their own, an address that the kernel was linked for is
/// another place there. Judged of an absolute address that each way through the handler uses before DS is loaded.
#[inline]
pub(crate) fn variables_are_the_kernels(entry: &Entry, history: &History, findings: &mut Findings) {
    if let Some(foreign) = &history.glance().foreign {
        findings.add(finding(entry, foreign));
    }
}

#[cold]
fn finding(entry: &Entry, foreign: &Foreign) -> Finding {
    let Foreign { at, variable, segment } = *foreign;
    let ss = entry.after.ss();
    let handler = entry.after.instruction_address();
    let limit = segment.limit;
    let beyond = if variable > limit {
        format!(", and beyond its limit {limit:x}: #GP on a processor that checks it")
    } else {
        String::new()
    };
    Finding::new(
        "data_segment",
        Subject::Kernel,
        format!(
            "the handler of {} uses its variables by the program's DS: what is meant to be {variable:08x} is {:08x}",
            entry.vector,
            segment.base.wrapping_add(variable)
        ),
        format!("DS with base {:08x}, which SS {:04x} has", ss.base, ss.selector),
        format!("DS {:04x}, base {:08x}", segment.selector, segment.base),
    )
    .because(format!(
        "the instruction at {at:08x} is reached with DS as #{} has interrupted it{beyond}",
        entry.sequence
    ))
    .advise(format!(
        "load DS and ES with {:04x} at the start of the handler at {handler:08x}, once they are saved",
        ss.selector
    ))
    .about_instruction(at)
    .about_instruction(handler)
}
