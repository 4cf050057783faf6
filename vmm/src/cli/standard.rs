//! Whether the program was given a standard output at all.
//!
//! Rust's runtime opens /dev/null where one of the three standard files is closed, and takes a write that the
//! file refuses for a success if it was not opened for writing. Both would throw findings away without a word. So
//! the file is looked at before the runtime is there.

use std::sync::atomic::{AtomicBool, Ordering};

static UNWRITABLE: AtomicBool = AtomicBool::new(false);

/// Runs before `main`, as the C library runs each entry of this section.
// SAFETY: the section holds pointers to functions that take no argument that they need and return nothing; this is one,
// and it uses nothing of Rust's runtime.
#[unsafe(link_section = ".init_array")]
#[used]
static LOOK: extern "C" fn() = {
    extern "C" fn look() {
        // SAFETY: it reads the flags of a file and writes nothing.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFL) };
        let closed = flags == -1 || flags & libc::O_ACCMODE == libc::O_RDONLY;
        UNWRITABLE.store(closed, Ordering::Relaxed);
    }
    look
};

/// Standard output was closed, or only for reading, when the program was started.
pub(super) fn output_is_unwritable() -> bool {
    UNWRITABLE.load(Ordering::Relaxed)
}
