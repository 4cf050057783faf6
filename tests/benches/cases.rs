//! What a case of `esp0 conform` costs, in instructions, beside the exit that it needs.
//!
//! `scripts/bench` runs it where the clock counts instructions, one a nanosecond. Each case is timed both
//! ways. Drawing cases that cannot be run belongs to the cost of those that can.

use esp0::conform::{Cost, cost};
use esp0::host::Backend;
use std::process::ExitCode;

const SEED: u64 = 1;
const CASES: u64 = 2000;
/// What a case should cost, in raw exits. It is not met: what is left is the model itself, most of all
/// task switches, and the drawing of cases.
const GOAL: f64 = 2.0;
/// It must not become worse than it is.
const LIMIT: f64 = 3.0;

fn main() -> ExitCode {
    let Cost { cases, raw, whole } = cost(&Backend::detect(), SEED, CASES).expect("KVM");
    let each = |time: std::time::Duration| time.as_nanos() as f64 / f64::from(cases);
    let (raw, whole) = (each(raw), each(whole));
    let ratio = whole / raw;
    let kept = ratio <= LIMIT;
    println!("{:<58} {raw:>8.0}", "a case's raw exit, its memory and state set");
    let verdict = if kept { "kept" } else { "MISSED" };
    let name = "a case, drawn, judged and undone";
    println!("{name:<58} {whole:>8.0} {ratio:>7.2}  {LIMIT:>5.2}  {verdict}");
    let goal = if ratio <= GOAL { "met" } else { "not met" };
    println!("{:<75} {GOAL:>5.2}  {goal}", "    the goal");
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
