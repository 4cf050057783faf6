//! Entries by SYSENTER.

use super::{FindingRecord, RecordVerdict, hex, is_empty};
use crate::entry::Sysenter;
use serde::{Deserialize, Serialize};

/// An entry by SYSENTER: through no gate, and nothing was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysenterRecord {
    /// The last entry through a gate before it.
    pub after: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// The task that called, from 1; 0 if that is not known.
    pub task: u32,
    /// CS at its target.
    #[serde(with = "hex")]
    pub cs: u16,
    /// EIP of its target.
    #[serde(with = "hex")]
    pub eip: u32,
    /// SS there.
    #[serde(with = "hex")]
    pub ss: u16,
    /// ESP there: IA32_SYSENTER_ESP.
    #[serde(with = "hex")]
    pub esp: u32,
    /// EFLAGS there.
    #[serde(with = "hex")]
    pub eflags: u32,
    /// What the rules said.
    pub verdict: RecordVerdict,
    /// Names of known deviations.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub deviations: Vec<String>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub findings: Vec<FindingRecord>,
    /// What is unusual, but consistent.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub notes: Vec<FindingRecord>,
}

impl SysenterRecord {
    /// Without a judgement.
    pub fn new(entry: &Sysenter, task: u32) -> Self {
        let after = &entry.after;
        SysenterRecord {
            after: entry.after_sequence,
            time: entry.time,
            task,
            cs: after.cs().selector,
            eip: after.eip,
            ss: after.ss().selector,
            esp: after.general.esp,
            eflags: after.eflags.0,
            verdict: RecordVerdict::Ok,
            deviations: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }
}
