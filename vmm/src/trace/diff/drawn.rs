//! The two events at which traces part, as their runs told them: the frame on its stack, and what was found.

use super::side::{Event, Side};
use crate::check::Degree;
use crate::trace::Colour;
use crate::trace::finding_text::record_text;
use crate::trace::picture::picture;
use crate::trace::schema::{FindingRecord, FrameRecord, Record};
use std::fmt::Write as _;

/// Both, one below the other; nothing of an event that has no frame and of which nothing was said.
pub(super) fn drawn(names: [&str; 2], sides: [&Side; 2]) -> String {
    let mut text = String::new();
    for (name, side) in names.iter().zip(sides) {
        let one = side.ahead.front().map_or_else(String::new, one);
        if !one.is_empty() {
            let _ = write!(text, "\n{name}:\n{one}");
        }
    }
    text
}

fn one(event: &Event) -> String {
    let said = |findings: &[FindingRecord], notes: &[FindingRecord]| {
        let all = findings.iter().map(|one| (one, Degree::Fault));
        let all = all.chain(notes.iter().map(|one| (one, Degree::Note)));
        all.map(|(one, degree)| record_text(one, degree, Colour::default()) + "\n")
            .collect::<String>()
    };
    match &event.record {
        Record::Entry(entry) => picture(entry, &event.names) + &said(&entry.findings, &entry.notes),
        Record::Return(returning) => {
            popped(&returning.frame) + &said(&returning.findings, &returning.notes)
        }
        Record::Sysenter(entry) => said(&entry.findings, &entry.notes),
        Record::Crossing(crossing) => said(&crossing.findings, &crossing.notes),
        Record::Switch(switch) => said(&switch.findings, &switch.notes),
        Record::End(end) => said(&end.findings, &end.notes),
        _ => String::new(),
    }
}

/// The words that an IRET is going to pop.
fn popped(frame: &FrameRecord) -> String {
    let mut text = "       the words that IRET pops\n".to_owned();
    for (word, value) in frame.words.iter().rev() {
        let address = frame.address_of(*word).unwrap_or(0);
        let value = value.map_or("????????".into(), |value| format!("{value:08x}"));
        let esp = if address == frame.address { "ESP  ──►" } else { "" };
        let _ = writeln!(text, "         {esp:<8}  {address:08x}  │ {:<7} {value} │", word.name());
    }
    text
}
