//! Where the kernel can be pre-empted.
//!
//! Every gate closes interrupts, and most of what the kernel does is short: it looks something up,
//! changes a few words, and goes. While it does, nothing can come between, and shared state needs no
//! locks. What is *long*, because a program says how much of it there is, runs with interrupts open:
//!
//! | path | where |
//! | --- | --- |
//! | copying the text of a `write` | [`open`] around each copy |
//! | a page fault inside such a copy | [`open`] while the new page is filled |
//! | fork, exec, reading a module, tearing an address space down | [`point`] after each page or page table |
//!
//! An interrupt there may switch to another task, with this one left half-way through its system
//! call on its own kernel stack. So whoever opens interrupts holds no borrow of shared state, and
//! afterwards looks again at whatever may have changed.

use arch::{OneCpu, cpu};
use core::cell::Cell;

/// Whether there are tasks to switch to: not while the boot modules are loaded.
// SAFETY: set once, before the first task runs.
static MAY_OPEN: OneCpu<Cell<bool>> = unsafe { OneCpu::new(Cell::new(false)) };

/// From now on the kernel can be pre-empted, on its long paths.
pub(crate) fn start() {
    MAY_OPEN.set(true);
}

/// Does something with interrupts open, and closes them again.
pub(crate) fn open<T>(what: impl FnOnce() -> T) -> T {
    if !MAY_OPEN.get() {
        return what();
    }
    // SAFETY: the table is loaded before the first system call, and callers hold no borrows.
    unsafe { cpu::open_interrupts() };
    let result = what();
    cpu::close_interrupts();
    result
}

/// Lets an interrupt in if one waits.
pub(crate) fn point() {
    if MAY_OPEN.get() {
        // SAFETY: as in `open`.
        unsafe { cpu::let_interrupts_in() };
    }
}
