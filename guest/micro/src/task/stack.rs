//! From one kernel stack to another.
//!
//! A task that does not run stands still inside [`switch`], with the rest of its state on its own
//! kernel stack. So the switch is: four registers down, ESP away, ESP from there, four up.
//! ```text
//!  stack_top ─►  ┌──────────────────────────┐
//!                │ SS ESP EFLAGS CS EIP     │  pushed by the CPU
//!                │ error code, vector       │  pushed by the stub
//!                │ the general registers    │  pushed by `trap::entry`
//!                ├──────────────────────────┤
//!                │ `trap::trap`, and so on, │
//!                │ down to `switch::switch` │
//!                ├──────────────────────────┤
//!                │ return address           │  pushed by the call
//!                │ EBP EBX ESI EDI          │  pushed by `switch`: what C keeps over a call
//!  kept ESP ──►  └──────────────────────────┘
//! ```
//! A new stack is made to look like that, with nothing between the two boxes: the return address is
//! the way out to ring 3.

use crate::trap::frame::{UserFrame, leave};
use core::arch::naked_asm;

/// What [`switch`] pops.
#[repr(C)]
struct Kept {
    edi_esi_ebx_ebp: [u32; 4],
    return_address: u32,
}

/// Keeps ESP in `keep`, takes `other` for it, and returns to whoever called when that was kept.
///
/// # Safety
/// `other` was kept by this function, or comes from this file; it is used once. TSS and CR3 fit.
#[unsafe(naked)]
pub(super) unsafe extern "fastcall" fn switch(keep: *mut u32, other: u32) {
    naked_asm!(
        "pushl %ebp",
        "pushl %ebx",
        "pushl %esi",
        "pushl %edi",
        "movl %esp, (%ecx)",
        "movl %edx, %esp",
        "popl %edi",
        "popl %esi",
        "popl %ebx",
        "popl %ebp",
        "ret",
        options(att_syntax),
    )
}

/// Fills a new stack for a task that goes to ring 3 with this frame; gives the ESP to keep.
pub(super) fn for_frame(stack_top: u32, frame: UserFrame) -> u32 {
    #[repr(C)]
    struct Start {
        kept: Kept,
        frame: UserFrame,
    }
    push(stack_top, Start { kept: kept(leave as *const () as u32), frame })
}

/// Fills a new stack for a function of the kernel; gives the ESP to keep.
pub(super) fn for_kernel(stack_top: u32, body: extern "C" fn() -> !) -> u32 {
    #[repr(C)]
    struct Start {
        kept: Kept,
        /// Where the body would return to, if it did.
        nowhere: u32,
    }
    push(stack_top, Start { kept: kept(body as *const () as u32), nowhere: 0 })
}

fn kept(return_address: u32) -> Kept {
    Kept { edi_esi_ebx_ebp: [0; 4], return_address }
}

fn push<T>(top: u32, value: T) -> u32 {
    let address = top - size_of::<T>() as u32;
    // SAFETY: callers in this folder pass the top of a new block's stack, which nobody uses yet.
    unsafe { (address as *mut T).write(value) };
    address
}
