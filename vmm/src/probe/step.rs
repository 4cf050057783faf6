//! One instruction by single-stepping, unless it raises an event.
//!
//! KVM steps with EFLAGS.TF, and a frame that is pushed meanwhile shows it. So an instruction that
//! turns out to raise an event is undone: the registers go back, and it can happen again without
//! stepping. Of memory only the frame was written, and possibly what the handler's first instruction
//! writes; both are written again in the same way.

use crate::instruction::effect::raised_event;
use crate::instruction::stepping::{
    Stepping, classify, hide_trap_flag, loads_trap_flag, returns_by_task_link,
};
use crate::machine::{Exit, Machine, MachineError};
use ia32::Eflags;

/// Steps the instruction that the vCPU stands at, `code` being its bytes. False if it raised an
/// event or left the VM, if the guest steps itself, or if another task is gone back to: the vCPU then stands before it again.
pub(super) fn step_over(machine: &mut Machine, code: &[u8]) -> Result<bool, MachineError> {
    let before = machine.vcpu.state();
    let must_run = before.eflags.contains(Eflags::TF)
        || loads_trap_flag(&before, &machine.linear(), code)
        || returns_by_task_link(&before, code);
    if must_run {
        return Ok(false);
    }
    let snapshot = machine.vcpu.snapshot();
    // An IRET may open the window, which would be reported instead of the step.
    machine.vcpu.request_interrupt_window(false);
    let mut exit = machine.vcpu.step(true)?;
    while exit == Exit::Interrupted {
        // Nothing was executed. Whoever runs the guest asks `alarm_rang` later.
        exit = machine.vcpu.step(true)?;
    }
    let after = machine.vcpu.state();
    if exit == Exit::Step && !raised_event(&before, &after, code) {
        if classify(code) == Stepping::PushesFlags {
            hide_trap_flag(&mut machine.linear_mut(), &after);
        }
        return Ok(true);
    }
    machine.vcpu.restore(&snapshot);
    Ok(false)
}
