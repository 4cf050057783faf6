//! Entries by call gates, and the way back.

use super::{FindingRecord, RecordVerdict, hex, is_empty};
use crate::entry::{Crossing, CrossingWay};
use serde::{Deserialize, Serialize};

/// Which way rings are crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WayName {
    /// Inwards, by a far CALL.
    Call,
    /// Outwards, by a far RET.
    Return,
}

/// An entry by a call gate, or a far RET that is about to leave for an outer ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossingRecord {
    /// The last entry through a gate of the IDT before it.
    pub after: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// The task that has called, from 1; 0 if that is not known.
    pub task: u32,
    /// Which way.
    pub way: WayName,
    /// The ring that is left.
    pub from_ring: u8,
    /// The ring that is gone to.
    pub to_ring: u8,
    /// The call gate's selector; missing for a far RET.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub gate: Option<u16>,
    /// Words of parameters: those that were copied, or are going to be removed.
    pub parameters: u8,
    /// CS behind the CALL, or at the RET.
    #[serde(with = "hex")]
    pub cs: u16,
    /// EIP there.
    #[serde(with = "hex")]
    pub eip: u32,
    /// SS there.
    #[serde(with = "hex")]
    pub ss: u16,
    /// ESP there.
    #[serde(with = "hex")]
    pub esp: u32,
    /// EFLAGS there.
    #[serde(with = "hex")]
    pub eflags: u32,
    /// The pushed words, or those that are going to be popped, lowest address first: EIP, CS, the parameters, ESP, SS.
    #[serde(with = "hex::list")]
    pub words: Vec<u32>,
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

impl CrossingRecord {
    /// Without a judgement.
    pub fn new(crossing: &Crossing, task: u32) -> Self {
        let state = &crossing.state;
        let (way, gate) = match crossing.way {
            CrossingWay::Call(gate) => (WayName::Call, Some(gate.selector)),
            CrossingWay::Return { .. } => (WayName::Return, None),
        };
        CrossingRecord {
            after: crossing.after_sequence,
            time: crossing.time,
            task,
            way,
            from_ring: crossing.from_ring(),
            to_ring: crossing.to_ring(),
            gate,
            parameters: crossing.frame.parameters().len() as u8,
            cs: state.cs().selector,
            eip: state.eip,
            ss: state.ss().selector,
            esp: state.general.esp,
            eflags: state.eflags.0,
            words: crossing.frame.words.clone(),
            verdict: RecordVerdict::Ok,
            deviations: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// It leads inwards.
    pub fn is_call(&self) -> bool {
        self.way == WayName::Call
    }

    /// A word from the top: 0 is SS, 1 ESP.
    pub fn from_top(&self, index: usize) -> u32 {
        self.words.iter().rev().nth(index).copied().unwrap_or(0)
    }
}
