//! What instructions cost beside each other.
//!
//! Four chains in which each operation waits for the one before, and the shortest of many times for each, taken in
//! turn. Only their ratio counts, so neither the clock's rate nor the processor's matters, nor what else the machine
//! does. Measured with this code, as integer : addition : division:
//!
//! | on | addition | division |
//! | --- | --- | --- |
//! | a processor (AMD EPYC) | 3.0 | 13 |
//! | QEMU 10.0, TCG | 30 to 65 | 28 |
//! | QEMU 10.0, counting instructions | 1.0 | 1.9 |
//! | Bochs 2.7, whose clock counts instructions | 1.4 | 1.4 |
//!
//! An emulator that interprets, and gives its guest a clock of instructions, has 1 to 2 for both. To have a processor's
//! costs, software would have to model a pipeline, or to translate floating point to floating point without
//! a look at its exceptions and rounding.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Times that of an integer operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// Of a floating-point addition.
    pub(super) addition: f64,
    /// Of a floating-point division.
    pub(super) division: f64,
}

/// Rounds of a chain: some microseconds.
const ROUNDS: u32 = 1_000;
/// Operations in a round. Less than 4, and the loop's own would count.
const IN_A_ROUND: u32 = 4;
/// How often each is timed. A time slice that somebody else took is in some of them only.
const TURNS: u32 = 40;

/// Measures it: one or two milliseconds.
pub(super) fn measure() -> Pace {
    let mut shortest = [Duration::MAX; 3];
    for _ in 0..TURNS {
        let chains: [fn(); 3] = [
            || _ = black_box(integers(black_box(1), black_box(77))),
            || _ = black_box(additions(black_box(1.0), black_box(1.5))),
            || _ = black_box(divisions(black_box(1.3), black_box(1.7))),
        ];
        for (chain, shortest) in chains.iter().zip(&mut shortest) {
            let begun = Instant::now();
            chain();
            *shortest = (*shortest).min(begun.elapsed());
        }
    }
    let [integer, addition, division] = shortest.map(|time| time.as_secs_f64());
    // A clock that stands still measures nothing.
    Pace { addition: addition / integer, division: division / integer }
}

/// An exclusive OR and a rotation count as two.
#[inline(never)]
fn integers(mut x: u64, k: u64) -> u64 {
    for _ in 0..ROUNDS {
        for _ in 0..IN_A_ROUND / 2 {
            x = (x ^ k).rotate_left(5);
        }
    }
    x
}

#[inline(never)]
fn additions(mut x: f64, k: f64) -> f64 {
    for _ in 0..ROUNDS {
        for _ in 0..IN_A_ROUND {
            x += k;
        }
    }
    x
}

#[inline(never)]
fn divisions(mut x: f64, k: f64) -> f64 {
    for _ in 0..ROUNDS {
        for _ in 0..IN_A_ROUND {
            x = k / x;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_measured() {
        let Pace { addition, division } = measure();
        println!("addition {addition:.2}, division {division:.2}");
        assert!(addition.is_finite() && division.is_finite());
    }
}
