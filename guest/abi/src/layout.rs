//! Where things lie in the microkernel's address spaces.
//!
//! ```text
//! 0x0000_0000  ┌──────────────────────┐
//!              │ never mapped         │
//! 0x0804_8000  ├──────────────────────┤ PROGRAM
//!              │ text, rodata: ring 3 │
//!              │ data, bss            │
//!              ├──────────────────────┤
//!              │ not mapped           │
//! 0xBFFF_B000  ├──────────────────────┤ STACK_TOP − STACK_SIZE
//!              │ user stack           │
//! 0xBFFF_F000  ├──────────────────────┤ STACK_TOP
//!              │ not mapped           │
//! 0xC000_0000  ├──────────────────────┤ KERNEL: from here on for ring 0 alone
//!              │ physical memory,     │
//!              │ one to one           │
//! 0xF000_0000  ├──────────────────────┤ BLOCKS
//!              │ task blocks, 16 KiB  │
//!              └──────────────────────┘
//! ```
//!
//! # What a program finds on its stack
//! The module's string, split at its spaces; the first word without the folders before it.
//! ```text
//! STACK_TOP ─►  ┌───────────────────────────┐
//!               │ the words, each ended by 0│
//!               ├───────────────────────────┤
//!               │ 0                         │
//!               │ address of word argc − 1  │
//!               │ …                         │
//!               │ address of word 0         │
//! ESP ───────►  │ argc                      │  a multiple of 16
//!               └───────────────────────────┘
//! ```

/// The size of a page and of a page frame, in bytes.
pub const PAGE: u32 = 4096;

/// Where ring-3 programs are linked to.
pub const PROGRAM: u32 = 0x0804_8000;

/// The end of the user stack.
pub const STACK_TOP: u32 = 0xBFFF_F000;

/// The size of the user stack in bytes. The page below it is never mapped.
pub const STACK_SIZE: u32 = 4 * PAGE;

/// The first address that belongs to the kernel. Physical address 0 is mapped here.
pub const KERNEL: u32 = 0xC000_0000;

/// The task blocks: task `n` has the block at `BLOCKS + n * BLOCK`.
pub const BLOCKS: u32 = 0xF000_0000;

/// The size of a task block, and its alignment: the task's record, a guard page, its kernel stack.
pub const BLOCK: u32 = 4 * PAGE;

/// The size of a kernel stack in bytes: the upper half of a task block.
pub const KERNEL_STACK: u32 = 2 * PAGE;

/// Where physical memory is loaded with the first byte of a kernel image.
pub const LOAD: u32 = 0x0010_0000;

const _: () = assert!(BLOCK.is_power_of_two() && BLOCKS.is_multiple_of(BLOCK));
