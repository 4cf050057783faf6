//! How long a thread has had a processor.

use std::time::Duration;

/// The time that this thread has had a processor, its guest's included; what others did meanwhile is no part of it.
pub(crate) fn time_on_processor() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live local variable. Linux has this clock, and without it the time stays 0.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
