//! Runs small guests, to see what this KVM really does in 32-bit protected mode.
//!
//! That /dev/kvm opens proves nothing: there are modules behind it that create a VM, and then
//! cannot execute an IRET. So esp0 looks, twice. A [`TestedMachine`] has shown it before a guest
//! is in it, by two exits. [`examine`] is `esp0 doctor`: it measures each thing that esp0 relies on
//! and each deviation that [`crate::host::DEVIATIONS`] names, and tells where the two disagree.
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
mod tested;
mod trial;
mod trials;
mod wrong;

pub use problem::Problem;
pub use report::DoctorReport;
pub use tested::TestedMachine;
pub use trial::{Listing, Need, Trial, TrialOutcome, TrialResult};
pub use wrong::Wrong;

use crate::host::Backend;
use crate::machine::Machine;
use lab::Lab;
use trial::TrialCode;

/// Runs all trials on machines of its own.
///
/// # Errors
/// [`Problem::NoMachine`] if no virtual machine can be created. Whatever goes wrong later is in the
/// report.
pub fn examine() -> Result<DoctorReport, Problem> {
    let backend = Backend::detect();
    let mut machine = Machine::new(layout::RAM).map_err(Problem::no_machine)?;
    let mut results = Vec::new();
    let mut reusable = run(trials::warm_up, &mut machine).1;
    for trial in trials::warm() {
        if !reusable && let Ok(new) = Machine::new(layout::RAM) {
            machine = new;
            let _ = run(trials::warm_up, &mut machine);
        }
        let result;
        (result, reusable) = run(trial.run, &mut machine);
        results.push(TrialResult::new(trial, result, &backend));
    }
    drop(machine);
    for trial in trials::cold() {
        let result = match Machine::new(layout::RAM) {
            Ok(mut machine) => run(trial.run, &mut machine).0,
            Err(error) => Err(error.into()),
        };
        results.push(TrialResult::new(trial, result, &backend));
    }
    Ok(DoctorReport::new(backend, results))
}

/// What a guest came to, and whether the machine can be used again.
fn run(guest: TrialCode, machine: &mut Machine) -> (Result<(), Wrong>, bool) {
    match Lab::new(machine) {
        Ok(mut lab) => {
            let result = guest(&mut lab);
            (result, lab.close())
        }
        Err(wrong) => (Err(wrong), false),
    }
}
