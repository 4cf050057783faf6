//! Entries and returns.

use super::{ExactRecord, FindingRecord, FrameRecord, RecordVerdict, hex, is_empty, names};
use crate::entry::{Entry, InnerStack, Kind, Origin, OriginSource, Return, Returned};
use ia32::{Gate, State, Vector, Word};
use serde::{Deserialize, Serialize};

/// The state in front of a handler's first instruction, and the frame that lies there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "registers are what they are called")]
pub struct EntryRecord {
    /// Counts entries from 1.
    pub sequence: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// The task, from 1; 0 if the stack is no known task's.
    pub task: u32,
    /// The vector.
    #[serde(with = "hex")]
    pub vector: u8,
    /// The ring that was interrupted.
    pub from_ring: u8,
    /// The handler's ring.
    pub to_ring: u8,
    /// The gate as it stands in the IDT, as one number; handler and CS are in it.
    #[serde(with = "hex")]
    pub gate: u64,
    #[serde(with = "hex")]
    pub eflags: u32,
    #[serde(with = "hex")]
    pub ss: u16,
    #[serde(with = "hex")]
    pub esp: u32,
    /// SS0 of the current TSS; 0 if TR holds none that can be read.
    #[serde(with = "hex")]
    pub ss0: u16,
    /// ESP0 of it.
    #[serde(with = "hex")]
    pub esp0: u32,
    #[serde(with = "hex")]
    pub eax: u32,
    #[serde(with = "hex")]
    pub ecx: u32,
    #[serde(with = "hex")]
    pub edx: u32,
    #[serde(with = "hex")]
    pub ebx: u32,
    #[serde(with = "hex")]
    pub ebp: u32,
    #[serde(with = "hex")]
    pub esi: u32,
    #[serde(with = "hex")]
    pub edi: u32,
    #[serde(with = "hex")]
    pub ds: u16,
    #[serde(with = "hex")]
    pub es: u16,
    #[serde(with = "hex")]
    pub fs: u16,
    #[serde(with = "hex")]
    pub gs: u16,
    #[serde(with = "hex")]
    pub tr: u16,
    #[serde(with = "hex")]
    pub cr2: u32,
    #[serde(with = "hex")]
    pub cr3: u32,
    /// The words on the stack.
    pub frame: FrameRecord,
    /// In the first entry, and where CR0 or CR4 has changed since the last.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub cr0: Option<u32>,
    /// There with [`EntryRecord::cr0`].
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub cr4: Option<u32>,
    /// What raised the event.
    #[serde(with = "names::kind")]
    pub kind: Kind,
    /// How the interrupted ring is known.
    pub origin: OriginName,
    /// Where the pushed SS selects from an LDT: which one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub ldtr: Option<u16>,
    /// What the pushed SS:ESP means then, as a linear address.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub linear_stack: Option<u32>,
    /// What the pushed CS:EIP means then, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub linear_code: Option<u32>,
    /// The state before the event, if it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<BeforeRecord>,
    /// All that the model needs; in exact mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<Box<ExactRecord>>,
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

/// How the ring that was interrupted is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OriginName {
    /// The state before was seen.
    State,
    /// The last return went there.
    Return,
    /// The pushed CS says so.
    Frame,
    /// Virtual-8086 mode was interrupted.
    #[serde(rename = "virtual-8086")]
    Virtual8086,
}

impl OriginName {
    /// The word in the trace.
    pub const fn name(self) -> &'static str {
        match self {
            OriginName::State => "state",
            OriginName::Return => "return",
            OriginName::Frame => "frame",
            OriginName::Virtual8086 => "virtual-8086",
        }
    }
}

impl From<Origin> for OriginName {
    fn from(origin: Origin) -> Self {
        match (origin.virtual_8086, origin.source) {
            (true, _) => OriginName::Virtual8086,
            (_, OriginSource::Before) => OriginName::State,
            (_, OriginSource::Return) => OriginName::Return,
            (_, OriginSource::Frame) => OriginName::Frame,
        }
    }
}

/// Registers just before an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are what they are called")]
pub struct BeforeRecord {
    #[serde(with = "hex")]
    pub cs: u16,
    #[serde(with = "hex")]
    pub eip: u32,
    #[serde(with = "hex")]
    pub eflags: u32,
    #[serde(with = "hex")]
    pub ss: u16,
    #[serde(with = "hex")]
    pub esp: u32,
}

