//! What a case costs beside the exit that it needs.

use super::generate::Generator;
use super::lab::{Lab, Verdict};
use crate::host::Backend;
use crate::machine::MachineError;
use std::time::{Duration, Instant};

/// Times of the same cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// How many.
    pub cases: u32,
    /// The guest's memory and state are set, and it runs to its exit.
    pub raw: Duration,
    /// All of it: the case is drawn, the model asked, the guest run, all compared and put back.
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
    for number in 0..cases {
        let start = Instant::now();
        let case = generator.case(number);
        let verdict = lab.judge(&case)?;
        let whole = start.elapsed();
        if matches!(verdict, Verdict::Unfit(_)) {
            continue;
        }
        if let Some(raw) = lab.time_raw(&case)? {
            cost.cases += 1;
            cost.raw += raw;
            cost.whole += whole;
        }
    }
    Ok(cost)
}
