//! What was found in one of two traces and not in the other, from the divergence on.
//!
//! Where a kernel goes wrong is seen by its events; what is wrong is often said only when the run is over.

use super::side::Side;
use crate::check::Degree;
use crate::trace::finding_text::record_text;
use crate::trace::schema::{FindingRecord, Record};
use crate::trace::{Colour, TraceReader, without_numbers};
use std::fmt::Write as _;
use std::io::BufRead;

/// So many kinds of findings of a trace are looked at, and so many told.
const MOST: usize = 64;
const TOLD: usize = 3;

/// The kinds of findings of a trace, the first of each.
#[derive(Debug, Default)]
pub(super) struct Found {
    all: Vec<One>,
}

#[derive(Debug)]
struct One {
    /// Rule and sentence, without what differs from event to event.
    kind: (String, String),
    finding: FindingRecord,
    degree: Degree,
    /// Its event is drawn, and this with it.
    drawn: bool,
}

impl Found {
    /// Those of the events that are ahead, and of all behind them. A line that cannot be read ends that: where the
    /// traces part is known by then.
    pub(super) fn of<R: BufRead>(side: &Side, trace: &mut TraceReader<R>) -> Self {
        let mut found = Found::default();
        for (index, event) in side.ahead.iter().enumerate() {
            found.add(&event.record, index == 0);
        }
        while let Ok(Some(record)) = trace.next_record() {
            found.add(&record, false);
        }
        found
    }

    fn add(&mut self, record: &Record, drawn: bool) {
        let (findings, notes): (&[FindingRecord], &[FindingRecord]) = match record {
            Record::Entry(one) => (&one.findings, &one.notes),
            Record::Return(one) => (&one.findings, &one.notes),
            Record::Sysenter(one) => (&one.findings, &one.notes),
            Record::Crossing(one) => (&one.findings, &one.notes),
            Record::Switch(one) => (&one.findings, &one.notes),
            Record::Returned(one) => (&one.findings, &one.notes),
            Record::End(one) => (&one.findings, &one.notes),
            _ => (&[], &[]),
        };
        let all = findings.iter().map(|one| (one, Degree::Fault));
        for (finding, degree) in all.chain(notes.iter().map(|one| (one, Degree::Note))) {
            let kind = (finding.rule.clone(), without_numbers(&finding.sentence));
            if self.all.len() < MOST && !self.has(&kind) {
                self.all.push(One { kind, finding: finding.clone(), degree, drawn });
            }
        }
    }

    fn has(&self, kind: &(String, String)) -> bool {
        self.all.iter().any(|one| one.kind == *kind)
    }
}

/// What each has and the other has not, unless it was drawn.
pub(super) fn of_one_alone(names: [&str; 2], found: &[Found; 2]) -> String {
    let mut text = String::new();
    for (side, name) in names.iter().enumerate() {
        let other = &found[1 - side];
        let alone: Vec<&One> =
            found[side].all.iter().filter(|one| !one.drawn && !other.has(&one.kind)).collect();
        if !alone.is_empty() {
            let _ = writeln!(text, "\nfound in {name} only:");
        }
        for one in alone.iter().take(TOLD) {
            let _ = writeln!(text, "{}", record_text(&one.finding, one.degree, Colour::default()));
        }
        if let Some(more @ 1..) = alone.len().checked_sub(TOLD) {
            let _ =
                writeln!(text, "and {more} more of further kinds: esp0 trace show --quiet {name}");
        }
    }
    text
}
