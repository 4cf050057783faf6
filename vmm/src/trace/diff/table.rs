//! Events as rows of a table: what each is called, and what it says.

use super::same::is_same;
use super::side::{Event, Side};
use super::{Aspects, kept};
use crate::trace::line::numbered;
use crate::trace::schema::{FindingRecord, FrameRecord, Record, ReturnRecord, SwitchBy};
use crate::trace::{event_name, visible};
use ia32::Word;
use std::fmt::Write as _;

/// What differs between two events, as the rows of a table: their names. Empty if they are the same.
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
    let counts = |row: &&Row| row.kept.is_some() || aspects.values;
    let differs = |row: &Row, others: &[Row]| {
        let with = others.iter().find(|with| with.name == row.name);
        with.is_none_or(|with| with.kept != row.kept || aspects.values && with.shown != row.shown)
    };
    let missing = other.iter().filter(|row| one.iter().all(|with| with.name != row.name));
    let mut names: Vec<&'static str> =
        one.iter().filter(counts).filter(|row| differs(row, &other)).map(|row| row.name).collect();
    names.extend(missing.filter(counts).map(|row| row.name));
    // Of two different things all the rest differs, and says nothing.
    if names.is_empty() || names.contains(&"event") { vec!["event"] } else { names }
}

/// A row of the table.
struct Row {
    name: &'static str,
    shown: String,
    /// What of it counts in any case.
    kept: Option<String>,
}

/// A row that counts in any case.
fn structure(name: &'static str, shown: impl Into<String>) -> Row {
    let shown = shown.into();
    Row { name, kept: Some(shown.clone()), shown }
}

/// One that counts where values do.
fn value(name: &'static str, shown: impl Into<String>) -> Row {
    Row { name, shown: shown.into(), kept: None }
}

/// EFLAGS, of which the system's bits count in any case.
fn flags(name: &'static str, eflags: u32) -> Row {
    let kept = Some(kept::of_flags(eflags).to_string());
    Row { name, shown: format!("{eflags:08x}"), kept }
}

