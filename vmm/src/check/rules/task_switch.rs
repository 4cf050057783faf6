use crate::check::{Finding, Findings, History, Subject};
use crate::entry::{SwitchCause, TaskSwitch, TssWords};
use ia32::Eflags;

/// A task switch stores the registers of the old task in its TSS, and nothing else there; TR names
/// the new one.
///
/// SDM vol. 3A, "Task switching". What is never stored is SS0:ESP0, with the stacks of the other
/// inner rings, CR3 and the LDT. An IRET stores NT as 0. RF is left open, as it is where a fault switches tasks.
pub(crate) fn switch_stores_the_old_task(
    switch: &TaskSwitch,
    _: &History,
    findings: &mut Findings,
) {
    // By a task gate what was interrupted is known from there alone.
    if matches!(switch.cause, SwitchCause::Gate { .. }) {
        return;
    }
    let before = &switch.before;
    if before.tr.selector().is_null() {
        findings.add(without_task(switch));
        return;
    }
    let general = &before.general;
    let [es, cs, ss, ds, fs, gs] = before.segments.each_ref().map(|one| u32::from(one.selector));
    let TssWords(old) = switch.old;
    let mut expected = old;
    expected[TssWords::EIP] = switch.next_eip;
    expected[TssWords::EFLAGS] = before.eflags.0;
    if switch.cause == SwitchCause::Return {
        expected[TssWords::EFLAGS] &= !Eflags::NT.0;
    }
    expected[TssWords::EAX..TssWords::ES].copy_from_slice(&general.to_array());
    expected[TssWords::ES..TssWords::LDT].copy_from_slice(&[es, cs, ss, ds, fs, gs]);
    for (index, (expected, got)) in expected.into_iter().zip(switch.stored.0).enumerate() {
        let mask = match index {
            TssWords::EFLAGS => !Eflags::RF.0,
            // The upper halves are reserved.
            TssWords::BACKLINK | TssWords::SS0 | TssWords::ES..=TssWords::LDT => 0xffff,
            _ => u32::MAX,
        };
        if (expected ^ got) & mask != 0 {
            let kept = !(TssWords::EIP..TssWords::LDT).contains(&index);
            findings.add(wrong(
                format!(
                    "the switch {} {} in the old task's TSS",
                    if kept { "changed" } else { "stored another" },
                    NAMES[index]
                ),
                format!("{} {expected:08x}", NAMES[index]),
                format!("{} {got:08x}", NAMES[index]),
            ));
        }
    }
    if switch.tr.0 != switch.selector.0 {
        findings.add(wrong(
            "the switch to a TSS did not load TR with it".into(),
            format!("TR {:04x}", switch.selector.0),
            format!("TR {:04x}", switch.tr.0),
        ));
    }
}

/// Before the first LTR the hidden part of TR says: base 0, limit ffff (SDM vol. 3A, "Processor state after reset").
fn without_task(switch: &TaskSwitch) -> Finding {
    let tr = &switch.before.tr;
    Finding::new(
        "task_switch",
        Subject::Kernel,
        "a far jump switched tasks before TR held one",
        "TR with the TSS of the task that runs: `ltr` before the first switch",
        format!(
            "TR 0000: the processor stored the old task's registers at {:08x}, over what lay there",
            tr.base
        ),
    )
    .because("nobody has executed LTR: TR has what it had after reset")
    .advise("make a TSS for what runs at the start, and load TR with it (`ltr`)")
    .as_note()
}

fn wrong(sentence: String, expected: String, got: String) -> Finding {
    Finding::new("task_switch", Subject::Processor, sentence, expected, got)
}

const NAMES: [&str; 26] = [
    "the backlink",
    "ESP0",
    "SS0",
    "ESP1",
    "SS1",
    "ESP2",
    "SS2",
    "CR3",
    "EIP",
    "EFLAGS",
    "EAX",
    "ECX",
    "EDX",
    "EBX",
    "ESP",
    "EBP",
    "ESI",
    "EDI",
    "ES",
    "CS",
    "SS",
    "DS",
    "FS",
    "GS",
    "LDT",
    "the I/O map",
];
