//! Why the program could not do what it was asked to, in one sentence.

use esp0::boot::BootError;
use esp0::doctor::Problem;
use esp0::machine::MachineError;
use esp0::sandbox::SandboxError;
use esp0::trace::visible_text;
use std::io::{self, Write};
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
    /// The operating system has too little of something just now.
    #[error(
        "no virtual machine can be made now: {0}: end something, or raise its limits (ulimit -a)"
    )]
    Shortage(String),
    /// The guest was not to be run without a sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Standard output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::NoMachine { error, .. } if error.is_shortage() => {
                Failure::Shortage(error.to_string())
            }
            problem => Failure::NoKvm(problem.to_string()),
        }
    }
}

impl From<esp0::gdb::GdbError> for Failure {
    fn from(error: esp0::gdb::GdbError) -> Self {
        match error {
            esp0::gdb::GdbError::Machine(error) => Failure::Machine(error),
            error @ esp0::gdb::GdbError::Socket(_) => Failure::Input(error.to_string()),
        }
    }
}

impl Failure {
    /// The exit status: 2 for bad input, 3 where no KVM does the job.
    pub(super) fn status(&self) -> u8 {
        match self {
            Failure::Machine(error) if error.is_shortage() => super::UNWRITTEN,
            // A recording that is none of this guest.
            Failure::Machine(MachineError::Diverged(_)) => super::UNWRITTEN,
            Failure::Input(_)
            | Failure::Boot(_)
            | Failure::Output(_)
            | Failure::Sandbox(_)
            | Failure::Shortage(_) => super::UNWRITTEN,
            Failure::NoKvm(_) | Failure::Machine(_) => super::NO_KVM,
        }
    }
}

/// Says a sentence on standard error. Names of files and what stands in them are in it: it stays one line, and
/// nothing in it moves a cursor. There is nobody to tell that it could not be said.
pub(super) fn tell(sentence: &str) {
    let _ = writeln!(io::stderr(), "esp0: {}", visible_text(sentence));
}

/// The status of a command that could not write all that it found: the status of findings wins over that of a lost
/// output, and nothing that was lost is called right.
pub(super) fn with_output(status: u8, written: io::Result<()>) -> u8 {
    match written {
        Ok(()) => status,
        Err(error) => {
            let failure = Failure::Output(error);
            tell(&failure.to_string());
            if status == super::OK { failure.status() } else { status }
        }
    }
}
