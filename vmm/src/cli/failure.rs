//! Why the program could not do what it was asked to, in one sentence.

use esp0::boot::BootError;
use esp0::machine::MachineError;
use std::io;
use thiserror::Error;

/// Anything that ends the program before the guest has.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The user gave something that cannot be used.
    #[error("{0}")]
    Input(String),
    /// The kernel or a module cannot be booted.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// There is no usable KVM.
    #[error("{0}")]
    NoKvm(String),
    /// KVM refused something while the guest ran.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Standard output or the trace cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit status: 2 for bad input, 3 where no KVM does the job.
    pub(super) fn status(&self) -> u8 {
        match self {
            Failure::Input(_) | Failure::Boot(_) | Failure::Output(_) => 2,
            Failure::NoKvm(_) | Failure::Machine(_) => 3,
        }
    }

    /// Whoever read the output has enough.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
