//! Whether two records are the same, as far as is asked.

use super::{Aspects, kept};
use crate::trace::schema::{
    CrossingRecord, EntryRecord, FindingRecord, OriginName, Record, SysenterRecord,
};

/// Whether they are.
pub(super) fn is_same(one: &Record, other: &Record, aspects: Aspects) -> bool {
    let said = |one: &[FindingRecord], other: &[FindingRecord]| {
        one.iter().map(|one| &one.rule).eq(other.iter().map(|one| &one.rule))
    };
    match (one, other) {
        (Record::Entry(one), Record::Entry(other)) => {
            let structure = one.kind == other.kind
                && (one.vector, one.from_ring, one.to_ring, one.verdict)
                    == (other.vector, other.from_ring, other.to_ring, other.verdict)
                && said(&one.findings, &other.findings)
                && kept::of_frame(&one.frame).eq(kept::of_frame(&other.frame))
                && one.frame.word_size == other.frame.word_size
                && kept::of_gate(one) == kept::of_gate(other)
                && kept::of_segments(one) == kept::of_segments(other)
                && kept::of_flags(one.eflags) == kept::of_flags(other.eflags);
            structure && (!aspects.values || same_values(one, other))
        }
        (Record::Return(one), Record::Return(other)) => {
            let structure = (one.from_ring, one.to_ring, one.verdict)
                == (other.from_ring, other.to_ring, other.verdict)
                && said(&one.findings, &other.findings)
                && kept::of_frame(&one.frame).eq(kept::of_frame(&other.frame));
            let values = one.frame == other.frame && one.task == other.task;
            structure && (!aspects.values || values)
        }
        (Record::Sysenter(one), Record::Sysenter(other)) => {
            let structure = one.verdict == other.verdict
                && said(&one.findings, &other.findings)
                && (one.cs, one.ss) == (other.cs, other.ss)
                && kept::of_flags(one.eflags) == kept::of_flags(other.eflags);
            let values = |one: &SysenterRecord| (one.cs, one.eip, one.ss, one.esp, one.eflags);
            structure && (!aspects.values || values(one) == values(other))
        }
        (Record::Crossing(one), Record::Crossing(other)) => {
            let structure = (one.way, one.gate, one.from_ring, one.to_ring, one.verdict)
                == (other.way, other.gate, other.from_ring, other.to_ring, other.verdict)
                && said(&one.findings, &other.findings)
                && (one.parameters, one.cs, one.ss) == (other.parameters, other.cs, other.ss)
                && kept::of_flags(one.eflags) == kept::of_flags(other.eflags);
            let values = |one: &CrossingRecord| (one.eip, one.esp, one.eflags, one.words.clone());
            structure && (!aspects.values || values(one) == values(other))
        }
        (Record::Switch(one), Record::Switch(other)) => {
            let structure = (one.from_ring, one.to_ring, one.verdict)
                == (other.from_ring, other.to_ring, other.verdict)
                && said(&one.findings, &other.findings)
                && (one.by, one.vector, one.error_code)
                    == (other.by, other.vector, other.error_code)
                && one.tr == other.tr;
            let values = one.left == other.left && one.loaded == other.loaded;
            structure && (!aspects.values || values)
        }
        (Record::Stack(one), Record::Stack(other)) => {
            one.instruction == other.instruction && (!aspects.values || one == other)
        }
        (Record::Console(one), Record::Console(other)) => one == other,
        (Record::End(one), Record::End(other)) => {
            one.verdict == other.verdict
                && one.ending == other.ending
                && kept::of_deviations(one) == kept::of_deviations(other)
                && said(&one.findings, &other.findings)
        }
        _ => false,
    }
}

/// The same but for time, names, and what is known of the state before.
fn same_values(one: &EntryRecord, other: &EntryRecord) -> bool {
    let plain = |entry: &EntryRecord| EntryRecord {
        time: 0,
        cr0: None,
        cr4: None,
        before: None,
        exact: None,
        origin: OriginName::Frame,
        findings: Vec::new(),
        notes: Vec::new(),
        deviations: Vec::new(),
        ..entry.clone()
    };
    plain(one) == plain(other)
}
