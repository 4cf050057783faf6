//! Task switches by hardware.

use super::{FindingRecord, RecordVerdict, hex, is_empty};
use crate::entry::{SwitchCause, TaskSwitch, TssWords};
use serde::{Deserialize, Serialize};

/// What has switched tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchBy {
    /// A far jump to a TSS.
    #[default]
    Jump,
    /// An event whose gate is a task gate.
    Gate,
    /// An IRET back by the link of a TSS.
    Iret,
}

impl SwitchBy {
    fn is_jump(&self) -> bool {
        *self == SwitchBy::Jump
    }
}

/// A task switch: by a far jump to a TSS or an IRET, seen before it and at the next exit; or an entry by a task gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRecord {
    /// The last entry before it.
    pub after: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// The task that goes on, from 1; by a task gate, the one that was interrupted, 0 if that is not known.
    pub task: u32,
    /// What has switched.
    #[serde(default, skip_serializing_if = "SwitchBy::is_jump")]
    pub by: SwitchBy,
    /// The vector of a task gate.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub vector: Option<u8>,
    /// The error code that was pushed on the new task's stack.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub error_code: Option<u32>,
    /// The ring that is left.
    pub from_ring: u8,
    /// The ring in which the new task goes on.
    pub to_ring: u8,
    /// The selector of the new TSS.
    #[serde(with = "hex")]
    pub selector: u16,
    /// TR before and after.
    #[serde(with = "hex::pair")]
    pub tr: [u16; 2],
    /// Where the jump was: SS:ESP and LDTR in front of it.
    pub before: SwitchOrigin,
    /// The old task's TSS after it.
    pub left: TaskRecord,
    /// The new task's TSS before it.
    pub loaded: TaskRecord,
    /// Base of the new task's code segment.
    #[serde(with = "hex::option")]
    pub code_base: Option<u32>,
    /// Base of its stack segment.
    #[serde(with = "hex::option")]
    pub stack_base: Option<u32>,
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

/// The state in front of the jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchOrigin {
    /// SS.
    #[serde(with = "hex")]
    pub ss: u16,
    /// ESP.
    #[serde(with = "hex")]
    pub esp: u32,
    /// LDTR.
    #[serde(with = "hex")]
    pub ldtr: u16,
    /// EIP.
    #[serde(with = "hex")]
    pub eip: u32,
}

/// What a TSS holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are what they are called")]
pub struct TaskRecord {
    #[serde(with = "hex")]
    pub ss: u16,
    #[serde(with = "hex")]
    pub esp: u32,
    #[serde(with = "hex")]
    pub cs: u16,
    #[serde(with = "hex")]
    pub eip: u32,
    #[serde(with = "hex")]
    pub eflags: u32,
    #[serde(with = "hex")]
    pub ss0: u16,
    #[serde(with = "hex")]
    pub esp0: u32,
    #[serde(with = "hex")]
    pub ldtr: u16,
    #[serde(with = "hex")]
    pub cr3: u32,
}

impl From<&TssWords> for TaskRecord {
    fn from(tss: &TssWords) -> Self {
        TaskRecord {
            ss: tss.selector(TssWords::SS).0,
            esp: tss.0[TssWords::ESP],
            cs: tss.selector(TssWords::CS).0,
            eip: tss.0[TssWords::EIP],
            eflags: tss.0[TssWords::EFLAGS],
            ss0: tss.inner_stack().ss,
            esp0: tss.inner_stack().esp,
            ldtr: tss.selector(TssWords::LDT).0,
            cr3: tss.0[TssWords::CR3],
        }
    }
}

impl SwitchRecord {
    /// Of a switch to `task` that nothing is said of yet.
    pub fn new(switch: &TaskSwitch, task: u32) -> Self {
        let before = &switch.before;
        let (by, vector, error_code) = match switch.cause {
            SwitchCause::Jump => (SwitchBy::Jump, None, None),
            SwitchCause::Gate { vector, error_code, .. } => {
                (SwitchBy::Gate, Some(vector.0), error_code)
            }
            SwitchCause::Return => (SwitchBy::Iret, None, None),
        };
        SwitchRecord {
            by,
            vector,
            error_code,
            after: switch.after_sequence,
            time: switch.time,
            task,
            from_ring: before.cpl(),
            to_ring: switch.ring(),
            selector: switch.selector.0,
            tr: [before.tr.selector, switch.tr.0],
            before: SwitchOrigin {
                ss: before.ss().selector,
                esp: before.general.esp,
                ldtr: before.ldtr.selector,
                eip: before.eip,
            },
            left: (&switch.stored).into(),
            loaded: (&switch.new).into(),
            code_base: switch.code_base,
            stack_base: switch.stack_base,
            verdict: RecordVerdict::Ok,
            deviations: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }
}
