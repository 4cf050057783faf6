//! From one task to another: all that the processor has to know of the one that goes on.
//!
//! | what | where |
//! | --- | --- |
//! | the stack on which ring 3 enters ring 0 | ESP0 in the TSS, and its copy for SYSENTER |
//! | its program's memory | CR3, if it is another |
//! | its ports | the map in the TSS, if either has any |
//! | its FPU's registers | stay where they are until somebody uses them: [`super::fpu`] |
//! | all else | on its kernel stack: [`super::stack`] |

use super::record::Task;
use super::{fpu, stack};
use crate::{ports, segments, sysenter};
use arch::control;

/// Leaves a task where it is, in the kernel, and goes on with another where that was left. Comes back
/// when somebody does the same with this one. They must not be the same.
#[inline(always)]
pub(super) fn switch(from: &Task, to: &Task) {
    assert!(from.is_stack_intact(), "the kernel stack of task {from} has overflowed");
    prepare(to);
    // SAFETY: the other stack was left by `switch`, or made to look so; its block is there, since
    // the task is.
    unsafe { stack::switch(from.stack_pointer().as_ptr(), to.stack_pointer().get()) };
}

/// Goes on with this task, and leaves the boot stack for good: there is no way back.
pub(super) fn leave_boot_stack(first: &Task) -> ! {
    let mut nobody = 0;
    prepare(first);
    // SAFETY: the stack is new. Its task needs no other directory than the kernel's.
    unsafe { stack::switch(&raw mut nobody, first.stack_pointer().get()) };
    unreachable!("the boot stack is used again")
}

/// Makes the processor ready for a task.
#[inline(always)]
fn prepare(task: &Task) {
    let stack_top = task.kernel_stack().end;
    segments::enter_ring_0_at(stack_top);
    sysenter::enter_ring_0_at(stack_top);
    if control::cr3() != task.directory() {
        // SAFETY: the kernel is the same in all directories.
        unsafe { control::set_cr3(task.directory()) };
    }
    if task.has_ports() || ports::is_any_open() {
        open_ports(task);
    }
    fpu::before_task(task);
}

#[cold]
fn open_ports(task: &Task) {
    task.ports().open();
}
