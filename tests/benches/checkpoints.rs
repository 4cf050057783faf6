//! What it costs to take a checkpoint, and to go back to one, with 100 pages written since; in instructions under
//! `scripts/bench`.
//!
//! The guest writes one word in each of 100 pages and makes a system call, again and again (`tests/c/work.c`). The
//! first checkpoint looks at all of memory, and is told by itself.

use esp0::guest::{Guest, GuestError};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const MEMORY_MIB: u64 = 64;
const ROUNDS: u32 = 20;

fn main() -> ExitCode {
    tests::measured("TOUCHES_PAGES", measure)
}

fn measure(kernel: &[u8]) -> Result<bool, GuestError> {
    let mut guest = Guest::from_bytes("work", kernel).memory_mib(MEMORY_MIB).real_time().boot()?;
    let row = |name: &str, time: Duration| {
        println!("{name:<58} {:>10}", time.as_nanos());
    };
    let calls = |entry: &esp0::entry::Entry| entry.vector.0 == 0x80;
    guest.run_until(calls)?;
    let start = Instant::now();
    guest.checkpoint()?;
    row("the first checkpoint of a guest of 64 MiB", start.elapsed());
    let (mut taken, mut restored) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        guest.run_until(calls)?;
        let start = Instant::now();
        let checkpoint = guest.checkpoint()?;
        taken = taken.min(start.elapsed());
        guest.run_until(calls)?;
        let start = Instant::now();
        guest.restore(&checkpoint)?;
        restored = restored.min(start.elapsed());
        guest.run_until(calls)?;
    }
    row("a checkpoint, 100 pages written since the last", taken);
    row("going back to one, 100 pages written since", restored);
    guest.assert_clean();
    Ok(true)
}
