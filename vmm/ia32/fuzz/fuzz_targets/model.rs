//! Any bytes, as a state, memory and an operation: there is always an outcome, and what must hold for
//! every outcome holds. The first byte chooses how the others are read.
#![no_main]

#[path = "../../tests/model/case.rs"]
mod case;
#[path = "../../tests/model/invariants.rs"]
mod invariants;
#[path = "../../tests/model/lab.rs"]
#[allow(dead_code)] // The lab serves the tests as well.
mod lab;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let (lab, operation) = if how & 1 == 0 { case::changed(rest) } else { case::arbitrary(rest) };
    invariants::check(&lab, operation);
});
