//! Task blocks.
//!
//! A block is 16 KiB, aligned to its size, and holds all of a task that the kernel needs to find
//! by the stack pointer alone:
//! ```text
//! ESP0 = start + 0x4000 ─►  ┌──────────────────┐
//!                           │ kernel stack     │ 8 KiB, grows down
//!        start + 0x2000     ├──────────────────┤
//!                           │ guard, unmapped  │ 4 KiB: an overflow ends here
//!        start + 0x1000     ├──────────────────┤
//!                           │ record           │ 4 KiB
//!        start              └──────────────────┘ = ESP & !0x3FFF
//! ```
//! The record lies below the guard, so a stack that overflows never reaches it.

use crate::memory::frames::Frame;
use crate::memory::kernel;
use abi::layout::{BLOCK, BLOCKS, KERNEL_STACK, PAGE};
use arch::control;
use arch::page::{Entry, Flags, LARGE_PAGE};
use core::arch::asm;

/// How many blocks there can be: what one page table maps.
pub(super) const MAX: u32 = LARGE_PAGE / BLOCK;

/// The pages of a block that are mapped, by their offset.
const PAGES: [u32; 3] = [0, BLOCK - KERNEL_STACK, BLOCK - PAGE];
const _: () = assert!(KERNEL_STACK == 2 * PAGE && BLOCK == KERNEL_STACK + 2 * PAGE);

/// A block that is mapped.
pub(super) struct Block {
    number: u32,
}

impl Block {
    /// Maps the pages of a block, all zeros; `None` if memory is used up.
    pub(super) fn create(number: u32) -> Option<Self> {
        assert!(number < MAX);
        let frames = [Frame::allocate()?, Frame::allocate()?, Frame::allocate()?];
        let block = Self { number };
        for (page, frame) in PAGES.into_iter().zip(frames) {
            let entry = Entry::new(frame.into_address(), Flags::PRESENT | Flags::WRITABLE);
            kernel::block_page(block.start() + page).set(entry);
        }
        Some(block)
    }

    /// Unmaps it and gives its memory back.
    pub(super) fn remove(self) {
        for address in PAGES.map(|page| self.start() + page) {
            let entry = kernel::block_page(address).replace(Entry::EMPTY);
            control::invalidate_page(address);
            // SAFETY: `create` gave the frame up to this entry, which is no more.
            drop(unsafe { Frame::from_address(entry.address()) });
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Its first address.
    pub(super) fn start(&self) -> u32 {
        BLOCKS + self.number * BLOCK
    }

    /// The address just above its stack.
    pub(super) fn stack_top(&self) -> u32 {
        self.start() + BLOCK
    }
}

/// The start of the block on whose stack this runs.
pub(super) fn of_running_stack() -> u32 {
    let stack_pointer: u32;
    // SAFETY: reading ESP has no effect.
    unsafe {
        asm!("mov {}, esp", out(reg) stack_pointer, options(nomem, nostack, preserves_flags))
    };
    stack_pointer & !(BLOCK - 1)
}
