use crate::check::{Finding, Findings, History, Subject};
use crate::entry::{Kind, Sysenter};
use ia32::Eflags;

/// SYSENTER loads CS, SS and ESP from its three registers, and closes interrupts.
///
/// SDM vol. 2B, "SYSENTER". Judged where the state in front of it was seen: else the guest may have come to its
/// target in another way.
pub(crate) fn sysenter_loads_its_registers(entry: &Sysenter, _: &History, findings: &mut Findings) {
    if entry.before.is_none() {
        return;
    }
    let (after, registers) = (&entry.after, &entry.registers);
    let flags = Eflags(after.eflags.0 & (Eflags::IF.0 | Eflags::VM.0));
    for (what, expected, got) in [
        ("CS", registers.code_selector().into(), after.cs().selector.into()),
        ("SS", registers.stack_selector().into(), after.ss().selector.into()),
        ("ESP", registers.esp, after.general.esp),
        ("IF and VM", 0, flags.0),
    ] {
        if expected != got {
            findings.add(Finding::new(
                "sysenter",
                Subject::Processor,
                format!("SYSENTER did not load {what} as it should"),
                format!("{what} {expected:08x}"),
                format!("{what} {got:08x}"),
            ));
        }
    }
}

/// IA32_SYSENTER_ESP leads to the running task's stack, or to none of a task's.
///
/// It is what ESP0 is to a gate: what the kernel pushes first must not fall onto the frame that another task is to
/// resume from. Not judged where the kernel takes another stack first, where it resumes tasks from copies, and
/// where the task whose frame it is may have ended. Broken on purpose by `tests/c/sysenter.c`.
pub(crate) fn sysenter_is_on_nobody_elses_stack(
    entry: &Sysenter,
    history: &History,
    findings: &mut Findings,
) {
    /// So much is pushed by the least of all handlers.
    const PUSHED: u64 = 8;
    /// Stacks end at round addresses, records of tasks anywhere.
    const ROUND: u32 = 256;
    let Some(last) = entry.physical.filter(|_| entry.uses_stack && !history.copies_frames()) else {
        return;
    };
    let from_a_stack = |end: u32| end.is_multiple_of(ROUND);
    let last_return = history.last_return().filter(|from| from.ring == 3);
    let Some(from) = last_return.filter(|from| from.of_entry || from_a_stack(from.stack_end))
    else {
        return;
    };
    let Some(victim) = history.live_within((last + 1).saturating_sub(PUSHED), last + 1) else {
        return;
    };
    let preempted = matches!(victim.kind, Kind::External | Kind::Nmi);
    let (Some(owner), Some(runs)) = (victim.task, from.task) else { return };
    if !preempted || !victim.from_outer_ring() || owner == runs {
        return;
    }
    let esp = entry.after.general.esp;
    findings.add(
        Finding::new(
            "sysenter",
            Subject::Kernel,
            format!("SYSENTER of task {} is on the stack of suspended task {}", runs.0, owner.0),
            format!("IA32_SYSENTER_ESP {:08x}  (the stack that the last return left)", from.stack_end),
            format!("IA32_SYSENTER_ESP {esp:08x}  what is pushed overwrites the frame of #{}", victim.sequence),
        )
        .advise("write the end of the next task's kernel stack to IA32_SYSENTER_ESP where TSS.ESP0 is set"),
    );
}
