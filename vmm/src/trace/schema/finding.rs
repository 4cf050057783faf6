//! What the rules said of an event.

use super::{hex, is_empty, names};
use crate::check::{ChangedWord, CodePlace, Finding, Judgement, Subject, WordDifference};
use ia32::Word;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The verdict on one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordVerdict {
    /// Nothing is wrong, known deviations of the processor model aside.
    #[default]
    Ok,
    /// There are findings.
    Finding,
}

impl RecordVerdict {
    /// On what was judged so.
    pub fn of(judgement: &Judgement) -> Self {
        if judgement.is_ok() { RecordVerdict::Ok } else { RecordVerdict::Finding }
    }
}

/// One thing that is wrong, or unusual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRecord {
    /// Name of the rule.
    pub rule: String,
    /// Whose fault it is.
    #[serde(with = "names::subject")]
    pub subject: Subject,
    /// Where, in words: `#214 int 0x80 in task 3, at write+9 (user.c:41)`.
    pub place: String,
    /// The kernel's instruction that it was found at: a handler's first one, or an IRET.
    #[serde(with = "hex")]
    pub at: u32,
    /// What happened.
    pub sentence: String,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub got: String,
    /// The likely reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The word of the frame that differs, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<DifferenceRecord>,
    /// The word of memory that somebody wrote who should not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<ChangedRecord>,
    /// The word of memory that holds what is wrong: whoever stored it has to store something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<ChangedRecord>,
    /// The code to look at, that which is likeliest to be wrong first. What stands there is told at the end, by
    /// [`CauseRecord`](super::CauseRecord).
    #[serde(default, skip_serializing_if = "is_empty")]
    pub about: Vec<AboutRecord>,
    /// Names of addresses that stand in the texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// A word of a frame that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceRecord {
    /// Which.
    #[serde(with = "names::word")]
    pub word: Word,
    /// What it should be.
    #[serde(with = "hex")]
    pub expected: u32,
    /// What it is.
    #[serde(with = "hex")]
    pub got: u32,
}

/// Code that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutRecord {
    /// Which.
    pub kind: AboutKind,
    /// Its linear address.
    #[serde(with = "hex")]
    pub address: u32,
}

/// What is meant by an address of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AboutKind {
    /// The instruction there.
    Instruction,
    /// The IRET of a switch, which is there.
    Switch,
    /// The handler that begins there.
    Handler,
}

impl From<CodePlace> for AboutRecord {
    fn from(place: CodePlace) -> Self {
        let (kind, address) = match place {
            CodePlace::Instruction(address) => (AboutKind::Instruction, address),
            CodePlace::Switch(address) => (AboutKind::Switch, address),
            CodePlace::Handler(address) => (AboutKind::Handler, address),
        };
        AboutRecord { kind, address }
    }
}

/// A word of memory that was changed, or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedRecord {
    /// Its linear address.
    #[serde(with = "hex")]
    pub address: u32,
    /// What it holds now.
    #[serde(with = "hex")]
    pub value: u32,
}

impl From<ChangedWord> for ChangedRecord {
    fn from(ChangedWord { address, value, .. }: ChangedWord) -> Self {
        ChangedRecord { address, value }
    }
}

impl FindingRecord {
    /// A finding, with where it was made and the names of the addresses in its texts.
    pub fn new(finding: &Finding, place: &str, at: u32, names: BTreeMap<String, String>) -> Self {
        let Finding { rule, subject, sentence, expected, got, reason, advice, .. } = finding;
        FindingRecord {
            rule: (*rule).into(),
            subject: *subject,
            place: place.into(),
            at,
            sentence: sentence.clone(),
            expected: expected.clone(),
            got: got.clone(),
            reason: reason.clone(),
            advice: advice.clone(),
            difference: finding.difference.map(|WordDifference { word, expected, got }| {
                DifferenceRecord { word, expected, got }
            }),
            changed: finding.changed().map(Into::into),
            stored: finding.stored().map(Into::into),
            about: finding.places.iter().map(|place| (*place).into()).collect(),
            names,
        }
    }
}
