//! What an explanation adds to a finding.

use crate::check::Finding;

/// Why, and what to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Explained {
    pub(super) reason: Option<String>,
    pub(super) advice: Option<String>,
}

impl Explained {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Explained { reason: Some(reason.into()), advice: None }
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The finding with reason and advice.
    pub(super) fn add_to(self, mut finding: Finding) -> Finding {
        finding.reason = self.reason.or(finding.reason);
        finding.advice = self.advice.or(finding.advice);
        finding
    }
}
