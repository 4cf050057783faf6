//! Runs small guests, to see what this KVM really does in 32-bit protected mode.
//!
//! That /dev/kvm opens proves nothing: there are modules behind it that create a VM, and then
//! cannot execute an IRET. So esp0 looks, twice. [`quick`] is run before each guest, on its machine,
//! and costs two exits. [`examine`] is `esp0 doctor`: it measures each thing that esp0 relies on
//! and each deviation that [`crate::check::DEVIATIONS`] names, and tells where the two disagree.
//!
//! A guest is a few instructions; a [`Trial`] puts it into a lab, runs it to the next stop, and
//! compares memory and registers from outside. What goes wrong (a KVM that gives up, resets the
//! processor, hangs) is a result, never an end.

mod frame;
mod lab;
mod layout;
mod problem;
mod quick;
mod report;
mod start;
mod stop;
mod trial;
mod trials;
mod wrong;

pub use problem::Problem;
pub use quick::{Quick, quick};
pub use report::Report;
pub use trial::{Listing, Need, Outcome, Trial, TrialResult};
pub use wrong::Wrong;

use super::Backend;
use crate::machine::Machine;
use lab::Lab;

/// Runs all trials on machines of its own.
///
/// # Errors
/// [`Problem::NoMachine`] if no virtual machine can be created. Whatever goes wrong later is in the
/// report.
pub fn examine() -> Result<Report, Problem> {
    let backend = Backend::detect();
    let mut machine = Machine::new(layout::RAM).map_err(Problem::no_machine)?;
    let mut results = Vec::new();
    for trial in trials::all() {
        let (result, reusable) = run(trial, &mut machine);
        results.push(TrialResult::new(trial, result, &backend));
        if !reusable && let Ok(new) = Machine::new(layout::RAM) {
            machine = new;
        }
    }
    Ok(Report::new(backend, results))
}

/// What the trial came to, and whether the machine can be used again.
fn run(trial: &Trial, machine: &mut Machine) -> (Result<(), Wrong>, bool) {
    match Lab::new(machine) {
        Ok(mut lab) => {
            let result = (trial.run)(&mut lab);
            (result, lab.close())
        }
        Err(wrong) => (Err(wrong), false),
    }
}
