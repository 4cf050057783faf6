//! Holds two traces against each other, and explains where they part.
//!
//! They are aligned by their structure: which events came in which order, with which vector and rings, and what the
//! rules said. Time and addresses are no part of it, so two builds of a kernel, two kernels that are to do the same,
//! or one kernel on two processors can be compared. With [`Aspects::values`] the pushed words and registers count
//! too, which holds for the same kernel on the same clock only.
//!
//! ```text
//!  one    … int 80   iret   ext 20   iret   int 80 …
//!  other  … int 80   iret   #PF      iret   ext 20   iret   int 80 …
//!                           ▲ the first divergence       ▲ where they go on alike
//! ```

use super::line::numbered;
use super::schema::{
    EntryRecord, FindingRecord, FrameRecord, Record, ReturnRecord, SysenterRecord,
};
use super::{KnownPlaces, ReadError, TraceReader, event_name, show::frame_names};
use crate::entry::Kind;
use ia32::Word;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::BufRead;

/// How far behind a divergence it is looked for a place from which both go on alike.
const AHEAD: usize = 200;
/// How many events have to be alike there.
const ALIKE: usize = 6;
/// How many events before a divergence are shown.
const BEFORE: usize = 3;

/// What is compared beside the order of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aspects {
    /// Words of frames, registers, tasks, and the console.
    pub values: bool,
    /// External interrupts are passed over, and the returns from them: they come when a timer says so.
    pub without_interrupts: bool,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Events that are the same in both.
    pub same: u64,
    /// Where they part, in words; none if they do not.
    pub divergence: Option<String>,
}

/// Compares two traces, called by these names.
///
/// # Errors
/// [`ReadError`] and which one, if a line cannot be read.
pub fn diff<A: BufRead, B: BufRead>(
    mut traces: (TraceReader<A>, TraceReader<B>),
    names: [&str; 2],
    aspects: Aspects,
) -> Result<Difference, (usize, ReadError)> {
    let (mut one, mut other) = (Side::default(), Side::default());
    let mut same = 0;
    loop {
        one.fill(&mut traces.0, aspects, 1).map_err(|error| (0, error))?;
        other.fill(&mut traces.1, aspects, 1).map_err(|error| (1, error))?;
        let (next, others) = (one.ahead.front(), other.ahead.front());
        let (next, others) = match (next, others) {
            (None, None) => return Ok(Difference { same, divergence: None }),
            pair => pair,
        };
        let differs = difference(next, others, aspects);
        if differs.is_empty() {
            same += u64::from(next.is_some_and(|event| event.record.kind() != "end"));
            one.pass();
            other.pass();
            continue;
        }
        one.fill(&mut traces.0, aspects, AHEAD).map_err(|error| (0, error))?;
        other.fill(&mut traces.1, aspects, AHEAD).map_err(|error| (1, error))?;
        let headers = [traces.0.header(), traces.1.header()];
        let mut text = String::new();
        for (name, header) in names.iter().zip(headers) {
            let _ = writeln!(
                text,
                "{name}: {} on {}: {}",
                header.kernel, header.authority, header.backend
            );
        }
        text.push_str(&explain(names, [&one, &other], &differs, same, aspects));
        return Ok(Difference { same, divergence: Some(text) });
    }
}

/// An event and the line it stands in.
#[derive(Debug)]
struct Event {
    record: Record,
    line: usize,
    /// What its frame holds, in words.
    interrupted: Option<String>,
}

/// One of the two traces, as far as it has been read.
#[derive(Debug, Default)]
struct Side {
    ahead: VecDeque<Event>,
    /// The last events that were the same.
    before: VecDeque<Event>,
    places: KnownPlaces,
    /// Where external interrupts that have not been returned from came in: what their frames lie at.
    interrupts: Vec<u32>,
    /// Lines are only there to be passed over.
    ended: bool,
}

impl Side {
    /// Reads until `count` events are ahead, or the trace is over.
    fn fill<R: BufRead>(
        &mut self,
        trace: &mut TraceReader<R>,
        aspects: Aspects,
        count: usize,
    ) -> Result<(), ReadError> {
        while self.ahead.len() < count && !self.ended {
            let Some(record) = trace.next_record()? else {
                self.ended = true;
                break;
            };
            let interrupted = match &record {
                Record::Place(place) => {
                    self.places.learn(place.clone());
                    continue;
                }
                Record::Returned(_) | Record::Header(_) => continue,
                Record::Console(_) if !aspects.values => continue,
                Record::Entry(entry) if aspects.without_interrupts && is_external(entry) => {
                    self.interrupts.push(entry.frame.address);
                    continue;
                }
                Record::Return(returning) if aspects.without_interrupts => {
                    let address = returning.frame.address;
                    match self.interrupts.iter().rposition(|one| *one == address) {
                        Some(index) => {
                            self.interrupts.remove(index);
                            continue;
                        }
                        None => None,
                    }
                }
                Record::Entry(entry) => frame_names(&self.places, entry).interrupted,
                _ => None,
            };
            self.ahead.push_back(Event { record, line: trace.line(), interrupted });
        }
        Ok(())
    }

