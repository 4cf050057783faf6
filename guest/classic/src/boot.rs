//! From real mode to Rust: the first two stacks.
//!
//! A PC's firmware loads a boot sector to 0x7C00 and enters it in real mode. There esp0 enters this
//! one, as the image's note asks, at 07C0:0000 and without a stack. (The rest of the kernel is in
//! place already, as if read from disk.) It moves itself out of the way, to 0x9000:0, and puts
//! the boot stack behind itself:
//! ```text
//!  9000:FF00 = 0x9FF00 ─►  ┌──────────────┐  the first stack: real mode
//!                          │              │
//!  9000:0200               ├──────────────┤
//!                          │ this code    │
//!  9000:0000 = 0x90000     └──────────────┘
//! ```
//! Then it enters protected mode, and the second stack is an array in the kernel's data: the
//! initial stack, of one page. It is called `USER_STACK`, for that is what becomes of it.

use arch::multiboot::{HEADER_FLAGS, HEADER_MAGIC, Info};
use core::arch::global_asm;

global_asm!(
    // What esp0 reads: real mode, and at which CS:IP.
    ".section .note.esp0.start, \"a\", @note",
    ".long 5, 4, 1; .asciz \"esp0\"; .balign 4; .word 0, 0x07C0",
    ".section .boot, \"ax\"",
    ".code16",
    ".globl start",
    // EAX and EBX are the loader's and have to reach Rust.
    "start:",
    "    movw $0x07C0, %dx; movw %dx, %ds",
    "    movw $0x9000, %dx; movw %dx, %es",
    "    xorw %si, %si; xorw %di, %di; movw $256, %cx; cld; rep movsw",
    "    ljmpw $0x9000, $(1f - start)",
    "1:  movw %dx, %ds",
    "    movw %dx, %ss",
    "    movw $0xFF00, %sp",
    "    cli",
    "    lgdtl boot_gdt_pointer - start",
    "    movl %cr0, %edx; orb $1, %dl; movl %edx, %cr0",
    "    ljmpl $0x08, $startup_32",
    // Null, code and data of ring 0 over 16 MiB: the kernel makes another like it.
    ".balign 8",
    "boot_gdt: .quad 0, 0x00C09A0000000FFF, 0x00C0920000000FFF",
    "boot_gdt_pointer: .word 23; .long 0x90000 + boot_gdt - start",
    ".balign 4",
    ".long {magic}, {flags}, -({magic} + {flags})",
    ".code32",
    ".text",
    "startup_32:",
    "    movl $0x10, %edx",
    "    movl %edx, %ds; movl %edx, %es; movl %edx, %fs; movl %edx, %gs",
    "    lssl stack_start, %esp",
    "    xorl %ebp, %ebp; pushl %ebx; pushl %eax; call {main}",
    ".section .rodata.stack_start, \"a\"",
    "stack_start: .long user_stack_end; .word 0x10",
    ".section .stack, \"aw\", @nobits",
    ".balign 4096; user_stack: .skip 4096; user_stack_end:",
    ".text",
    magic = const HEADER_MAGIC,
    flags = const HEADER_FLAGS,
    main = sym main,
    options(att_syntax),
);

unsafe extern "C" fn main(magic: u32, info: u32) -> ! {
    // SAFETY: what EAX and EBX held at the first instruction; the allocator of page frames keeps
    // away from what the information occupies, and physical memory is where it is.
    match unsafe { Info::new(magic, info, 0) } {
        Some(info) => crate::main(info),
        None => panic!("not started by a Multiboot loader"),
    }
}
