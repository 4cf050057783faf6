use crate::check::{CodePlace, Finding, Findings, History, Subject};
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

/// IA32_SYSENTER_ESP has been written, if the kernel uses the stack that it gives.
///
/// It is 0 after reset (SDM vol. 4, "IA32_SYSENTER_ESP"), and what is pushed goes to the top of the address space. Broken on
/// purpose by `tests/c/sysenter.c`, `NO_SYSENTER_ESP`.
pub(crate) fn sysenter_has_a_stack(entry: &Sysenter, _: &History, findings: &mut Findings) {
    // The last page may be a stack.
    let is_mapped = entry.after.paging() && entry.physical.is_some();
    if entry.registers.esp != 0 || entry.after.general.esp != 0 || !entry.uses_stack || is_mapped {
        return;
    }
    findings.add(
        Finding::new(
            "sysenter",
            Subject::Kernel,
            "SYSENTER has loaded ESP with 0: IA32_SYSENTER_ESP was never written",
            "IA32_SYSENTER_ESP with the end of a kernel stack",
            "ESP 00000000, and the handler pushes from there, to ffffffff and below",
        )
        .advise("write the end of the task's kernel stack to MSR 175 before SYSENTER is used, and at each switch")
        .about(CodePlace::Handler(entry.after.instruction_address())),
    );
}

/// IA32_SYSENTER_ESP is the end of a stack, not its start.
///
/// SYSENTER pushes nothing, but what follows does, below ESP. Judged where the kernel's symbols say in which object it lies:
/// it is the first byte of one that is large enough for a stack, and below it is one that is too small for any. Broken on purpose
/// by `tests/c/sysenter.c`, `SYSENTER_ESP_STARTS`.
pub(crate) fn sysenter_esp_is_no_start(
    entry: &Sysenter,
    history: &History,
    findings: &mut Findings,
) {
    /// No kernel stack has so little room, or less than that.
    const TINY: u32 = 128;
    const STACK: u32 = 1024;
    let esp = entry.registers.esp;
    if !entry.uses_stack || entry.after.ss().base != 0 || entry.after.general.esp != esp {
        return;
    }
    let objects = history.objects();
    let Some(above) = objects.at(esp).filter(|one| one.start == esp && one.end - esp >= STACK)
    else {
        return;
    };
    let Some(below) = objects.at(esp.wrapping_sub(1)).filter(|one| esp - one.start < TINY) else {
        return;
    };
    findings.add(
        Finding::new(
            "sysenter",
            Subject::Kernel,
            format!(
                "IA32_SYSENTER_ESP is the start of a stack, not its end: what the handler pushes overwrites {}",
                below.name
            ),
            format!("IA32_SYSENTER_ESP {:08x}, where {} ends", above.end, above.name),
            format!("IA32_SYSENTER_ESP {esp:08x}, where {} begins", above.name),
        )
        .because(format!("right below it {} has {} bytes, too few for a stack", below.name, esp - below.start))
        .advise("add the stack's size to its address in what is written to MSR 175")
        .about(CodePlace::Handler(entry.after.instruction_address())),
    );
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
        .advise("write the end of the next task's kernel stack to IA32_SYSENTER_ESP where TSS.ESP0 is set")
        .about(CodePlace::Handler(entry.after.instruction_address())),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::SysenterRegisters;
    use ia32::State;

    fn judged(change: impl FnOnce(&mut Sysenter)) -> Vec<Finding> {
        let registers = SysenterRegisters { cs: 8, esp: 0x2000, eip: 0x1000 };
        let mut after = State { eip: 0x1000, ..State::default() };
        after.general.esp = 0x2000;
        after.segments[1].selector = 8;
        after.segments[2].selector = 0x10;
        let mut entry = Sysenter {
            after_sequence: 3,
            time: 0,
            before: Some(Box::default()),
            after,
            registers,
            uses_stack: true,
            physical: None,
        };
        change(&mut entry);
        let mut findings = Findings::default();
        sysenter_loads_its_registers(&entry, &History::default(), &mut findings);
        findings.take()
    }

    #[test]
    fn what_sysenter_loads_is_held_against_its_registers() {
        assert!(judged(|_| ()).is_empty());
        for change in [
            (|entry| entry.after.general.esp = 0x3000) as fn(&mut Sysenter),
            |entry| entry.after.segments[1].selector = 0xb,
            |entry| entry.after.segments[2].selector = 8,
            |entry| entry.after.eflags = Eflags::IF,
        ] {
            let found = judged(change);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].subject, Subject::Processor);
        }
        let unknown = judged(|entry| (entry.before, entry.after.general.esp) = (None, 0x3000));
        assert!(unknown.is_empty(), "it may have been a jump");
    }
}
