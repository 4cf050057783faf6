//! What an explanation adds to a finding.

use crate::check::{ChangedWord, CodePlace, Finding, LookBack};

/// Why, and what to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Explained {
    pub(super) reason: Option<String>,
    pub(super) advice: Option<String>,
    /// Who stored what is wrong.
    pub(super) asks: Option<LookBack>,
    /// The code to look at first.
    pub(super) at: Option<CodePlace>,
}

impl Explained {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Explained { reason: Some(reason.into()), ..Explained::default() }
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// `bits` of a word are wrong: whoever stored them has to store something else.
    pub(super) fn stored_in(mut self, word: Option<ChangedWord>, bits: u32) -> Self {
        self.asks = word.map(|word| LookBack::StoredPart { word, bits });
        self
    }

    /// The instruction to look at first, where it is known.
    pub(super) fn at(mut self, address: Option<u32>) -> Self {
        self.at = address.map(CodePlace::Instruction);
        self
    }

    /// The finding with what this says behind its reason.
    pub(super) fn after(self, finding: Finding) -> Finding {
        let before = finding.reason.clone();
        let reason = [before, self.reason.clone()].into_iter().flatten().collect::<Vec<_>>();
        Explained { reason: Some(reason.join("; ")), ..self }.add_to(finding)
    }

    /// The finding with reason and advice.
    pub(super) fn add_to(self, mut finding: Finding) -> Finding {
        finding.look_back = self.asks.or(finding.look_back);
        finding.reason = self.reason.or(finding.reason);
        finding.advice = self.advice.or(finding.advice);
        if let Some(place) = self.at {
            finding.places.retain(|one| *one != place);
            finding.places.insert(0, place);
        }
        finding
    }
}
