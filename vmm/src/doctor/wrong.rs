//! What was expected, and what came instead.

use super::stop::Stop;
use crate::machine::MachineError;
use iced_x86::IcedError;
use std::fmt;

/// What was expected, and what came instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What the manual says, or what esp0 needs.
    pub expected: String,
    /// What came.
    pub got: String,
    /// It is about what the trial is to measure, not about what had to go before.
    measured: bool,
}

impl Wrong {
    pub(super) fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Wrong { expected: expected.into(), got: got.into(), measured: false }
    }

    /// What the trial is to measure is wrong, not what had to go before.
    #[must_use]
    pub(super) fn measured(self) -> Wrong {
        Wrong { measured: true, ..self }
    }

    pub(super) fn is_measured(&self) -> bool {
        self.measured
    }

    /// Two words, named by `what`, have to be the same.
    pub(super) fn unless_equal(what: &str, expected: u32, got: u32) -> Result<(), Wrong> {
        if expected == got {
            return Ok(());
        }
        Err(Wrong::new(format!("{what} {expected:08x}"), format!("{got:08x}")))
    }

    /// Something has to be so.
    pub(super) fn unless(
        so: bool,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Result<(), Wrong> {
        if so { Ok(()) } else { Err(Wrong::new(expected, got)) }
    }

    /// A stop that does not fit.
    pub(super) fn stop(expected: impl Into<String>, got: &Stop) -> Wrong {
        Wrong::new(expected, got.to_string())
    }
}

/// `expected …, got …`.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, got {}", self.expected, self.got)
    }
}

impl From<MachineError> for Wrong {
    fn from(error: MachineError) -> Self {
        Wrong::new("KVM to do as asked", error.to_string())
    }
}

impl From<IcedError> for Wrong {
    fn from(error: IcedError) -> Self {
        Wrong::new("a guest that can be assembled", error.to_string())
    }
}