impl From<&State> for BeforeRecord {
    fn from(state: &State) -> Self {
        BeforeRecord {
            cs: state.cs().selector,
            eip: state.eip,
            eflags: state.eflags.0,
            ss: state.ss().selector,
            esp: state.general.esp,
        }
    }
}

impl EntryRecord {
    /// Of an entry of `task` that nothing is said of yet. CR0 and CR4 are in it: whoever writes several leaves
    /// them out where they are the same.
    pub fn new(entry: &Entry, task: u32) -> Self {
        let after = &entry.after;
        let general = &after.general;
        let [es, _, _, ds, fs, gs] = after.segments.each_ref().map(|one| one.selector);
        let stack = entry.inner_stack.unwrap_or(InnerStack { ss: 0, esp: 0 });
        EntryRecord {
            sequence: entry.sequence,
            time: entry.time,
            task,
            vector: entry.vector.0,
            from_ring: entry.origin.ring,
            to_ring: after.cpl(),
            gate: entry.gate.encode(),
            eflags: after.eflags.0,
            ss: after.ss().selector,
            esp: general.esp,
            ss0: stack.ss,
            esp0: stack.esp,
            eax: general.eax,
            ecx: general.ecx,
            edx: general.edx,
            ebx: general.ebx,
            ebp: general.ebp,
            esi: general.esi,
            edi: general.edi,
            ds,
            es,
            fs,
            gs,
            tr: after.tr.selector,
            cr2: after.cr2,
            cr3: after.cr3,
            frame: (&entry.frame).into(),
            cr0: Some(after.cr0),
            cr4: Some(after.cr4),
            kind: entry.kind,
            origin: entry.origin.into(),
            ldtr: entry.ldt_stack.map(|_| after.ldtr.selector),
            linear_stack: entry.ldt_stack,
            linear_code: entry.code.linear.filter(|_| entry.ldt_stack.is_some()),
            before: entry.before.as_deref().map(Into::into),
            exact: entry.exact.as_deref().and_then(ExactRecord::new).map(Box::new),
            verdict: RecordVerdict::Ok,
            deviations: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The vector.
    pub fn vector(&self) -> Vector {
        Vector(self.vector)
    }

    /// The gate; none if the number is none that an IDT may hold.
    pub fn gate(&self) -> Option<Gate> {
        Gate::decode(self.gate).ok()
    }

    /// The event came from an outer ring.
    pub fn from_outer_ring(&self) -> bool {
        self.from_ring > self.to_ring
    }

    /// The EIP that was pushed.
    pub fn eip(&self) -> Option<u32> {
        self.frame.get(Word::Eip)
    }
}

/// An IRET that is about to be executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnRecord {
    /// The last entry before it.
    pub after: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// The task that is resumed, from 1; 0 if the stack is no known task's.
    pub task: u32,
    /// The ring of the IRET.
    pub from_ring: u8,
    /// The ring that it goes to.
    pub to_ring: u8,
    /// The words that are going to be popped.
    pub frame: FrameRecord,
    /// Where the IRET is.
    #[serde(with = "hex")]
    pub at: u32,
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

impl ReturnRecord {
    /// Of a return to `task` that nothing is said of yet.
    pub fn new(returning: &Return, task: u32) -> Self {
        ReturnRecord {
            after: returning.after_sequence,
            time: returning.time,
            task,
            from_ring: returning.state.cpl(),
            to_ring: returning.ring(),
            frame: (&returning.frame).into(),
            at: returning.state.eip,
            verdict: RecordVerdict::Ok,
            deviations: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// What an IRET did that raised no fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnedRecord {
    /// The last entry before it.
    pub after: u64,
    /// Instructions on the deterministic clock.
    pub time: u64,
    /// All that the model needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<Box<ExactRecord>>,
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

impl ReturnedRecord {
    /// Of an IRET that nothing is said of yet.
    pub fn new(returned: &Returned) -> Self {
        ReturnedRecord {
            after: returned.after_sequence,
            time: returned.time,
            exact: ExactRecord::new(&returned.exact).map(Box::new),
            verdict: RecordVerdict::Ok,
            deviations: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }
}