/// An event as rows of a table.
fn rows(event: &Event) -> Vec<Row> {
    let rings = |from: u8, to: u8| structure("rings", format!("{from} → {to}"));
    match &event.record {
        Record::Entry(entry) => {
            let mut rows = vec![
                structure("event", event_name(entry.kind, entry.vector())),
                rings(entry.from_ring, entry.to_ring),
                structure("verdict", verdict(&entry.findings)),
                value("entry", format!("#{}", entry.sequence)),
                value("task", numbered(entry.task)),
                value("at", event.names.interrupted.clone().unwrap_or_default()),
            ];
            frame(&mut rows, &entry.frame);
            let (kind, cs) = kept::of_gate(entry);
            rows.push(structure("gate", format!("type byte {kind:02x}, CS {cs:04x}")));
            let [ss, ss0, ds, es, fs, gs, tr] = kept::of_segments(entry);
            rows.push(structure("SS, SS0", format!("{ss:04x}, {ss0:04x}")));
            rows.push(structure(
                "segments",
                format!("DS {ds:04x} ES {es:04x} FS {fs:04x} GS {gs:04x} TR {tr:04x}"),
            ));
            rows.push(value("ESP0", format!("{:08x}", entry.esp0)));
            rows.push(flags("EFLAGS after", entry.eflags));
            let registers: [(&'static str, u32); 9] = [
                ("EAX", entry.eax),
                ("ECX", entry.ecx),
                ("EDX", entry.edx),
                ("EBX", entry.ebx),
                ("EBP", entry.ebp),
                ("ESI", entry.esi),
                ("EDI", entry.edi),
                ("CR2", entry.cr2),
                ("CR3", entry.cr3),
            ];
            rows.extend(registers.map(|(name, with)| value(name, format!("{with:08x}"))));
            rows
        }
        Record::Return(returning) => return_rows(returning),
        Record::Sysenter(entry) => vec![
            structure("event", "SYSENTER"),
            structure("verdict", verdict(&entry.findings)),
            value("after", format!("#{}", entry.after)),
            value("task", numbered(entry.task)),
            structure("CS, SS", format!("{:04x}, {:04x}", entry.cs, entry.ss)),
            value("EIP", format!("{:08x}", entry.eip)),
            value("ESP", format!("{:08x}", entry.esp)),
            flags("EFLAGS", entry.eflags),
        ],
        Record::Crossing(crossing) => {
            let (event, gate) = match crossing.gate {
                Some(gate) => ("an entry by a call gate", format!("{gate:04x}")),
                None => ("a far RET", String::new()),
            };
            let words: Vec<String> =
                crossing.words.iter().rev().map(|word| format!("{word:08x}")).collect();
            vec![
                structure("event", event),
                rings(crossing.from_ring, crossing.to_ring),
                structure("verdict", verdict(&crossing.findings)),
                value("after", format!("#{}", crossing.after)),
                value("task", numbered(crossing.task)),
                structure("gate", gate),
                structure("CS, SS", format!("{:04x}, {:04x}", crossing.cs, crossing.ss)),
                value("EIP", format!("{:08x}", crossing.eip)),
                value("ESP", format!("{:08x}", crossing.esp)),
                flags("EFLAGS", crossing.eflags),
                structure("parameters", crossing.parameters.to_string()),
                value("words, SS first", words.join(" ")),
            ]
        }
        Record::Switch(switch) => vec![
            structure(
                "event",
                match switch.by {
                    SwitchBy::Jump => "a task switch by a far jump".to_owned(),
                    SwitchBy::Iret => "a task switch by IRET".to_owned(),
                    SwitchBy::Gate => {
                        format!("an entry by the task gate of {:#04x}", switch.vector.unwrap_or(0))
                    }
                },
            ),
            rings(switch.from_ring, switch.to_ring),
            structure("verdict", verdict(&switch.findings)),
            value("after", format!("#{}", switch.after)),
            value("task", numbered(switch.task)),
            structure("TR", format!("{:04x} → {:04x}", switch.tr[0], switch.tr[1])),
            value("ESP0 left", format!("{:08x}", switch.left.esp0)),
            value("ESP0 taken", format!("{:08x}", switch.loaded.esp0)),
        ],
        Record::Stack(stack) => vec![
            structure("event", format!("a stack loaded by {}", stack.instruction)),
            value("SS:ESP", format!("{:04x}:{:08x}", stack.after.ss, stack.after.esp)),
        ],
        Record::Console(console) => {
            vec![structure("event", "console output"), value("text", visible(console.bytes()))]
        }
        Record::End(end) => vec![
            structure("event", "the end"),
            structure("ending", end.ending.clone()),
            structure("verdict", end.verdict.to_string()),
            structure("findings", verdict(&end.findings)),
            structure(
                "deviations",
                match &kept::of_deviations(end)[..] {
                    [] => "none".into(),
                    names => names.join(", "),
                },
            ),
        ],
        Record::Header(_) | Record::Place(_) | Record::Returned(_) | Record::Cause(_) => Vec::new(),
    }
}

fn return_rows(returning: &ReturnRecord) -> Vec<Row> {
    let mut rows = vec![
        structure("event", "IRET"),
        structure("rings", format!("{} → {}", returning.from_ring, returning.to_ring)),
        structure("verdict", verdict(&returning.findings)),
        value("after", format!("#{}", returning.after)),
        value("task", numbered(returning.task)),
    ];
    frame(&mut rows, &returning.frame);
    rows
}

/// The words from the highest address to the lowest, as a stack is drawn.
fn frame(rows: &mut Vec<Row>, frame: &FrameRecord) {
    for (word, with) in frame.words.iter().rev() {
        rows.push(match with {
            None => structure(word.name(), "not mapped"),
            Some(with) if *word == Word::Eflags => flags(word.name(), *with),
            Some(with) => Row {
                name: word.name(),
                shown: format!("{with:08x}"),
                kept: kept::of_word(*word, *with).map(|kept| format!("{kept:08x}")),
            },
        });
    }
    rows.push(value("frame at", format!("{:08x}", frame.address)));
}

/// What the rows that differ say, in sentences.
pub(super) fn sentences(names: [&str; 2], sides: [&Side; 2], differs: &[&str]) -> String {
    let columns = sides.map(|side| side.ahead.front().map_or_else(Vec::new, rows));
    let mut text = String::new();
    for name in differs.iter().filter(|name| **name != "event") {
        let row = |side: usize| columns[side].iter().find(|row| row.name == *name);
        let [Some(one), Some(other)] = [row(0), row(1)] else { continue };
        let flags = name.starts_with("EFLAGS") && one.kept != other.kept;
        let said = |row: &Row| match &row.kept {
            Some(kept) if flags => format!("{} ({kept})", row.shown),
            _ => row.shown.clone(),
        };
        let what = if flags { changed_flags(&one.shown, &other.shown) } else { String::new() };
        let _ = writeln!(
            text,
            "{name} differs{what}: {} in {}, {} in {}",
            said(one),
            names[0],
            said(other),
            names[1]
        );
    }
    text
}

/// ` in RF`.
fn changed_flags(one: &str, other: &str) -> String {
    let digits = |text: &str| u32::from_str_radix(text, 16).unwrap_or(0);
    format!(" in {}", kept::of_flags(digits(one) ^ digits(other)))
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
        other => rows(event).first().map_or(other.kind().into(), |row| row.shown.clone()),
    }
}

/// Both events as the columns of a table; rows that differ are marked.
pub(super) fn side_by_side(names: [&str; 2], sides: [&Side; 2], differs: &[&str]) -> String {
    let nothing = || vec![structure("event", "nothing: the trace ends here")];
    let columns = sides.map(|side| side.ahead.front().map_or_else(nothing, rows));
    let mut order: Vec<&'static str> = columns[0].iter().map(|row| row.name).collect();
    for (index, row) in columns[1].iter().enumerate() {
        if !order.contains(&row.name) {
            order.insert(index.min(order.len()), row.name);
        }
    }
    let cell = |side: usize, name: &str| {
        columns[side].iter().find(|row| row.name == name).map_or("", |row| row.shown.as_str())
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
