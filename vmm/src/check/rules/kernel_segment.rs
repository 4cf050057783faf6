use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;

/// A kernel is entered on the stack segment that it runs on.
///
/// SS0 comes from the TSS. Where it names another segment than the kernel was in when it last left
/// ring 0, stack addresses mean something else from there on. Judged from the second entry on. Broken on purpose by the guest
/// `broken` with `plant=wrong_ss0`.
#[inline]
pub(crate) fn kernel_runs_on_one_stack_segment(
    entry: &Entry,
    history: &History,
    findings: &mut Findings,
) {
    let (Some(last), Some(stack)) = (history.last_return(), entry.inner_stack) else { return };
    let ss = entry.after.ss().selector;
    if !entry.from_outer_ring() || ss & !3 == last.ss & !3 {
        return;
    }
    // The kernel may have booted on another segment than it is to be entered on.
    if history.stacks().iter().all(|stack| stack.entries == 0) {
        return;
    }
    findings.add(
        Finding::new(
            "kernel_segment",
            Subject::Kernel,
            format!("entered with SS {ss:04x}, but the kernel left ring 0 with SS {:04x}", last.ss),
            format!("SS {:04x}", last.ss),
            format!("SS {ss:04x}"),
        )
        .because(format!("TSS.SS0 is {:04x}", stack.ss)),
    );
}
