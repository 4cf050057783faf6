//! Events as rows of a table: what each is called, and what it says.

use super::Aspects;
use super::same::is_same;
use super::side::{Event, Side};
use crate::trace::line::numbered;
use crate::trace::schema::{FindingRecord, FrameRecord, Record, ReturnRecord};
use crate::trace::{event_name, visible};
use std::fmt::Write as _;

/// What differs between two events, as the rows of a table: name, and what each has. Empty if they are the same.
pub(super) fn difference(
    one: Option<&Event>,
    other: Option<&Event>,
    aspects: Aspects,
) -> Vec<&'static str> {
    let (Some(one), Some(other)) = (one, other) else { return vec!["event"] };
    if is_same(&one.record, &other.record, aspects) {
        return Vec::new();
    }
    let (one, other) = (rows(one), rows(other));
    let mut names: Vec<&'static str> = Vec::new();
    for (name, value, part) in &one {
        let same = other.iter().any(|(others, with, _)| others == name && with == value);
        if !same && (*part == Part::Structure || aspects.values) {
            names.push(name);
        }
    }
    for (name, _, part) in &other {
        let missing = !one.iter().any(|(others, ..)| others == name);
        if missing && (*part == Part::Structure || aspects.values) {
            names.push(name);
        }
    }
    if names.is_empty() { vec!["event"] } else { names }
}

/// Whether a row of the table counts in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Structure,
    Value,
}

