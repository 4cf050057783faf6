//! Task blocks.
//!
//! A block is 16 KiB, aligned to its size, and holds all of a task that the kernel needs to find
//! by the stack pointer alone:
//! ```text
//! ESP0 = start + 0x4000 ─►  ┌──────────────────┐
//!                           │ kernel stack     │ 8 KiB, grows down
//!                           │ ┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈ │ ◄─ high-water mark
//!                           │ paint            │ as it was made
//!                           │ mark             │ one word: the end of the stack
//!        start + 0x2000     ├──────────────────┤
//!                           │ guard, unmapped  │ 4 KiB: an overflow ends here
//!        start + 0x1000     ├──────────────────┤
//!                           │ record           │ 4 KiB
//!        start              └──────────────────┘ = ESP & !0x3FFF
//! ```
//! The record lies below the guard, so a stack that overflows never reaches it. A push that hits the
//! guard is a page fault that cannot be delivered, for want of a stack: a double fault, which has
//! a stack of its own ([`crate::trap::double_fault`]).

use crate::memory::frames::Frame;
use crate::memory::kernel;
use abi::layout::{BLOCK, BLOCKS, KERNEL_STACK, PAGE};
use arch::control;
use arch::page::{Entry, Flags, LARGE_PAGE};
use core::arch::asm;
use core::ops::Range;

/// How many blocks there can be: what one page table maps.
pub(super) const MAX: u32 = LARGE_PAGE / BLOCK;

/// What a stack is filled with before it is used.
const PAINT: u32 = 0x5AC3_5AC3;

/// The last word of a stack, which nothing ever changes.
const MARK: u32 = 0x57AC_E0FF;

/// The pages of a block that are mapped, by their offset.
const PAGES: [u32; 3] = [0, BLOCK - KERNEL_STACK, BLOCK - PAGE];
const _: () = assert!(KERNEL_STACK == 2 * PAGE && BLOCK == KERNEL_STACK + 2 * PAGE);

/// A block that is mapped.
pub(super) struct Block {
    start: u32,
}

impl Block {
    /// Maps the pages of a block; `None` if memory is used up.
    pub(super) fn create(number: u32) -> Option<Self> {
        assert!(number < MAX);
        let frames = [Frame::allocate()?, Frame::allocate()?, Frame::allocate()?];
        let block = Self { start: BLOCKS + number * BLOCK };
        for (page, frame) in PAGES.into_iter().zip(frames) {
            block.map(page, frame);
        }
        block.paint();
        Some(block)
    }

    /// Unmaps it and gives its memory back.
    pub(super) fn remove(self) {
        PAGES.into_iter().for_each(|page| self.unmap(page));
    }

    fn map(&self, page: u32, frame: Frame) {
        let entry = Entry::new(frame.into_address(), Flags::PRESENT | Flags::WRITABLE);
        kernel::block_page(self.start() + page).set(entry);
    }

    fn unmap(&self, page: u32) {
        let address = self.start() + page;
        let entry = kernel::block_page(address).replace(Entry::EMPTY);
        control::invalidate_page(address);
        // SAFETY: `map` gave the frame up to this entry, which is no more.
        drop(unsafe { Frame::from_address(entry.address()) });
    }

    /// Its first address.
    pub(super) fn start(&self) -> u32 {
        self.start
    }

    /// The addresses of its stack.
    pub(super) fn stack(&self) -> Range<u32> {
        self.stack_top() - KERNEL_STACK..self.stack_top()
    }

    /// The address just above its stack.
    pub(super) fn stack_top(&self) -> u32 {
        self.start() + BLOCK
    }

    fn paint(&self) {
        self.stack().step_by(4).for_each(|word| {
            // SAFETY: the new block's stack, which nobody uses yet.
            unsafe { (word as *mut u32).write(PAINT) };
        });
        // SAFETY: as above.
        unsafe { (self.stack().start as *mut u32).write(MARK) };
    }

    /// Whether the end of the stack is as it was made.
    pub(super) fn is_marked(&self) -> bool {
        // SAFETY: a word of the stack, which is mapped as long as the block is.
        unsafe { (self.stack().start as *const u32).read_volatile() == MARK }
    }

    /// How many bytes of the stack have ever been used: all but the paint that is left.
    pub(super) fn stack_used(&self) -> u32 {
        // SAFETY: as in `is_marked`.
        let painted = |word: &u32| unsafe { (*word as *const u32).read_volatile() } == PAINT;
        let first = self.stack().skip(4).step_by(4).find(|word| !painted(word));
        first.map_or(0, |first| self.stack_top() - first)
    }
}

/// The start of the block that a kernel stack pointer belongs to.
pub(crate) fn of_stack(stack_pointer: u32) -> u32 {
    stack_pointer & !(BLOCK - 1)
}

/// The start of the block on whose stack this runs.
pub(super) fn of_running_stack() -> u32 {
    let stack_pointer: u32;
    // SAFETY: reading ESP has no effect.
    unsafe {
        asm!("mov {}, esp", out(reg) stack_pointer, options(nomem, nostack, preserves_flags))
    };
    of_stack(stack_pointer)
}
