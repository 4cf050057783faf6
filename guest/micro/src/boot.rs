//! From the loader to Rust.
//!
//! A Multiboot loader enters the kernel at its physical address, in protected mode with flat
//! segments, without paging. The kernel is linked 3 GiB higher. So the first instructions run where
//! they were loaded, take [`DIRECTORY`](crate::memory::kernel::DIRECTORY) into use, in which the
//! first 4 MiB appear at both places, and jump up.

use crate::memory::kernel;
use abi::layout;
use arch::control::{CR0_EM, CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_PSE};
use arch::multiboot::{HEADER_FLAGS, HEADER_MAGIC, Info};
use arch::power;
use core::arch::global_asm;

/// The stack until the idle task has one.
const STACK: usize = 8192;

global_asm!(
    ".section .boot.header, \"a\"",
    ".balign 4",
    ".long {magic}, {flags}, -({magic} + {flags})",
    // EAX: Multiboot's magic number; EBX: the information. Both have to reach Rust.
    ".section .boot.text, \"ax\"",
    ".globl start",
    "start:",
    "    cli",
    "    cld",
    "    movl $({directory} - {kernel}), %ecx",
    "    movl %ecx, %cr3",
    "    movl %cr4, %ecx",
    "    orl ${cr4}, %ecx",
    "    movl %ecx, %cr4",
    "    movl %cr0, %ecx",
    "    orl ${cr0}, %ecx",
    "    movl %ecx, %cr0",
    "    movl $1f, %ecx",
    "    jmp *%ecx",
    ".text",
    "1:  movl $(boot_stack + {stack}), %esp",
    "    xorl %ebp, %ebp",
    "    pushl %ebx",
    "    pushl %eax",
    "    call {enter}",
    ".section .bss.boot, \"aw\", @nobits",
    ".balign 16",
    "boot_stack:",
    "    .skip {stack}",
    ".text",
    magic = const HEADER_MAGIC,
    flags = const HEADER_FLAGS,
    directory = sym kernel::DIRECTORY,
    kernel = const layout::KERNEL,
    cr4 = const CR4_PSE,
    cr0 = const CR0_PG | CR0_WP | CR0_NE | CR0_EM | CR0_PE,
    stack = const STACK,
    enter = sym enter,
    options(att_syntax),
);

unsafe extern "C" fn enter(magic: u32, info: u32) -> ! {
    // SAFETY: what EAX and EBX held when a loader entered us; the memory allocator keeps away from
    // what the information occupies, and all physical memory is mapped from KERNEL on.
    match unsafe { Info::new(magic, info, layout::KERNEL) } {
        Some(info) => crate::start(info),
        None => {
            arch::println!("micro: not started by a Multiboot loader");
            power::off(abi::port::EXIT_PANIC)
        }
    }
}
