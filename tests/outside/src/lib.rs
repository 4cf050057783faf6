//! A kernel of a few instructions, as a file would hold it: Multiboot with load addresses, entered on GRUB's
//! selectors. It loads an IDT, raises vector 30 once, says so, and powers off.

use std::arch::global_asm;

global_asm!(
    ".pushsection .rodata",
    ".code32",
    ".balign 4",
    ".globl a_kernel_start, a_kernel_end",
    "a_kernel_start:",
    ".long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)",
    ".long 0x100000, 0x100000, 0, 0, 2f - a_kernel_start + 0x100000",
    // Entry.
    "2: mov esp, 0x110000",
    // LIDT, with the address of what it loads.
    ".byte 0x0f, 0x01, 0x1d",
    ".long 3f - a_kernel_start + 0x100000",
    "int 0x30",
    "mov al, 0x6f",
    "out 0xe9, al",
    "mov al, 0x6b",
    "out 0xe9, al",
    "mov al, 0x0a",
    "out 0xe9, al",
    "mov al, 0",
    "out 0xf4, al",
    "cli",
    "hlt",
    // The handler.
    "4: iretd",
    // IDTR and the table.
    "3: .word 0x31 * 8 - 1",
    ".long 5f - a_kernel_start + 0x100000",
    ".balign 8",
    "5: .skip 0x30 * 8",
    ".word 4b - a_kernel_start, 0x10",
    ".byte 0, 0x8e",
    ".word 0x10",
    "a_kernel_end:",
    ".code64",
    ".popsection",
);

unsafe extern "C" {
    static a_kernel_start: u8;
    static a_kernel_end: u8;
}

/// The kernel's file.
pub fn image() -> Vec<u8> {
    let (start, end) = (&raw const a_kernel_start, &raw const a_kernel_end);
    // SAFETY: both are labels around the bytes above, which nothing changes.
    unsafe { std::slice::from_raw_parts(start, end.offset_from(start) as usize).to_vec() }
}
