//! Ends a run when somebody asks: another part of the program, or a signal to the process.
//!
//! A signal stops the vCPU that its thread is about to run, by `immediate_exit` in that vCPU's `kvm_run`, so
//! one that arrives just before KVM_RUN is not lost.

use super::MachineError;
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

thread_local! {
    /// `immediate_exit` of the vCPU that this thread is about to run, or null.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(std::ptr::null_mut()) };
}

/// Asks a run to end, from any thread or from a signal. A vCPU that runs on another thread heeds it at its
/// next exit. A copy asks the same run.
#[derive(Clone, Debug, Default)]
pub struct StopRequest(Arc<AtomicBool>);

/// The request that SIGINT, SIGTERM and SIGHUP make; leaked, for a handler may run at any time.
static SIGNALLED: AtomicPtr<AtomicBool> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn on_stop(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: what is stored there is leaked.
    if let Some(requested) = unsafe { SIGNALLED.load(Ordering::Acquire).as_ref() } {
        requested.store(true, Ordering::Relaxed);
    }
    // A thread local with a constant initialiser and nothing to drop is plain memory, which a
    // signal handler may read.
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: `attend` stored the address of a byte in a `kvm_run` mapping, and `forget` clears it before
        // that mapping goes.
        unsafe { flag.write_volatile(1) };
    }
}

/// The write that would exceed the limit of a file's size fails, and says so.
extern "C" fn on_file_size(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

impl StopRequest {
    /// Asks for the end.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end has been asked for.
    #[inline]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// From now on SIGINT, SIGTERM and SIGHUP make this request rather than end the process, in place of one that
    /// they made before, and a file that grows too large is an error like a full disk. A SIGHUP that was ignored
    /// when the program began (`nohup`) stays so. To be called on the thread that runs the vCPU, which must be
    /// the one that gets the signals.
    ///
    /// # Errors
    /// [`MachineError::Alarm`] if the operating system refuses.
    pub fn on_signals(&self) -> Result<(), MachineError> {
        let handle = |signal, handler| {
            vmm_sys_util::signal::register_signal_handler(signal, handler).map_err(|source| {
                MachineError::Alarm { action: "set up", source: io::Error::from(source) }
            })
        };
        SIGNALLED.store(Arc::into_raw(Arc::clone(&self.0)).cast_mut(), Ordering::Release);
        handle(libc::SIGINT, on_stop)?;
        handle(libc::SIGTERM, on_stop)?;
        if !is_ignored(libc::SIGHUP) {
            handle(libc::SIGHUP, on_stop)?;
        }
        handle(libc::SIGXFSZ, on_file_size)
    }
}

/// SIGINT, SIGTERM or SIGHUP has asked for the end.
pub(super) fn is_signalled() -> bool {
    // SAFETY: what is stored there is leaked.
    let request = unsafe { SIGNALLED.load(Ordering::Acquire).as_ref() };
    request.is_some_and(|request| request.load(Ordering::Relaxed))
}

/// Whether this process ignores a signal, as the kernel tells it (proc(5), `SigIgn`).
fn is_ignored(signal: libc::c_int) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 != 0)
}

/// A signal that stops runs stops the vCPU whose `immediate_exit` byte is at `flag`, if this thread gets it.
#[inline]
pub(super) fn attend(flag: *mut u8) {
    IMMEDIATE_EXIT.set(flag);
}

/// The byte at `flag` is going away.
pub(super) fn forget(flag: *mut u8) {
    if IMMEDIATE_EXIT.get() == flag {
        IMMEDIATE_EXIT.set(std::ptr::null_mut());
    }
}
