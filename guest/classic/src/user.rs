//! Memory that a program names, and how the kernel gets at it.
//!
//! The 386 has no CR0.WP, so ring 0 may write to any page: before it writes to a task's, it has to
//! look by itself ([`verify`]).

use crate::memory::{self, BadAddress};
use crate::task::Task;
use arch::page::PAGE;
use core::arch::naked_asm;

/// Holds a range against the running task's segment, and makes its pages usable. Behind that the
/// kernel can read it, and write to it if that was asked for, without a fault and without touching
/// a page that another task sees too.
pub(crate) fn verify(offset: u32, length: u32, write: bool) -> Result<(), BadAddress> {
    let task = Task::current();
    let end = offset.checked_add(length).filter(|end| *end <= task.size()).ok_or(BadAddress)?;
    for page in offset / PAGE..end.div_ceil(PAGE) {
        memory::make_usable(task.base() + page * PAGE, write)?;
    }
    Ok(())
}

/// Copies from the running task.
pub(crate) fn read(offset: u32, to: &mut [u8]) -> Result<(), BadAddress> {
    verify(offset, to.len() as u32, false)?;
    // SAFETY: a slice, and a range of the task that can be read.
    unsafe { from_user(to.as_mut_ptr(), offset, to.len()) };
    Ok(())
}

/// Copies to the running task.
pub(crate) fn write(offset: u32, from: &[u8]) -> Result<(), BadAddress> {
    verify(offset, from.len() as u32, true)?;
    // SAFETY: a slice, and a range of the task that can be written to.
    unsafe { to_user(offset, from.as_ptr(), from.len()) };
    Ok(())
}

/// In the kernel FS selects the running task's data: the way to it, whatever its base.
#[unsafe(naked)]
unsafe extern "C" fn from_user(to: *mut u8, from: u32, count: usize) {
    naked_asm!(
        "pushl %esi; pushl %edi",
        "movl 12(%esp), %edi; movl 16(%esp), %esi; movl 20(%esp), %ecx",
        "rep movsb %fs:(%esi), %es:(%edi)",
        "popl %edi; popl %esi; ret",
        options(att_syntax),
    )
}

/// MOVS writes to ES alone.
#[unsafe(naked)]
unsafe extern "C" fn to_user(to: u32, from: *const u8, count: usize) {
    naked_asm!(
        "pushl %esi; pushl %edi; pushl %es",
        "movl 16(%esp), %edi; movl 20(%esp), %esi; movl 24(%esp), %ecx",
        "pushl %fs; popl %es; rep movsb",
        "popl %es; popl %edi; popl %esi; ret",
        options(att_syntax),
    )
}
