//! What was found beside what was expected.

use super::world::Expectation;
use crate::host::{processor, reported};
use crate::machine::Exit;
use ia32::{AttemptEnd, Difference, Owner, State};
use std::fmt;

/// A byte of memory that is not as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteDifference {
    /// Physical address.
    pub address: u32,
    /// Before the event.
    pub before: u8,
    /// What the model says.
    pub expected: u8,
    /// What was found.
    pub got: u8,
    /// Bits that may differ.
    pub undefined: u8,
    /// What the model writes there, if anything.
    pub owner: Option<Owner>,
}

/// In what a run of a case differs from the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseMismatch {
    /// It ended so, which the model does not say.
    pub exit: Option<Exit>,
    /// The state at the exit.
    pub got: State,
    /// Fields of the state.
    pub fields: Vec<Difference>,
    /// Bytes of memory.
    pub bytes: Vec<ByteDifference>,
}

impl CaseMismatch {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.exit.is_none() && self.fields.is_empty() && self.bytes.is_empty()
    }

    /// Whether a field of the state differs.
    pub(super) fn concerns(&self, field: &str) -> bool {
        self.fields.iter().any(|difference| difference.field == field)
    }

    /// Mismatches with the same kind look alike.
    pub(super) fn kind(&self) -> String {
        let mut kind = match &self.exit {
            Some(Exit::InternalError { suberror, .. }) => format!("internal error {suberror} "),
            Some(exit) => format!("{exit} "),
            None => String::new(),
        };
        for difference in &self.fields {
            kind += difference.field;
            kind.push(' ');
        }
        let mut owners: Vec<String> = self
            .bytes
            .iter()
            .map(|byte| match byte.owner {
                Some(Owner::Pushed(word)) => format!("pushed {}", word.name()),
                Some(Owner::Accessed(_)) => "accessed".into(),
                Some(Owner::Busy(_)) => "busy".into(),
                Some(Owner::TssGeneral(_)) => "TSS general".into(),
                Some(owner) => format!("{owner:?}"),
                None => "memory".into(),
            })
            .collect();
        owners.dedup();
        kind + &owners.join(", ")
    }
}

/// The fields in which a state differs from the one expected.
pub(super) fn fields(expectation: &Expectation, got: &State) -> Vec<Difference> {
    let last = expectation.last();
    let vendor = processor().vendor;
    let (expected, got) = (reported(&last.state, vendor), reported(got, vendor));
    if expected == got {
        return Vec::new();
    }
    last.undefined.differences(&expected, &got).collect()
}

/// Whether the exit is the one that the model's end leads to.
pub(super) fn ended_so(end: AttemptEnd, exit: &Exit) -> bool {
    match end {
        AttemptEnd::Completed => matches!(exit, Exit::InternalError { suberror: 1, .. }),
        AttemptEnd::Shutdown => *exit == Exit::Shutdown,
        _ => false,
    }
}

impl fmt::Display for CaseMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(exit) = &self.exit {
            writeln!(f, "    ended by {exit}")?;
        }
        for Difference { field, expected, got, undefined } in &self.fields {
            write!(f, "    {field}: expected {expected:x}, got {got:x}")?;
            match undefined {
                0 => writeln!(f)?,
                _ => writeln!(f, " (open: {undefined:x})")?,
            }
        }
        const SHOWN: usize = 24;
        for byte in self.bytes.iter().take(SHOWN) {
            let ByteDifference { address, before, expected, got, .. } = byte;
            write!(
                f,
                "    [{address:x}]: was {before:02x}, expected {expected:02x}, got {got:02x}"
            )?;
            match byte.owner {
                Some(owner) => writeln!(f, " ({owner})")?,
                None => writeln!(f)?,
            }
        }
        if self.bytes.len() > SHOWN {
            writeln!(f, "    … {} bytes in all", self.bytes.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_in_words() {
        let exit = Exit::InternalError { suberror: 3, data: vec![1, 2, 3] };
        let mismatch = CaseMismatch {
            exit: Some(exit),
            got: State::default(),
            fields: Vec::new(),
            bytes: Vec::new(),
        };
        assert_eq!(
            mismatch.to_string(),
            "    ended by KVM giving up: an event that it cannot deliver \
             (KVM_EXIT_INTERNAL_ERROR, 3)\n"
        );
        assert_eq!(mismatch.kind(), "internal error 3 ");
    }
}
