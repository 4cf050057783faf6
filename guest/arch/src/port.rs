//! I/O ports.

use core::arch::{asm, naked_asm};

/// Reads a byte from a port.
///
/// # Safety
/// Reading the port must have no effect on memory: it belongs to a device that the caller owns.
pub unsafe fn read(port: u16) -> u8 {
    let value;
    // SAFETY: IN touches no memory; for what the device does the caller answers.
    unsafe {
        asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags))
    };
    value
}

/// Writes a byte to a port.
///
/// # Safety
/// As for [`read`]: what the device does on it must be no harm to the kernel's memory.
pub unsafe fn write(port: u16, value: u8) {
    // SAFETY: OUT touches no memory; for what the device does the caller answers.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags))
    };
}

/// Writes all bytes to one port, by one REP OUTSB: under a VMM that is one exit for the string.
///
/// # Safety
/// As for [`write`].
pub unsafe fn write_all(port: u16, bytes: &[u8]) {
    // SAFETY: pointer and length are those of a slice; for the device the caller answers.
    unsafe { rep_outsb(port.into(), bytes.as_ptr(), bytes.len()) };
}

/// A routine of its own, because the compiler keeps ESI for itself and lends it to no `asm!`.
#[unsafe(naked)]
unsafe extern "C" fn rep_outsb(port: u32, start: *const u8, count: usize) {
    naked_asm!(
        "pushl %esi",
        "movl 8(%esp), %edx",
        "movl 12(%esp), %esi",
        "movl 16(%esp), %ecx",
        "rep outsb",
        "popl %esi",
        "ret",
        options(att_syntax),
    )
}
