//! What the guest and its machine were like at the end.

use super::{StateRecord, hex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The registers of a guest that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRecord {
    /// Of which moment.
    pub when: LastMoment,
    /// The interrupt that was being delivered, if it was that which could not be.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub vector: Option<u8>,
    /// The registers.
    pub state: StateRecord,
    /// What some of them point to, by the register.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// A moment near the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastMoment {
    /// In front of the event that the guest died of.
    Before,
    /// The last stop before it: what came behind is not known.
    Stop,
    /// The end.
    End,
}

impl LastMoment {
    /// A title for them.
    pub const fn title(self) -> &'static str {
        match self {
            LastMoment::Before => "the registers just before",
            LastMoment::Stop => "the registers at the last stop before",
            LastMoment::End => "the registers",
        }
    }
}

/// What stands on the text screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenRecord {
    /// Its width in letters.
    pub columns: u32,
    /// Its height in lines.
    pub rows: u32,
    /// Where in memory it is.
    #[serde(with = "hex")]
    pub address: u32,
    /// The lines from the first to the last that is not empty.
    pub lines: Vec<String>,
}
