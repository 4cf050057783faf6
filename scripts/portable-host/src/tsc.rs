//! How fast this machine's time-stamp counter counts: QEMU's emulated one does so too.
//!
//! Linux measures it at boot, within 10 ms, against a timer that QEMU emulates. Where this machine is busy, that may come out
//! wrong by far; a later measurement that differs by more than 1 % is not believed, and the guest's clock runs too fast until
//! it ends (19 times too fast was seen, and each time-out in it came too early). So the guest is told.

use std::time::{Duration, Instant};

/// How long is measured: 1 µs of doubt at either end is 40 millionths.
const SPAN: Duration = Duration::from_millis(50);
/// A pair of readings between which this process had to wait is worth nothing: the closest of so many is taken.
const PAIRS: u32 = 100;

/// In kHz; none where there is no such counter.
pub(crate) fn khz() -> Option<u64> {
    let (first, began) = reading()?;
    std::thread::sleep(SPAN);
    let (last, ended) = reading()?;
    let nanoseconds = ended.duration_since(began).as_nanos();
    let khz = u128::from(last.checked_sub(first)?) * 1_000_000 / nanoseconds.max(1);
    u64::try_from(khz).ok().filter(|khz| *khz > 0)
}

/// The counter, and the time at which it had that value.
fn reading() -> Option<(u64, Instant)> {
    let pair = || {
        let before = Instant::now();
        let count = counter()?;
        Some((before.elapsed(), count, before))
    };
    let (doubt, count, before) = (0..PAIRS).filter_map(|_| pair()).min_by_key(|pair| pair.0)?;
    Some((count, before + doubt / 2))
}

#[cfg(target_arch = "x86_64")]
fn counter() -> Option<u64> {
    // SAFETY: RDTSC reads a register, which Linux lets every process do.
    Some(unsafe { std::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn two_measurements_agree() {
        let (one, other) = (super::khz().expect("a counter"), super::khz().expect("a counter"));
        assert!(one.abs_diff(other) < one / 1000, "{one} and {other} kHz");
    }
}
