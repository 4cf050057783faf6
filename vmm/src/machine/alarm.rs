//! Interrupts a running vCPU at a chosen time.
//!
//! A POSIX timer sends a signal to the vCPU's own thread. The signal carries the address of the [`Bell`] that
//! it rings, so each vCPU has an alarm of its own, wherever others run. The handler sets `immediate_exit` in
//! that vCPU's `kvm_run`, so a signal that arrives just before KVM_RUN is not lost: KVM_RUN then
//! returns at once. A second thread that sends signals was the alternative; it needs a hand-over of
//! its own and can outlive the vCPU.

use super::MachineError;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What an alarm rings.
#[derive(Debug)]
struct Bell {
    /// `immediate_exit` of its vCPU.
    immediate_exit: *mut u8,
    /// It has rung. The exit that this causes may be of a KVM_RUN that only finishes or steps an
    /// instruction, where nobody asks for the reason: this says it once more.
    rang: AtomicBool,
}

extern "C" fn on_alarm(_: libc::c_int, information: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the handler was set with SA_SIGINFO, so the pointer is to the signal's information. Only a timer of
    // `Alarm::new` sends this signal; it carries the address of a bell that lives until the timer is deleted,
    // which happens on the thread that the signal is for: none can be under way after that.
    let bell = unsafe {
        if (*information).si_code != libc::SI_TIMER {
            return;
        }
        &*(*information).si_value().sival_ptr.cast::<Bell>()
    };
    bell.rang.store(true, Ordering::Relaxed);
    // SAFETY: the byte lies in the `kvm_run` mapping of the vCPU that the bell belongs to, which lives as long
    // as its alarm does; the byte is only ever written as a whole.
    unsafe { bell.immediate_exit.write_volatile(1) };
}

/// The signal of all alarms.
pub(crate) fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

/// A one-shot timer that makes KVM_RUN of one vCPU return.
///
/// It belongs to the thread that made it, which must be the one that runs the vCPU.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: libc::timer_t,
    bell: Box<Bell>,
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
        vmm_sys_util::signal::register_signal_handler(signal(), on_alarm).map_err(|source| {
            MachineError::Alarm { action: "set up", source: io::Error::from(source) }
        })?;
        let bell = Box::new(Bell { immediate_exit: flag, rang: AtomicBool::new(false) });
        // SAFETY: an all-zero sigevent is a valid one; the fields that matter are set below.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        event.sigev_value.sival_ptr = (&raw const *bell).cast_mut().cast();
        // SAFETY: gettid has no arguments and cannot fail.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both pointers are to live local variables.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) } != 0 {
            return Err(fail("created"));
        }
        Ok(Alarm { timer, bell, thread: PhantomData })
    }

    /// Whether it has gone off since this was last asked.
    #[inline]
    pub(super) fn rang(&self) -> bool {
        self.bell.rang.load(Ordering::Relaxed) && self.bell.rang.swap(false, Ordering::Relaxed)
    }

    /// Whether it has gone off, and nobody has asked since.
    pub(super) fn has_rung(&self) -> bool {
        self.bell.rang.load(Ordering::Relaxed)
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
        // SAFETY: the timer is ours and is not used again. A signal of it that is pending is delivered to this
        // thread before the call returns, while the bell is there.
        unsafe { libc::timer_delete(self.timer) };
    }
}
