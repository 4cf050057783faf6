//! The machine of a run, tested before the guest is in it.

use super::super::failure::{Failure, no_machine};
use super::guest::Guest;
use esp0::doctor;
use esp0::host::Backend;
use esp0::machine::{Machine, StopRequest};
use esp0::probe::DebugRegisters;

/// A machine that has been seen to do what a run rests on.
pub(super) struct Tested {
    pub(super) machine: Machine,
    /// What executes the guest.
    pub(super) backend: Backend,
    /// What hardware breakpoints are good for.
    pub(super) breakpoints: DebugRegisters,
}

impl Tested {
    /// Creates the machine; `None` if the user has ended it meanwhile. Bad input is bad with KVM or without, so where there
    /// is no machine the guest is looked at first.
    pub(super) fn create(guest: &Guest<'_>, stop: &StopRequest) -> Result<Option<Self>, Failure> {
        let mut machine = match Machine::with_model(guest.memory_size(), &guest.options.cpu) {
            Ok(machine) => machine,
            Err(error) => {
                guest.check()?;
                return Err(no_machine(error));
            }
        };
        let quick = doctor::quick(&mut machine);
        if stop.is_requested() {
            return Ok(None);
        }
        if let Err(problem) = &quick.usable {
            guest.check()?;
            return Err(Failure::NoKvm(problem.to_string()));
        }
        let backend = quick.corrected(Backend::detect());
        machine.exit_on_msr();
        Ok(Some(Tested { machine, backend, breakpoints: quick.breakpoints }))
    }
}
