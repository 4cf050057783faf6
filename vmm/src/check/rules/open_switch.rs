use crate::check::{Finding, Findings, History, Subject};
use crate::entry::{Entry, Kind};

/// Interrupts are closed between the change of ESP0 and that of ESP.
///
/// An interrupt that comes between finds the kernel on the stack of the task that is left, while TSS.ESP0
/// names that of the task to come. A note: only a handler that switches in turn is misled by it, and saves
/// the stack pointer of the one as the other's.
#[inline]
pub(crate) fn switch_is_not_interrupted(entry: &Entry, history: &History, findings: &mut Findings) {
    if entry.from_outer_ring()
        || !matches!(entry.kind, Kind::External | Kind::Nmi)
        || history.copies_frames()
    {
        return;
    }
    let (Some(running), Some(stack)) = (history.running(), entry.inner_stack) else { return };
    let next = entry.after.ss().base.wrapping_add(stack.esp);
    let (Some(old), Some(new)) = (history.owner(entry.frame.address), history.task_with_top(next))
    else {
        return;
    };
    if next == running || history.owner(running) != Some(old) || new == old {
        return;
    }
    findings.add(
        Finding::new(
            "open_switch",
            Subject::Kernel,
            format!(
                "interrupt {:#04x} came in the middle of a switch from task {} to task {}",
                entry.vector.0, old.0, new.0
            ),
            "interrupts closed from the change of TSS.ESP0 to that of ESP",
            format!(
                "ESP {:08x}, in the stack of task {}, and ESP0 {:08x}, that of task {}",
                entry.frame.end(),
                old.0,
                stack.esp,
                new.0
            ),
        )
        .because(
            "a handler that switches tasks now keeps this stack pointer for the wrong one: two tasks \
             exchange their frames",
        )
        .advise("`cli` before the switch, and let the next task's IRET or POPF open interrupts again")
        .as_note(),
    );
}
