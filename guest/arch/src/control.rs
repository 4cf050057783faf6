//! The control registers (Intel SDM vol. 3A, 2.5).

use core::arch::asm;

/// CR0: protected mode.
pub const CR0_PE: u32 = 1 << 0;
/// CR0: WAIT heeds TS.
pub const CR0_MP: u32 = 1 << 1;
/// CR0: x87 and SSE instructions are #NM until it is cleared.
pub const CR0_TS: u32 = 1 << 3;
/// CR0: x87 instructions are refused with #NM.
pub const CR0_EM: u32 = 1 << 2;
/// CR0: x87 errors are exceptions, not an external interrupt.
pub const CR0_NE: u32 = 1 << 5;
/// CR0: read-only pages are read-only for ring 0 too.
pub const CR0_WP: u32 = 1 << 16;
/// CR0: paging.
pub const CR0_PG: u32 = 1 << 31;
/// CR4: pages of 4 MiB.
pub const CR4_PSE: u32 = 1 << 4;

/// CR4: FXSAVE and SSE instructions may be used.
pub const CR4_OSFXSR: u32 = 1 << 9;
/// CR4: SSE errors are #XM.
pub const CR4_OSXMMEXCPT: u32 = 1 << 10;

/// CR0.
pub fn cr0() -> u32 {
    let value;
    // SAFETY: reading CR0 has no effect.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Sets CR0.
///
/// # Safety
/// What it changes does not pull the ground from under running code.
pub unsafe fn set_cr0(value: u32) {
    // SAFETY: as the caller promises.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// CR4.
pub fn cr4() -> u32 {
    let value;
    // SAFETY: reading CR4 has no effect.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Sets CR4.
///
/// # Safety
/// As for [`set_cr0`]; the processor knows all bits that are set.
pub unsafe fn set_cr4(value: u32) {
    // SAFETY: as the caller promises.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// CR2: the linear address of the last page fault.
pub fn cr2() -> u32 {
    let value;
    // SAFETY: reading CR2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// CR3: the physical address of the page directory in use.
pub fn cr3() -> u32 {
    let value;
    // SAFETY: reading CR3 has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Takes another page directory into use, and forgets all cached translations.
///
/// # Safety
/// `directory` is the physical address of a page directory that maps the running code, its stack
/// and all that Rust knows of as before.
pub unsafe fn set_cr3(directory: u32) {
    // SAFETY: as the caller promises. Memory may look different behind it, so no `nomem`.
    unsafe { asm!("mov cr3, {}", in(reg) directory, options(nostack, preserves_flags)) };
}

/// Turns paging on.
///
/// # Safety
/// CR3 leads to a page directory that maps the running code, its stack and all that Rust knows of
/// where they are.
pub unsafe fn enable_paging() {
    // SAFETY: as the caller promises. The jump drops what was fetched before.
    unsafe {
        asm!("mov {0}, cr0", "or {0}, {1}", "mov cr0, {0}", "jmp 2f", "2:", out(reg) _,
             const CR0_PG, options(nostack));
    }
}

/// Forgets the cached translation of one page.
pub fn invalidate_page(address: u32) {
    // SAFETY: INVLPG changes no memory and no register, and faults for no address.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}