/// A row: what it is called, what it says, whether it counts in any case.
type Row = (&'static str, String, Part);

/// An event as rows of a table.
fn rows(event: &Event) -> Vec<Row> {
    use Part::{Structure, Value};
    match &event.record {
        Record::Entry(entry) => {
            let mut rows = vec![
                ("event", event_name(entry.kind, entry.vector()), Structure),
                ("rings", format!("{} → {}", entry.from_ring, entry.to_ring), Structure),
                ("verdict", verdict(&entry.findings), Structure),
                ("entry", format!("#{}", entry.sequence), Value),
                ("task", numbered(entry.task), Value),
                ("at", event.interrupted.clone().unwrap_or_default(), Value),
            ];
            frame(&mut rows, &entry.frame);
            rows.push(("SS0:ESP0", format!("{:04x}:{:08x}", entry.ss0, entry.esp0), Value));
            let registers: [(&'static str, u32); 10] = [
                ("EAX", entry.eax),
                ("ECX", entry.ecx),
                ("EDX", entry.edx),
                ("EBX", entry.ebx),
                ("EBP", entry.ebp),
                ("ESI", entry.esi),
                ("EDI", entry.edi),
                ("EFLAGS after", entry.eflags),
                ("CR2", entry.cr2),
                ("CR3", entry.cr3),
            ];
            let row = |(name, value)| (name, format!("{value:08x}"), Value);
            rows.extend(registers.map(row));
            rows
        }
        Record::Return(returning) => return_rows(returning),
        Record::Sysenter(entry) => vec![
            ("event", "SYSENTER".into(), Structure),
            ("verdict", verdict(&entry.findings), Structure),
            ("after", format!("#{}", entry.after), Value),
            ("task", numbered(entry.task), Value),
            ("CS:EIP", format!("{:04x}:{:08x}", entry.cs, entry.eip), Value),
            ("SS:ESP", format!("{:04x}:{:08x}", entry.ss, entry.esp), Value),
            ("EFLAGS", format!("{:08x}", entry.eflags), Value),
        ],
        Record::Switch(switch) => vec![
            ("event", "a task switch by a far jump".into(), Structure),
            ("rings", format!("{} → {}", switch.from_ring, switch.to_ring), Structure),
            ("verdict", verdict(&switch.findings), Structure),
            ("after", format!("#{}", switch.after), Value),
            ("task", numbered(switch.task), Value),
            ("TR", format!("{:04x} → {:04x}", switch.tr[0], switch.tr[1]), Value),
            ("ESP0 left", format!("{:08x}", switch.left.esp0), Value),
            ("ESP0 taken", format!("{:08x}", switch.loaded.esp0), Value),
        ],
        Record::Stack(stack) => vec![
            ("event", format!("a stack loaded by {}", stack.instruction), Structure),
            ("SS:ESP", format!("{:04x}:{:08x}", stack.after.ss, stack.after.esp), Value),
        ],
        Record::Console(console) => vec![
            ("event", "console output".into(), Structure),
            ("text", visible(console.bytes()), Value),
        ],
        Record::End(end) => vec![
            ("event", "the end".into(), Structure),
            ("ending", end.ending.clone(), Structure),
            ("verdict", end.verdict.to_string(), Structure),
            ("findings", verdict(&end.findings), Structure),
        ],
        Record::Header(_) | Record::Place(_) | Record::Returned(_) => Vec::new(),
    }
}

fn return_rows(returning: &ReturnRecord) -> Vec<Row> {
    let mut rows = vec![
        ("event", "IRET".into(), Part::Structure),
        ("rings", format!("{} → {}", returning.from_ring, returning.to_ring), Part::Structure),
        ("verdict", verdict(&returning.findings), Part::Structure),
        ("after", format!("#{}", returning.after), Part::Value),
        ("task", numbered(returning.task), Part::Value),
    ];
    frame(&mut rows, &returning.frame);
    rows
}

/// The words from the highest address to the lowest, as a stack is drawn.
fn frame(rows: &mut Vec<Row>, frame: &FrameRecord) {
    for (word, value) in frame.words.iter().rev() {
        let value = value.map_or("not mapped".into(), |value| format!("{value:08x}"));
        rows.push((word.name(), value, Part::Value));
    }
    rows.push(("frame at", format!("{:08x}", frame.address), Part::Value));
}

fn verdict(findings: &[FindingRecord]) -> String {
    if findings.is_empty() {
        return "ok".into();
    }
    let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    rules.join(", ")
}

/// An event in a few words.
pub(super) fn short(event: &Event) -> String {
    match &event.record {
        Record::Entry(entry) => format!(
            "#{} {} {}→{}",
            entry.sequence,
            event_name(entry.kind, entry.vector()),
            entry.from_ring,
            entry.to_ring
        ),
        Record::Return(returning) => format!("IRET {}→{}", returning.from_ring, returning.to_ring),
        other => rows(event).first().map_or(other.kind().into(), |(_, what, _)| what.clone()),
    }
}

/// Both events as the columns of a table; rows that differ are marked.
pub(super) fn side_by_side(names: [&str; 2], sides: [&Side; 2], differs: &[&str]) -> String {
    let nothing = || vec![("event", "nothing: the trace ends here".to_owned(), Part::Structure)];
    let columns = sides.map(|side| side.ahead.front().map_or_else(nothing, rows));
    let mut order: Vec<&'static str> = columns[0].iter().map(|(name, ..)| *name).collect();
    for (index, (name, ..)) in columns[1].iter().enumerate() {
        if !order.contains(name) {
            order.insert(index.min(order.len()), name);
        }
    }
    let cell = |side: usize, name: &str| {
        columns[side].iter().find(|(one, ..)| *one == name).map_or("", |(_, value, _)| value)
    };
    let width =
        order.iter().map(|name| cell(0, name).chars().count()).chain([names[0].chars().count()]);
    let width = width.max().unwrap_or(0).min(60);
    let mut text = String::new();
    let _ = writeln!(text, "  {:<13} {:<width$}  {}", "", names[0], names[1]);
    for name in order {
        let (left, right) = (cell(0, name), cell(1, name));
        let mark = match (left == right, differs.contains(&name)) {
            (_, true) => '>',
            (false, _) => '·',
            (true, _) => ' ',
        };
        let line = format!("{mark} {name:<13} {left:<width$}  {right}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
