//! What it costs to go back by one instruction at the end of a run of many events, beside what an event costs.
//!
//! The guest makes a system call, again and again (`tests/c/work.c`). The first step goes over the events since the last
//! checkpoint once more; those after it find places that were kept on the way.

use esp0::guest::{Guest, GuestError};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const EVENTS: u32 = 20_000;
const STEPS: u32 = 40;
/// What a step may cost beside an event that is gone forwards.
const MOST_FIRST: u32 = 400;
const MOST_NEXT: u32 = 40;

fn main() -> ExitCode {
    tests::measured("CALLS", measure)
}

fn measure(kernel: &[u8]) -> Result<bool, GuestError> {
    let guest = Guest::from_bytes("calls", kernel).memory_mib(64).timeout(Duration::from_secs(600));
    let mut guest = guest.reversible().boot()?;
    let row = |name: &str, time: Duration| println!("{name:<58} {:>10}", time.as_nanos());
    let start = Instant::now();
    for _ in 0..EVENTS {
        guest.run_until(|_| true)?;
    }
    let event = start.elapsed() / EVENTS;
    row("an entry of a guest that can be gone back with", event);
    let start = Instant::now();
    guest.step_back()?;
    let first = start.elapsed();
    row("the first step back behind 20000 entries", first);
    let start = Instant::now();
    for _ in 0..STEPS {
        guest.step_back()?;
    }
    let next = start.elapsed() / STEPS;
    row("a step back after that", next);
    let limits = [("the first step", first, MOST_FIRST), ("a step", next, MOST_NEXT)];
    let missed = limits.iter().filter(|(_, time, most)| *time > event * *most);
    let mut kept = true;
    for (name, time, most) in missed {
        println!("{name} back costs more than {most} entries: {time:?}, and an entry {event:?}");
        kept = false;
    }
    Ok(kept)
}
