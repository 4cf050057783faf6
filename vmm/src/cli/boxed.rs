//! The sandbox of commands that run guests.

use super::failure::Failure;
use esp0::sandbox::{self, Files, Phase};

/// Whether there is one, and what it keeps files from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boxed(Option<Files>);

impl Boxed {
    /// Gives up files by name, privileges and capabilities, unless the user wants none of it. What is needed of them is
    /// open by then.
    pub(super) fn withdraw(no_sandbox: bool) -> Result<Self, Failure> {
        Ok(Boxed((!no_sandbox).then(sandbox::withdraw).transpose()?))
    }

    /// Leaves the system calls of `phase`.
    pub(super) fn filter(self, phase: Phase) -> Result<(), Failure> {
        if self.0.is_some() {
            sandbox::filter(phase)?;
        }
        Ok(())
    }

    /// What is said of it behind a table or a report.
    pub(super) fn told(self) -> &'static str {
        if self.0.is_some() { "" } else { "sandbox off, as asked for (--no-sandbox)\n" }
    }

    /// The line of a run's summary: that there is none, and to whoever wants to know more what there is.
    pub(super) fn in_summary(self, verbose: bool) -> &'static str {
        match self.0 {
            None => "sandbox      off, as asked for (--no-sandbox)\n",
            Some(Files::FilteredOnly) if verbose => {
                "sandbox      system calls; this kernel has no Landlock\n"
            }
            Some(Files::Withdrawn) if verbose => "sandbox      system calls and files\n",
            Some(_) => "",
        }
    }
}
