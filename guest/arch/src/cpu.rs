//! Instructions that have no name in Rust, one function each.

use core::arch::asm;

/// Closes interrupts.
pub fn close_interrupts() {
    // SAFETY: at ring 0 this is always allowed. Not `nomem`: what an interrupt handler changed
    // before has to be seen behind it.
    unsafe { asm!("cli", options(nostack)) };
}

/// Opens interrupts.
///
/// # Safety
/// The interrupt table is loaded, and no handler touches what the caller has borrowed.
pub unsafe fn open_interrupts() {
    // SAFETY: as the caller promises. Not `nomem`: handlers change memory.
    unsafe { asm!("sti", options(nostack)) };
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

/// [`features`]: there is an x87 FPU.
pub const FPU: u32 = 1 << 0;
/// [`features`]: there are SYSENTER and SYSEXIT.
pub const SEP: u32 = 1 << 11;
/// [`features`]: there are FXSAVE and FXRSTOR.
pub const FXSR: u32 = 1 << 24;
/// [`features`]: there is SSE.
pub const SSE: u32 = 1 << 25;

/// CPUID.1:EDX: what the processor can do. Zero if it has no such leaf. (It has to have CPUID: all do
/// since the 486 that came after the first.)
pub fn features() -> u32 {
    if core::arch::x86::__cpuid(0).eax == 0 {
        return 0;
    }
    core::arch::x86::__cpuid(1).edx
}

/// Writes a model-specific register.
///
/// # Safety
/// The processor has it, and the value is right for it.
pub unsafe fn write_msr(register: u32, value: u32) {
    // SAFETY: as the caller promises.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value, in("edx") 0, options(nostack, preserves_flags))
    };
}
