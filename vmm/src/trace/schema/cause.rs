//! What is known of a cause when the run is over: its code, and what other runs have found out about it.

use super::{CodeRecord, hex, is_empty};
use serde::{Deserialize, Serialize};

/// More about findings of one cause: those of one rule, at one instruction, that say the same, numbers aside.
///
/// A finding stands where it was made. Who wrote a word is found by running the guest again, and what stands in the code
/// is read when all of it is there; so this comes right before the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseRecord {
    /// The rule.
    pub rule: String,
    /// The kernel's instruction, as the finding has it.
    #[serde(with = "hex")]
    pub at: u32,
    /// The sentence of the first finding.
    pub sentence: String,
    /// Who wrote the word that it is about, or how that is found.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub writer: Vec<String>,
    /// What led the guest there, or how that is found.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub way: Vec<String>,
    /// The code to look at: who wrote, what led there, and then what the finding is about.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub places: Vec<CodeRecord>,
}

impl CauseRecord {
    /// There is nothing in it that its finding has not.
    pub fn is_empty(&self) -> bool {
        self.writer.is_empty() && self.way.is_empty() && self.places.is_empty()
    }

    /// What other runs have found out, or how it is found.
    pub fn answers(&self) -> impl Iterator<Item = &str> {
        self.writer.iter().chain(&self.way).map(String::as_str)
    }
}
