//! Entries by task gates, and the IRETs that go back.

use crate::check::{CodePlace, Finding, Findings, History, Subject};
use crate::entry::{SwitchCause, TaskSwitch, TssWords};
use ia32::{Eflags, Vector};

/// The rule of an error code that is not there, by which a known deviation is told.
pub(in crate::check) const LOST: &str = "task_gate_error_code";

/// CR0.TS (SDM vol. 3A, "Control registers").
const TASK_SWITCHED: u32 = 1 << 3;
/// The flags that a TSS loads as they are: not RF and TF, which show how the guest is stopped, nor bits that are reserved.
const LOADED: u32 = 0x7ed5;

/// An event by a task gate loads the registers of the gate's TSS, sets NT and CR0.TS, and pushes its error code on the stack of
/// the new task.
///
/// SDM vol. 3A, "Task switching", "Task linking" and "Task gates in the IDT". That of #DF is always 0.
pub(crate) fn task_gate_is_gone_through(switch: &TaskSwitch, _: &History, findings: &mut Findings) {
    let SwitchCause::Gate { vector, error_code, .. } = switch.cause else { return };
    let (new, after) = (&switch.new.0, &switch.after);
    let general = after.general.to_array();
    let pushed = if error_code.is_some() { 4 } else { 0 };
    let mut held = vec![
        ("EIP", new[TssWords::EIP], after.eip),
        ("EFLAGS", (new[TssWords::EFLAGS] | Eflags::NT.0) & LOADED, after.eflags.0 & LOADED),
        ("LDTR", new[TssWords::LDT] & 0xffff, after.ldtr.selector.into()),
        ("CR0.TS", TASK_SWITCHED, after.cr0 & TASK_SWITCHED),
    ];
    if after.cr0 >> 31 != 0 {
        held.push(("CR3", new[TssWords::CR3] & !0xfff, after.cr3 & !0xfff));
    }
    for (index, (name, got)) in ia32::General::NAMES.into_iter().zip(general).enumerate() {
        let expected = new[TssWords::EAX + index];
        held.push((
            name,
            if name == "ESP" { expected.wrapping_sub(pushed) } else { expected },
            got,
        ));
    }
    let names = ["ES", "CS", "SS", "DS", "FS", "GS"];
    for (index, (name, segment)) in names.into_iter().zip(&after.segments).enumerate() {
        held.push((name, new[TssWords::ES + index] & 0xffff, segment.selector.into()));
    }
    if vector == Vector::DF {
        held.extend(error_code.map(|code| ("the error code", 0, code)));
    }
    for (what, expected, got) in held.into_iter().filter(|(_, expected, got)| expected != got) {
        findings.add(Finding::new(
            "task_gate",
            Subject::Processor,
            format!("the task gate of {vector} did not set {what} as it should"),
            format!("{what} {expected:08x}"),
            format!("{what} {got:08x}"),
        ));
    }
}

/// An exception that has an error code brings it along to the new task's stack.
///
/// SDM vol. 3A, "Task gates in the IDT". `int n` brings none, so its vector is not judged.
pub(crate) fn task_gate_brings_the_error_code(
    switch: &TaskSwitch,
    _: &History,
    findings: &mut Findings,
) {
    let SwitchCause::Gate { vector, error_code: None, by_int: false } = switch.cause else {
        return;
    };
    if vector.has_error_code() {
        findings.add(Finding::new(
            LOST,
            Subject::Processor,
            format!("the task gate of {vector} brought no error code"),
            format!(
                "ESP {:08x}, and the error code there",
                switch.new.0[TssWords::ESP].wrapping_sub(4)
            ),
            format!("ESP {:08x}", switch.after.general.esp),
        ));
    }
}

/// The task of a task gate has a stack that is not in use.
///
/// It begins at ESP of its TSS, whoever was interrupted (SDM vol. 3A, "Task switching"). A double fault often means that the
/// kernel's stack is of no use, and what its task pushes is to harm nobody. Broken on purpose by `tests/c/task_gate.c`,
/// `GATE_ON_USED_STACK`.
pub(crate) fn task_gate_has_a_stack(
    switch: &TaskSwitch,
    history: &History,
    findings: &mut Findings,
) {
    /// The interrupted code uses so many bytes below the frame at most.
    const NEAR: u32 = 0x1_0000;
    let SwitchCause::Gate { vector, .. } = switch.cause else { return };
    if switch.before.cpl() != 0 {
        return;
    }
    let linear = switch.after.ss().base.wrapping_add(switch.new.0[TssWords::ESP]);
    let Some(victim) = history.live_right_below(linear) else { return };
    // Of what was interrupted, and not of a task that has ended.
    let left = switch.before.stack_address();
    if left > victim.frame.address || victim.frame.address - left > NEAR {
        return;
    }
    findings.add(
        Finding::new(
            "task_gate",
            Subject::Kernel,
            format!(
                "the task of the task gate of {vector} runs on a stack that is in use: its ESP is {linear:08x}, and the \
                 frame of #{} lies right below",
                victim.sequence
            ),
            "a stack of its own for that task",
            format!("what it pushes from {linear:08x} down overwrites the frame of #{}", victim.sequence),
        )
        .because(format!(
            "a task gate takes ESP from the TSS that it names ({:04x}), as it was stored there",
            switch.selector.0
        ))
        .advise("give that TSS the end of a stack that nobody else uses")
        .about(CodePlace::Handler(switch.after.instruction_address())),
    );
}

/// A task that leaves by IRET is entered again behind that IRET, with the ESP that it had there: the error code has to be
/// taken off before.
///
/// SDM vol. 3A, "Task linking": the IRET stores the task as it is. Broken on purpose by `tests/c/task_gate.c`,
/// `ERROR_CODE_LEFT`.
pub(crate) fn task_gate_takes_its_error_code_off(
    switch: &TaskSwitch,
    history: &History,
    findings: &mut Findings,
) {
    let SwitchCause::Gate { vector, error_code: Some(_), .. } = switch.cause else { return };
    let esp = switch.new.0[TssWords::ESP];
    let Some(last) = history.last_by_gate(switch.selector) else { return };
    // It has left by an IRET, and was come to again behind it, one word lower.
    if !last.returned || esp.wrapping_add(4) != last.esp || !last.has_error_code {
        return;
    }
    findings.add(
        Finding::new(
            "task_gate",
            Subject::Kernel,
            format!(
                "the task of the task gate of {vector} begins one word lower each time: it has left the error code on its stack"
            ),
            format!("ESP {:08x} in its TSS, as the last time", last.esp),
            format!("ESP {esp:08x}"),
        )
        .because(
            "the error code is pushed on the task's own stack, and the IRET by which it leaves stores ESP in its TSS as it is then",
        )
        .advise("`add esp, 4` before that IRET, or store ESP in that TSS anew")
        .about_instruction(switch.after.instruction_address()),
    );
}