    fn pass(&mut self) {
        if let Some(event) = self.ahead.pop_front() {
            if self.before.len() == BEFORE {
                self.before.pop_front();
            }
            self.before.push_back(event);
        }
    }
}

fn is_external(entry: &EntryRecord) -> bool {
    entry.kind == Kind::External
}

/// What differs between two events, as the rows of a table: name, and what each has. Empty if they are the same.
fn difference(one: Option<&Event>, other: Option<&Event>, aspects: Aspects) -> Vec<&'static str> {
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

/// Whether two records are the same, as far as is asked.
fn is_same(one: &Record, other: &Record, aspects: Aspects) -> bool {
    let said = |one: &[FindingRecord], other: &[FindingRecord]| {
        one.iter().map(|one| &one.rule).eq(other.iter().map(|one| &one.rule))
    };
    match (one, other) {
        (Record::Entry(one), Record::Entry(other)) => {
            let structure = one.kind == other.kind
                && (one.vector, one.from_ring, one.to_ring, one.verdict)
                    == (other.vector, other.from_ring, other.to_ring, other.verdict)
                && said(&one.findings, &other.findings)
                && words(&one.frame).eq(words(&other.frame));
            structure && (!aspects.values || same_values(one, other))
        }
        (Record::Return(one), Record::Return(other)) => {
            let structure = (one.from_ring, one.to_ring, one.verdict)
                == (other.from_ring, other.to_ring, other.verdict)
                && said(&one.findings, &other.findings);
            let values = one.frame == other.frame && one.task == other.task;
            structure && (!aspects.values || values)
        }
        (Record::Sysenter(one), Record::Sysenter(other)) => {
            let structure = one.verdict == other.verdict && said(&one.findings, &other.findings);
            let values = |one: &SysenterRecord| (one.cs, one.eip, one.ss, one.esp, one.eflags);
            structure && (!aspects.values || values(one) == values(other))
        }
        (Record::Switch(one), Record::Switch(other)) => {
            let structure = (one.from_ring, one.to_ring, one.verdict)
                == (other.from_ring, other.to_ring, other.verdict)
                && said(&one.findings, &other.findings);
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
                && said(&one.findings, &other.findings)
        }
        _ => false,
    }
}

fn words(frame: &FrameRecord) -> impl Iterator<Item = Word> {
    frame.words.iter().map(|(word, _)| *word)
}

