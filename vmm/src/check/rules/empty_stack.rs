use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;

/// How far ESP0 may be off to be taken for a miscalculated top of the same stack.
const NEAR: u32 = 1024;

/// An entry from ring 3 finds the kernel stack empty.
///
/// The processor reads SS0:ESP0 and never writes them, so every entry starts at the same place. A
/// return to ring 3 empties the stack of the task that it resumes, and so tells where that is: the
/// next entry has to start there (SDM vol. 3A, "Exception- or interrupt-handler procedures"). Only a
/// frame made by hand, from which a new task starts, may lie on another stack. Broken on purpose by
/// the guest `broken` with `plant=esp0_off_by_four`, `esp0_above_by_four` and `esp0_boot_stack`.
#[inline]
pub(crate) fn stack_is_empty(entry: &Entry, history: &History, findings: &mut Findings) {
    if !entry.from_outer_ring() {
        return;
    }
    let (Some(stack), Some(last)) = (entry.inner_stack, history.last_return()) else { return };
    if last.ring <= entry.after.cpl() {
        return;
    }
    let top = entry.after.ss().base.wrapping_add(stack.esp);
    let off = top.wrapping_sub(last.stack_end) as i32;
    let near = off.unsigned_abs() <= NEAR;
    if off == 0 || !near && (!last.of_entry || findings.has("suspended_stack")) {
        return;
    }
    let size = entry.frame.shape.size();
    let (sentence, reason) = match (near, off < 0) {
        (true, true) => (
            "entered on a kernel stack that is not empty",
            format!("ESP0 is {} bytes below the top of the stack", -off),
        ),
        (true, false) => (
            "entered above the top of the kernel stack",
            format!("ESP0 is {off} bytes above it: what lies there is overwritten"),
        ),
        (false, _) => (
            "entered on another kernel stack than the one that the last return left",
            "ESP0 has changed, or had not been set for this task, since it was entered last".into(),
        ),
    };
    findings.add(
        Finding::new(
            "empty_stack",
            Subject::Kernel,
            sentence,
            format!(
                "ESP {:08x}  (the last return left the stack empty at {:08x})",
                last.stack_end.wrapping_sub(size),
                last.stack_end
            ),
            format!("ESP {:08x}  (ESP0 {:08x})", entry.after.general.esp, stack.esp),
        )
        .because(reason),
    );
}
