//! Where things lie in the microkernel's address spaces.
//!
//! ```text
//! 0x0000_0000  ┌──────────────────────┐
//!              │ never mapped         │
//! 0x0804_8000  ├──────────────────────┤ PROGRAM
//!              │ text, rodata: ring 3 │
//!              │ data, bss            │
//!              │ heap, grows up       │
//!              ├──────────────────────┤
//!              │ not mapped           │
//!              ├──────────────────────┤ STACKS_START
//!              │ threads' stacks      │ one every STACK_STRIDE
//! 0xBFFE_F000  ├──────────────────────┤ STACK_TOP − STACK_SIZE; the page below is never mapped
//!              │ user stack           │ grows down, a page at a time
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
//! A boot module: its string, split at its spaces, the first word without the folders before it, and
//! no environment. Otherwise what [`exec`](crate::call::Call::Exec) was told.
//! ```text
//! STACK_TOP ─►  ┌───────────────────────────┐
//!               │ the words, each ended by 0│
//!               ├───────────────────────────┤
//!               │ 0                         │
//!               │ addresses of environment  │
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

/// How far a user stack can grow, in bytes. The page below that is never mapped.
pub const STACK_SIZE: u32 = 16 * PAGE;

/// From the top of one user stack to that of the next thread's: a stack and its guard page.
pub const STACK_STRIDE: u32 = STACK_SIZE + PAGE;

/// How many stacks there can be in an address space.
pub const STACKS: u32 = 32;

/// Where the stacks begin, and the heap has to end.
pub const STACKS_START: u32 = STACK_TOP - STACKS * STACK_STRIDE;

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
