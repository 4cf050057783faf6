//! The x87 and SSE registers of programs.
//!
//! The kernel uses neither, and most programs do not, so they stay where they are over a switch:
//! CR0.TS is set, and the first instruction that uses them is #NM. Only then are the registers of
//! the task that used them last stored in its record, and this one's loaded. (Intel SDM vol. 3A,
//! 14.4.1. It is also the textbook case of a speculative leak, on processors that have one.)
//!
//! That takes FXSAVE, which every processor since 1999 has. Without it programs have no FPU.

use super::record::Task;
use arch::control::{self, CR0_EM, CR0_MP, CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT};
use arch::fpu::Registers;
use arch::{OneCpu, cpu};
use core::cell::Cell;

struct Fpu {
    exists: Cell<bool>,
    /// Whose registers are loaded.
    owner: Cell<Option<&'static Task>>,
    /// Whether its use is #NM: CR0.TS is set, or CR0.EM for ever.
    is_closed: Cell<bool>,
}

// SAFETY: used by kernel code with interrupts closed.
static FPU: OneCpu<Fpu> = unsafe {
    OneCpu::new(Fpu {
        exists: Cell::new(false),
        owner: Cell::new(None),
        is_closed: Cell::new(true),
    })
};

/// Takes the FPU into use if the processor has FXSAVE; gives whether it has.
pub(crate) fn start() -> bool {
    let features = cpu::features();
    if features & cpu::FXSR == 0 || features & cpu::FPU == 0 {
        return false; // CR0.EM stays set: every use is #NM, and the end of the program
    }
    let sse = if features & cpu::SSE != 0 { CR4_OSFXSR | CR4_OSXMMEXCPT } else { CR4_OSFXSR };
    // SAFETY: these bits open instructions; the kernel uses none of them.
    unsafe {
        control::set_cr4(control::cr4() | sse);
        control::set_cr0(control::cr0() & !CR0_EM | CR0_MP | CR0_TS);
    }
    FPU.exists.set(true);
    true
}

/// A task is about to run.
#[inline(always)]
pub(super) fn before_task(task: &Task) {
    let is_owner = FPU.owner.get().is_some_and(|owner| core::ptr::eq(owner, task));
    if FPU.is_closed.get() == is_owner {
        close(!is_owner);
    }
}

/// Nobody owns an FPU that is not there, so it is never opened.
fn close(close: bool) {
    FPU.is_closed.set(close);
    let others = control::cr0() & !CR0_TS;
    // SAFETY: TS only decides whether the FPU may be used.
    unsafe { control::set_cr0(if close { others | CR0_TS } else { others }) };
}

/// The task that runs wants to use the FPU; gives whether it can.
pub(crate) fn open() -> bool {
    if !FPU.exists.get() {
        return false;
    }
    let current = Task::current();
    close(false);
    if let Some(owner) = FPU.owner.replace(Some(current)) {
        owner.fpu.save();
    }
    current.fpu.load();
    true
}

/// The child starts with what its parent, the task that runs, has in the registers.
pub(super) fn copy(parent: &Task, child: &Task) {
    if FPU.owner.get().is_some_and(|owner| core::ptr::eq(owner, parent)) {
        parent.fpu.save(); // which leaves them loaded
    }
    child.fpu.copy_from(&parent.fpu);
}

/// The task that runs has no more use for what is in its registers.
pub(super) fn forget(task: &Task) {
    task.fpu.copy_from(&Registers::start());
    if FPU.owner.get().is_some_and(|owner| core::ptr::eq(owner, task)) {
        FPU.owner.set(None);
        close(true);
    }
}
