//! What a case costs beside the exit that it needs.

use super::campaign::{BATCH, judge_batch};
use super::case::Case;
use super::generate::Generator;
use super::lab::Lab;
use crate::host::Backend;
use crate::machine::MachineError;
use std::time::{Duration, Instant};

/// Times of the same cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// How many cases were compared.
    pub cases: u32,
    /// The guest's memory and state are set, and it runs to its exit.
    pub raw: Duration,
    /// All of it, as in a run: cases are drawn, those that cannot be run as well; the model is asked,
    /// the guest run, all compared and put back.
    pub whole: Duration,
}

/// Times the first `cases` of a seed, each both ways.
///
/// # Errors
/// [`MachineError`] if KVM refuses something.
pub fn cost(backend: &Backend, seed: u64, cases: u64) -> Result<Cost, MachineError> {
    let mut lab = Lab::on(backend)?;
    let generator = Generator::new(seed);
    let mut cost = Cost::default();
    // Once before, so that all pages of the program are there.
    for timed in [false, true] {
        let mut numbers = 0..cases;
        while !numbers.is_empty() {
            let start = Instant::now();
            let batch: Vec<(u64, Case)> = numbers
                .by_ref()
                .take(BATCH)
                .map(|number| (number, generator.case(number)))
                .collect();
            judge_batch(&mut lab, &batch)?;
            let whole = start.elapsed();
            let raw = batch.iter().map(|(_, case)| lab.time_raw(case));
            let raw: Vec<Duration> =
                raw.filter_map(Result::transpose).collect::<Result<_, MachineError>>()?;
            if timed {
                cost.cases += raw.len() as u32;
                cost.raw += raw.iter().sum::<Duration>();
                cost.whole += whole;
            }
        }
    }
    Ok(cost)
}
