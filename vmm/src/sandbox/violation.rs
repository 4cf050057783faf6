//! A system call that is not on the list: a sentence, and the end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where `siginfo_t` has the number of the call (Linux, include/uapi/asm-generic/siginfo.h, `_sigsys`): behind three
/// words with their padding and the address of the instruction.
const CALL: usize = 24;
/// Usage, bad input, or output that could not be written: nothing was judged.
const STATUS: libc::c_int = 2;

extern "C" fn on_violation(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: for SIGSYS the kernel fills the field, which lies within the `siginfo_t` that it hands over.
    let call = unsafe { info.cast::<u8>().add(CALL).cast::<i32>().read_unaligned() };
    let mut sentence = *b"esp0: the sandbox refused system call ....., which no run needs: this is a bug of esp0's, \
                          or a guest that broke out; no verdict\n";
    let mut left = call.unsigned_abs();
    let Some(gap) = sentence.iter().position(|byte| *byte == b'.') else { return };
    for place in sentence[gap..gap + 5].iter_mut().rev() {
        *place = if left == 0 && *place == b'.' { b' ' } else { b'0' + (left % 10) as u8 };
        left /= 10;
    }
    // Nothing but bare system calls: the thread may hold any lock.
    let _ = rustix::io::write(rustix::stdio::stderr(), &sentence);
    // SAFETY: it ends the process and runs nothing of it any more.
    unsafe { libc::_exit(STATUS) }
}

/// From now on a call that a filter refuses is told before the process ends. What the handler of a signal is can only
/// be changed before the first filter, so later calls change nothing.
pub(super) fn tell_of_violations() -> io::Result<()> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if TOLD.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    vmm_sys_util::signal::register_signal_handler(libc::SIGSYS, on_violation)
        .map_err(io::Error::from)
}