/// The same but for time, names, and what is known of the state before.
fn same_values(one: &EntryRecord, other: &EntryRecord) -> bool {
    let plain = |entry: &EntryRecord| EntryRecord {
        time: 0,
        cr0: None,
        cr4: None,
        before: None,
        exact: None,
        origin: super::schema::OriginName::Frame,
        findings: Vec::new(),
        notes: Vec::new(),
        deviations: Vec::new(),
        ..entry.clone()
    };
    plain(one) == plain(other)
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
            ("text", super::visible(console.bytes()), Value),
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
fn short(event: &Event) -> String {
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

/// The first divergence, with both events side by side.
fn explain(
    names: [&str; 2],
    sides: [&Side; 2],
    differs: &[&str],
    same: u64,
    aspects: Aspects,
) -> String {
    let mut text = String::new();
    let places = [0, 1].map(|side| match sides[side].ahead.front() {
        Some(event) => format!("line {} of {}", event.line, names[side]),
        None => format!("the end of {}, which was cut off", names[side]),
    });
    let _ = writeln!(text, "the same at first: {same} events");
    let _ = writeln!(
        text,
        "the first divergence: {} and {}: {} {}",
        places[0],
        places[1],
        differs.join(", "),
        if differs.len() == 1 { "differs" } else { "differ" }
    );
    let before: Vec<String> = sides[0].before.iter().map(short).collect();
    if !before.is_empty() {
        let _ = writeln!(text, "right before it, in both: {}", before.join(", "));
    }
    let _ = writeln!(text);
    text.push_str(&side_by_side(names, sides, differs));
    if let Some((skipped, others)) = resume(sides, aspects) {
        let _ = writeln!(text);
        for (name, (side, count)) in names
            .iter()
            .zip(sides.iter().zip([skipped, others]))
            .filter(|(_, (_, count))| *count > 0)
        {
            let events: Vec<String> = side.ahead.iter().take(count.min(4)).map(short).collect();
            let more = if count > 4 { ", …" } else { "" };
            let _ = writeln!(
                text,
                "only in {name}: {count} event{}: {}{more}",
                if count == 1 { "" } else { "s" },
                events.join(", ")
            );
        }
        let place = |side: &Side, at: usize| side.ahead.get(at).map_or(0, |event| event.line);
        let _ = writeln!(
            text,
            "they go on alike from line {} and line {}",
            place(sides[0], skipped),
            place(sides[1], others)
        );
    } else {
        let _ = writeln!(text, "\nwithin the next {AHEAD} events they do not meet again");
    }
    text
}

/// Both events as the columns of a table; rows that differ are marked.
fn side_by_side(names: [&str; 2], sides: [&Side; 2], differs: &[&str]) -> String {
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

/// How many events of each are to be passed over until both go on alike for a while: the fewest in all.
fn resume(sides: [&Side; 2], aspects: Aspects) -> Option<(usize, usize)> {
    let [one, other] = sides.map(|side| &side.ahead);
    let alike = |skip: usize, others: usize| {
        let run = ALIKE.min(one.len().saturating_sub(skip)).min(other.len().saturating_sub(others));
        let ends = skip + run == one.len() && others + run == other.len();
        let same = |at: usize| is_same(&one[skip + at].record, &other[others + at].record, aspects);
        (run == ALIKE || (run > 0 && ends)) && (0..run).all(same)
    };
    let most = one.len() + other.len();
    (1..most).find_map(|sum| {
        let from = sum.saturating_sub(other.len());
        (from..=sum.min(one.len())).map(|skip| (skip, sum - skip)).find(|(a, b)| alike(*a, *b))
    })
}

#[cfg(test)]
mod tests {
    use super::super::schema::{EndRecord, HeaderRecord, samples};
    use super::*;

    /// A trace of entries by these vectors, each with its return.
    fn trace(vectors: &[u8], eax: u32) -> Vec<u8> {
        let mut bytes = Record::Header(HeaderRecord::new()).to_line();
        for (sequence, vector) in (1..).zip(vectors) {
            let mut words = [1; 40];
            words[20] = 0x50;
            let (entry, _) = samples::some_entry(words, [sequence, 10 * sequence], 1);
            let kind = if *vector == 0x20 { Kind::External } else { Kind::Software };
            let record = EntryRecord { vector: *vector, kind, eax, ..EntryRecord::new(&entry, 1) };
            bytes.extend(Record::Entry(Box::new(record)).to_line());
            let (returning, _) = samples::some_return(words, [sequence, 10 * sequence + 1], 1);
            bytes.extend(Record::Return(Box::new(ReturnRecord::new(&returning, 1))).to_line());
        }
        let end = EndRecord { findings: Vec::new(), ..samples::end() };
        bytes.extend(Record::End(Box::new(end)).to_line());
        bytes
    }

    fn compared(one: &[u8], other: &[u8], aspects: Aspects) -> Difference {
        let traces = (TraceReader::new(one).unwrap(), TraceReader::new(other).unwrap());
        diff(traces, ["one", "other"], aspects).unwrap()
    }

    const STRUCTURE: Aspects = Aspects { values: false, without_interrupts: false };
    const VALUES: Aspects = Aspects { values: true, without_interrupts: false };

    #[test]
    fn a_trace_does_not_differ_from_itself() {
        let one = trace(&[0x80, 0x20, 0x80], 1);
        for aspects in [STRUCTURE, VALUES] {
            assert_eq!(compared(&one, &one, aspects), Difference { same: 6, divergence: None });
        }
    }

    #[test]
    fn registers_count_where_values_are_asked_for() {
        let (one, other) = (trace(&[0x80, 0x80], 1), trace(&[0x80, 0x80], 2));
        assert_eq!(compared(&one, &other, STRUCTURE).divergence, None);
        let text = compared(&one, &other, VALUES).divergence.unwrap();
        assert!(text.contains("EAX differs"), "{text}");
        assert!(text.contains("> EAX           00000001"), "{text}");
    }

    #[test]
    fn what_only_one_has_is_named_and_where_they_go_on() {
        let one = trace(&[0x80, 0x80, 0x20, 0x80, 0x80, 0x81, 0x80, 0x80], 1);
        let other = trace(&[0x80, 0x80, 0x80, 0x80, 0x81, 0x80, 0x80], 1);
        let difference = compared(&one, &other, STRUCTURE);
        assert_eq!(difference.same, 4);
        let text = difference.divergence.unwrap();
        for part in [
            "line 6 of one and line 6 of other: event differs",
            "right before it, in both: IRET",
            "> event         external 0x20",
            "only in one: 2 events: #3 external 0x20",
            "they go on alike from line 8 and line 6",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        let without = Aspects { without_interrupts: true, ..STRUCTURE };
        assert_eq!(compared(&one, &other, without).divergence, None);
    }

    #[test]
    fn a_trace_that_was_cut_off_differs_from_the_whole_one() {
        let one = trace(&[0x80, 0x80], 1);
        let cut = &one[..one.len() - 2];
        let text = compared(&one, cut, STRUCTURE).divergence.unwrap();
        assert!(text.contains("the end of other, which was cut off"), "{text}");
        assert!(text.contains("nothing: the trace ends here"), "{text}");
    }
}
