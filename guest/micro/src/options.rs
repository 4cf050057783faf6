//! What the command line and the processor allow.

use arch::OneCpu;
use arch::multiboot::Info;
use core::cell::Cell;

struct Options {
    recursion: Cell<bool>,
    sysenter: Cell<bool>,
}

// SAFETY: set once, before the first task runs.
static OPTIONS: OneCpu<Options> =
    unsafe { OneCpu::new(Options { recursion: Cell::new(false), sysenter: Cell::new(false) }) };

/// Reads the command line, and takes what the processor has.
pub(crate) fn start(info: Info) {
    OPTIONS.recursion.set(info.option("allow") == Some("recurse"));
    OPTIONS.sysenter.set(crate::sysenter::start());
}

/// Whether a program may make the kernel overflow its stack.
pub(crate) fn allows_recursion() -> bool {
    OPTIONS.recursion.get()
}

/// Whether the processor has SYSENTER.
pub(crate) fn has_sysenter() -> bool {
    OPTIONS.sysenter.get()
}
