//! What is known to be wrong with the processor models and KVMs below us, as cases show it.
//!
//! The table has the shape of `check/deviation.rs`, which knows entries of a run; here a deviation is
//! recognised in a case with its whole mismatch. Each has a minimal case, which a test runs: where
//! the deviation is gone, the table is out of date.

use super::case::Case;
use super::mismatch::Mismatch;
use super::world::Expectation;
use crate::host::{Authority, Backend, Version};

/// A known deviation.
#[derive(Debug)]
pub struct CaseDeviation {
    /// Short name, as the summary shows it.
    pub name: &'static str,
    /// What the manual says and what happens instead.
    pub description: &'static str,
    /// The processor model that has it.
    pub authority: Authority,
    /// First version of the model that is known to have it.
    pub since: Version,
    /// First version that is known not to have it; none if none is known.
    pub until: Option<Version>,
    /// The smallest case that shows it.
    pub case: &'static str,
    /// How it was found.
    pub evidence: &'static str,
    /// Whether a mismatch is this deviation and nothing else.
    matches: fn(&Seen<'_>) -> bool,
}

/// A case with what came of it.
struct Seen<'a> {
    case: &'a Case,
    expectation: &'a Expectation,
    mismatch: &'a Mismatch,
}

impl CaseDeviation {
    /// Whether `backend` is known to have it.
    pub fn applies_to(&self, backend: &Backend) -> bool {
        self.authority == backend.authority
            && backend.version.is_some_and(|version| {
                version >= self.since && self.until.is_none_or(|until| version < until)
            })
    }
}

/// All known deviations.
pub const DEVIATIONS: [CaseDeviation; 0] = [];

/// The deviation that a mismatch is.
pub(super) fn find(
    backend: &Backend,
    case: &Case,
    expectation: &Expectation,
    mismatch: &Mismatch,
) -> Option<&'static CaseDeviation> {
    let seen = Seen { case, expectation, mismatch };
    DEVIATIONS.iter().find(|deviation| deviation.applies_to(backend) && (deviation.matches)(&seen))
}
