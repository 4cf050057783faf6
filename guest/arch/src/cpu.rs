//! Instructions that have no name in Rust, one function each.

use core::arch::asm;

/// Closes interrupts.
pub fn close_interrupts() {
    // SAFETY: at ring 0 this is always allowed. Not `nomem`: what an interrupt handler changed
    // before has to be seen behind it.
    unsafe { asm!("cli", options(nostack)) };
}

/// Opens interrupts, waits for one, and closes them again when it has been handled.
///
/// STI opens them only behind the instruction that follows it, so no interrupt can slip in between
/// and leave the processor halted with its work undone.
///
/// # Safety
/// The interrupt table is loaded, and no handler touches what the caller has borrowed.
pub unsafe fn wait_for_interrupt() {
    // SAFETY: as the caller promises.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Opens interrupts for one instruction, so that one that waits is taken.
///
/// # Safety
/// As for [`wait_for_interrupt`].
pub unsafe fn let_interrupts_in() {
    // SAFETY: as the caller promises. STI opens them behind the instruction that follows it.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
}

/// Stops for good.
pub fn stop() -> ! {
    loop {
        // SAFETY: with interrupts closed HLT is never left, but for an NMI.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
