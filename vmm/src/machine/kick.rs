//! Interrupts a running vCPU at a chosen time.
//!
//! A POSIX timer sends a signal to the vCPU's own thread. The handler sets `immediate_exit` in the
//! thread's `kvm_run`, so a signal that arrives just before KVM_RUN is not lost: KVM_RUN then
//! returns at once. A second thread that sends signals was the alternative; it needs a hand-over of
//! its own and can outlive the vCPU.

use super::MachineError;
use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

thread_local! {
    /// `immediate_exit` of the vCPU that runs on this thread, or null.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(std::ptr::null_mut()) };
    /// The alarm has gone off. The exit that it causes may be of a KVM_RUN that only finishes or steps
    /// an instruction, where nobody asks for the reason: this says it once more.
    static RANG: Cell<bool> = const { Cell::new(false) };
}

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // A thread local with a constant initialiser and nothing to drop is plain memory, which a
    // signal handler may read.
    RANG.set(true);
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: `Alarm::new` stored the address of a byte in a `kvm_run` mapping, and `Drop`
        // clears it before that mapping can go; the byte is only ever written as a whole.
        unsafe { flag.write_volatile(1) };
    }
}

/// SIGINT, SIGTERM or SIGHUP has arrived.
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn on_stop(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    STOP.store(true, Ordering::Relaxed);
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: as in `on_signal`.
        unsafe { flag.write_volatile(1) };
    }
}

/// The write that would exceed the limit of a file's size fails, and says so.
extern "C" fn on_file_size(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// From now on SIGINT, SIGTERM and SIGHUP end a run rather than the process, and a file that grows too large is an
/// error like a full disk. A SIGHUP that was ignored when the program began (`nohup`) stays so. To be called on the thread
/// that runs the vCPU, which must be the one that gets the signals.
///
/// # Errors
/// [`MachineError::Alarm`] if the operating system refuses.
pub fn stop_on_signals() -> Result<(), MachineError> {
    let handle = |signal, handler| {
        vmm_sys_util::signal::register_signal_handler(signal, handler).map_err(|source| {
            MachineError::Alarm { action: "set up", source: io::Error::from(source) }
        })
    };
    handle(libc::SIGINT, on_stop)?;
    handle(libc::SIGTERM, on_stop)?;
    if !is_ignored(libc::SIGHUP) {
        handle(libc::SIGHUP, on_stop)?;
    }
    handle(libc::SIGXFSZ, on_file_size)
}

/// Whether this process ignores a signal, as the kernel tells it (proc(5), `SigIgn`).
fn is_ignored(signal: libc::c_int) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 != 0)
}

/// Asks for the end of the run, as SIGINT does, from any thread. A vCPU that runs heeds it at its next
/// exit.
pub fn request_stop() {
    STOP.store(true, Ordering::Relaxed);
}

/// Whether a signal has asked for the end of the run.
pub fn stop_requested() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Whether this thread's alarm has gone off since this was last asked.
pub(super) fn alarm_rang() -> bool {
    RANG.get() && RANG.replace(false)
}

fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

/// A one-shot timer that makes KVM_RUN of this thread's vCPU return.
///
/// It belongs to the thread that made it; one per thread.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: libc::timer_t,
    /// Not to be sent to another thread: the timer signals the one that made it.
    thread: PhantomData<*mut ()>,
}

impl Alarm {
    /// An alarm for the vCPU whose `immediate_exit` byte is at `flag`.
    ///
    /// # Safety
    /// `flag` must stay valid until the alarm is dropped.
    pub(super) unsafe fn new(flag: *mut u8) -> Result<Self, MachineError> {
        let fail = |action| MachineError::Alarm { action, source: io::Error::last_os_error() };
        vmm_sys_util::signal::register_signal_handler(signal(), on_signal).map_err(|source| {
            MachineError::Alarm { action: "set up", source: io::Error::from(source) }
        })?;
        // SAFETY: an all-zero sigevent is a valid one; the fields that matter are set below.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        // SAFETY: gettid has no arguments and cannot fail.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both pointers are to live local variables.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) } != 0 {
            return Err(fail("created"));
        }
        IMMEDIATE_EXIT.set(flag);
        Ok(Alarm { timer, thread: PhantomData })
    }

    /// Lets the alarm go off once, after `delay`; a zero delay is rounded up to one nanosecond.
    /// Replaces what was set before; `None` only switches it off.
    pub(super) fn set(&self, delay: Option<Duration>) -> Result<(), MachineError> {
        let delay = delay.map_or(Duration::ZERO, |delay| delay.max(Duration::from_nanos(1)));
        let when = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: delay.as_secs() as libc::time_t,
                tv_nsec: delay.subsec_nanos().into(),
            },
        };
        // SAFETY: the timer is ours and `when` is a live local variable.
        if unsafe { libc::timer_settime(self.timer, 0, &when, std::ptr::null_mut()) } != 0 {
            return Err(MachineError::Alarm { action: "set", source: io::Error::last_os_error() });
        }
        Ok(())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: the timer is ours and is not used again.
        unsafe { libc::timer_delete(self.timer) };
        IMMEDIATE_EXIT.set(std::ptr::null_mut());
    }
}
