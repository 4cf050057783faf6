//! Kernels that write over their own code, and so over probes, without knowing: no finding, and next to
//! nothing is missed.

use esp0::probe::Choice;
use esp0::run::ClockChoice;
use tests::{Experiment, Seen, compiled};

const QUICK: ClockChoice = ClockChoice::Deterministic { nanoseconds_per_instruction: 10_000 };

/// By patches, which are what can be written over.
fn run(name: &str, real: bool) -> Option<Seen> {
    let kernel = compiled(name)?;
    let experiment = Experiment::with_kernel(kernel).probes(Choice::Patch);
    let seen = if real { experiment.real_time() } else { experiment.clock(QUICK) }.run();
    println!("{name}, {}: {:?}", if real { "real clock" } else { "deterministic" }, seen.census);
    seen.assert_clean();
    Some(seen)
}

fn entries(seen: &Seen, vector: u8) -> usize {
    seen.entries().filter(|entry| entry.vector.0 == vector).count()
}

#[test]
fn a_probe_that_was_written_over_is_made_anew() {
    for name in ["FILLED_IN", "COPIED_LATER", "EXCHANGED"] {
        for real in [false, true] {
            let Some(seen) = run(name, real) else { return };
            // Eight calls from ring 3, and at least two ticks for each. What proves that a handler was
            // exchanged is the first interrupt, or the first return, without an entry.
            let calls = entries(&seen, 0x80);
            assert!(calls >= 7, "{name}: {calls} calls");
            assert!(entries(&seen, 0x20) >= 16, "{name}: {} ticks", entries(&seen, 0x20));
            assert!(seen.census.missed_entries <= 4, "{name}: {:?}", seen.census);
        }
    }
}

#[test]
fn what_a_guest_puts_in_the_place_of_a_handler_stays_as_it_is() {
    for real in [false, true] {
        let Some(seen) = run("GIVEN_AWAY", real) else { return };
        assert_eq!(entries(&seen, 0x80), 9);
    }
}
