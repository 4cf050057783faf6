//! The sandbox of commands that run guests of esp0's own.

use super::failure::Failure;
use esp0::sandbox::{self, Phase};

/// Whether there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boxed(bool);

impl Boxed {
    /// Gives up files by name, privileges and capabilities, unless the user wants none of it. What is needed of them is
    /// open by then.
    pub(super) fn withdraw(no_sandbox: bool) -> Result<Self, Failure> {
        if !no_sandbox {
            sandbox::withdraw()?;
        }
        Ok(Boxed(!no_sandbox))
    }

    /// Leaves the system calls of `phase`.
    pub(super) fn filter(self, phase: Phase) -> Result<(), Failure> {
        if self.0 {
            sandbox::filter(phase)?;
        }
        Ok(())
    }

    /// What the summary says of it.
    pub(super) fn told(self) -> &'static str {
        if self.0 { "" } else { "sandbox off, as asked for (--no-sandbox)\n" }
    }
}
