use super::frame_size::stack_before;
use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;

/// An entry from an outer ring is on SS0:ESP0 of the current TSS, less the frame; one from the same
/// ring stays on its stack.
///
/// SDM vol. 3A, "Exception- or interrupt-handler procedures"; "Task-state segment".
#[inline]
pub(crate) fn stack_comes_from_the_tss(entry: &Entry, _: &History, findings: &mut Findings) {
    let after = &entry.after;
    let (ss, whence) = if entry.from_outer_ring() {
        let Some(stack) = entry.inner_stack else {
            findings.add(Finding::new(
                "stack_pointer",
                Subject::Processor,
                "the stack changed although TR holds no TSS that can be read",
                "a task-state segment with SS0 and ESP0",
                format!("TR {:04x}, limit {:#x}", after.tr.selector, after.tr.limit),
            ));
            return;
        };
        (stack.ss, "SS0:ESP0")
    } else {
        let Some(before) = &entry.before else { return };
        (before.ss().selector, "the stack before the event")
    };
    let Some(base) = stack_before(entry) else { return };
    let size = entry.frame.shape.size();
    let esp = after.stack_pointer();
    let pushed = base.wrapping_sub(esp);
    if after.ss().selector == ss && (pushed == size || pushed <= 40) {
        return;
    }
    findings.add(Finding::new(
        "stack_pointer",
        Subject::Processor,
        format!("{} was not delivered on {whence}", entry.vector),
        format!("SS:ESP {ss:04x}:{:08x}", base.wrapping_sub(size)),
        format!("SS:ESP {:04x}:{esp:08x}", after.ss().selector),
    ));
}
