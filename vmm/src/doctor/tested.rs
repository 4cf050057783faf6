//! A machine for a run, tested.

use super::problem::Problem;
use super::quick::quick;
use crate::host::Backend;
use crate::machine::{Machine, Model};
use crate::probe::DebugRegisters;

/// A machine that has been seen to do what a run rests on. Its memory is zero, and its vCPU as KVM made it.
#[derive(Debug)]
pub struct TestedMachine {
    /// The machine. Accesses to MSRs that KVM does not know leave the VM.
    pub machine: Machine,
    /// What executes the guest.
    pub backend: Backend,
    /// What hardware breakpoints are good for.
    pub breakpoints: DebugRegisters,
}

impl TestedMachine {
    /// Creates a machine with `memory_size` bytes of RAM (a multiple of 4096), and tests it.
    ///
    /// # Errors
    /// [`Problem`] if there is no machine, or it does not run 32-bit kernels.
    pub fn new(memory_size: u64) -> Result<Self, Problem> {
        Self::with_model(memory_size, &Model::default())
    }

    /// The same, its vCPU being of this model.
    ///
    /// # Errors
    /// As [`TestedMachine::new`].
    pub fn with_model(memory_size: u64, model: &Model) -> Result<Self, Problem> {
        let mut machine = Machine::with_model(memory_size, model).map_err(Problem::no_machine)?;
        let quick = quick(&mut machine);
        let backend = quick.corrected(Backend::detect());
        quick.usable?;
        machine.exit_on_msr().map_err(Problem::no_machine)?;
        Ok(TestedMachine { machine, backend, breakpoints: quick.breakpoints })
    }
}
