//! Prints a trace as its run was printed.

use super::schema::{EndRecord, EntryRecord, FindingRecord, PlaceUse, Record};
use super::summary::{summary, verdict_line};
use super::terminal::Terminal;
use super::{FrameNames, KnownPlaces, ReadError, Style, Told, TraceReader};
use crate::check::Degree;
use ia32::Word;
use std::io::{self, BufRead, Write};

/// How showing a trace came out.
#[derive(Debug)]
pub struct Shown {
    /// It had its end.
    pub whole: bool,
    /// The last line that was read.
    pub line: usize,
    /// The first error of the output.
    pub unwritten: Option<io::Error>,
}

/// Prints what `trace` has to `out`.
///
/// # Errors
/// [`ReadError`] if a line cannot be read; what came before it has been printed.
pub fn show<R: BufRead>(
    mut trace: TraceReader<R>,
    out: impl Write,
    style: Style,
    columns: Option<usize>,
) -> Result<Shown, ReadError> {
    let mut terminal = Terminal::new(out);
    terminal.set_style(style);
    terminal.set_columns(columns);
    let mut show =
        Show { terminal, places: KnownPlaces::default(), told: Told::default(), last: 0 };
    let mut end = None;
    let read = loop {
        match trace.next_record() {
            Ok(Some(record)) => end = show.record(record),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    show.terminal.end();
    if let Some(end) = end {
        if !style.quiet {
            let text = summary(trace.header(), &end, &show.told, style.colour);
            show.terminal.print(&format!("\n{text}"));
        }
        show.terminal.print(&format!("{}\n", verdict_line(&end, trace.header())));
    }
    show.terminal.show();
    read?;
    Ok(Shown { whole: trace.is_whole(), line: trace.line(), unwritten: show.terminal.error.take() })
}

struct Show<W> {
    terminal: Terminal<W>,
    places: KnownPlaces,
    told: Told<FindingRecord>,
    /// The last entry.
    last: u64,
}

impl<W: Write> Show<W> {
    /// Prints a record; the end is given back.
    fn record(&mut self, record: Record) -> Option<EndRecord> {
        match record {
            Record::Header(_) => {}
            Record::Place(place) => self.places.learn(place),
            Record::Stack(stack) => {
                if self.terminal.tells_events() {
                    self.terminal.stack(&stack);
                }
            }
            Record::Entry(entry) => {
                self.last = entry.sequence;
                if self.terminal.tells_events() {
                    let names = frame_names(&self.places, &entry);
                    let name = names.interrupted.clone();
                    let news = self.is_news(&entry.findings, &entry.notes);
                    self.terminal.entry(&entry, news, name.as_deref(), || names);
                }
                self.tell(&entry.findings, &entry.notes);
            }
            Record::Return(returning) => {
                if self.terminal.wants_returns() {
                    self.terminal.leave(&returning);
                }
                self.tell(&returning.findings, &returning.notes);
            }
            Record::Returned(returned) => self.tell(&returned.findings, &returned.notes),
            Record::Sysenter(entry) => {
                if self.terminal.tells_events() {
                    let news = self.is_news(&entry.findings, &entry.notes);
                    self.terminal.sysenter(&entry, news);
                }
                self.tell(&entry.findings, &entry.notes);
            }
            Record::Switch(switch) => {
                if self.terminal.tells_events() {
                    let news = self.is_news(&switch.findings, &switch.notes);
                    self.terminal.switch(&switch, news);
                }
                self.tell(&switch.findings, &switch.notes);
            }
            Record::Console(console) => self.terminal.console(console.bytes()),
            Record::End(end) => {
                self.terminal.end();
                self.tell(&end.findings, &end.notes);
                return Some(*end);
            }
        }
        None
    }

    fn is_news(&self, findings: &[FindingRecord], notes: &[FindingRecord]) -> bool {
        findings.iter().chain(notes).any(|finding| self.told.is_news_record(finding))
    }

    fn tell(&mut self, findings: &[FindingRecord], notes: &[FindingRecord]) {
        let lists = [(findings, Degree::Fault), (notes, Degree::Note)];
        for (finding, degree) in
            lists.iter().flat_map(|(list, degree)| list.iter().map(move |one| (one, *degree)))
        {
            if self.told.tell_record(finding, degree, self.last) {
                self.terminal.finding(finding, degree);
            }
        }
    }
}

/// The names of what a frame holds, as far as the trace has told them.
pub(super) fn frame_names(places: &KnownPlaces, entry: &EntryRecord) -> FrameNames {
    let top = |address| places.find(PlaceUse::Top, 0, address).map(|place| place.short());
    FrameNames {
        interrupted: (entry.eip())
            .and_then(|eip| places.find(PlaceUse::Interrupted, entry.task, eip))
            .map(ToString::to_string),
        top: top(entry.frame.end()),
        esp: entry.frame.get(Word::Esp).and_then(top),
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::samples;
    use super::super::schema::{RecordVerdict, SwitchRecord, SysenterRecord};
    use super::*;
    use crate::entry::Kind;

    /// An entry by the timer's interrupt.
    fn tick(sequence: u64) -> EntryRecord {
        let records = samples::all().into_iter();
        let mut found = records.filter_map(|record| match record {
            Record::Entry(entry) if entry.findings.is_empty() => Some(*entry),
            _ => None,
        });
        let entry = found.next_back().expect("there are entries");
        EntryRecord { sequence, kind: Kind::External, vector: 0x20, from_ring: 3, task: 1, ..entry }
    }

    fn fault(sequence: u64) -> EntryRecord {
        EntryRecord { kind: Kind::Fault, vector: 14, ..tick(sequence) }
    }

    fn remark(sentence: &str) -> FindingRecord {
        let records = samples::all().into_iter();
        let mut found = records.filter_map(|record| match record {
            Record::Entry(entry) => entry.findings.into_iter().next(),
            _ => None,
        });
        let finding = found.next().expect("one has a finding");
        FindingRecord { sentence: sentence.into(), difference: None, ..finding }
    }

    fn with_note(entry: EntryRecord, sentence: &str) -> EntryRecord {
        EntryRecord { notes: vec![remark(sentence)], ..entry }
    }

    fn with_finding(entry: EntryRecord, sentence: &str) -> EntryRecord {
        let findings = vec![remark(sentence)];
        EntryRecord { findings, verdict: RecordVerdict::Finding, ..entry }
    }

    fn switch() -> SwitchRecord {
        let records = samples::all().into_iter();
        let mut found = records.filter_map(|record| match record {
            Record::Switch(switch) => Some(*switch),
            _ => None,
        });
        found.next().expect("there is one")
    }

    fn sysenter() -> SysenterRecord {
        let records = samples::all().into_iter();
        let mut found = records.filter_map(|record| match record {
            Record::Sysenter(entry) => Some(*entry),
            _ => None,
        });
        found.next().expect("there is one")
    }

    fn printed(records: impl IntoIterator<Item = Record>, style: Style) -> Vec<String> {
        let mut terminal = Terminal::new(Vec::new());
        terminal.set_style(Style { frames: super::super::Frames::None, ..style });
        let (places, told) = (KnownPlaces::default(), Told::default());
        let mut show = Show { terminal, places, told, last: 0 };
        for record in records {
            show.record(record);
        }
        show.terminal.end();
        let text = String::from_utf8(show.terminal.output().clone()).expect("it is text");
        text.lines().map(str::to_owned).collect()
    }

    fn entries(entries: impl IntoIterator<Item = EntryRecord>, style: Style) -> Vec<String> {
        printed(entries.into_iter().map(|entry| Record::Entry(Box::new(entry))), style)
    }

    #[test]
    fn a_note_that_has_been_told_keeps_no_entry_from_being_folded() {
        let all =
            || (1..=100).map(|n| with_note(tick(n), &format!("the gate of #{n} is a trap gate")));
        let lines = entries(all(), Style::default());
        let told = lines.iter().filter(|line| line.starts_with("note: ")).count();
        assert_eq!(told, 1, "{lines:#?}");
        let last = "     2 … 100  99 × external 0x20: all ok; 99 with notes told before; task 1";
        assert_eq!(lines.last().map(String::as_str), Some(last), "{lines:#?}");
        let each = entries(all(), Style { all: true, ..Style::default() });
        assert_eq!(each.iter().filter(|line| line.contains("external 0x20")).count(), 100);
    }

    #[test]
    fn what_is_new_has_a_line_wherever_it_comes() {
        let mut all: Vec<_> = (1..=100).map(tick).collect();
        all[49] = with_note(tick(50), "a word of another kind");
        all[74] = with_finding(tick(75), "a fault");
        let lines = entries(all, Style::default());
        let starts = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
        for start in
            ["     2 … 49  ", "    50  task 1", "    51 … 74  ", "    75  task 1", "    76 … 100  "]
        {
            assert_eq!(starts(start), 1, "{start:?} in {lines:#?}");
        }
    }

    #[test]
    fn exceptions_of_a_kind_are_shown_some_times_and_those_by_another_gate_again() {
        let other = |entry: EntryRecord| EntryRecord { gate: entry.gate ^ 4, ..entry };
        let lines = entries(
            (1..=50).map(fault).chain((51..=99).map(|n| other(fault(n)))),
            Style::default(),
        );
        let own = lines.iter().filter(|line| line.contains("task 1  #PF")).count();
        assert_eq!(own, 16, "{lines:#?}");
        for fold in
            ["     9 … 50  42 × #PF: all ok; task 1", "    59 … 99  41 × #PF: all ok; task 1"]
        {
            assert!(lines.iter().any(|line| line == fold), "{fold:?} in {lines:#?}");
        }
    }

    #[test]
    fn what_is_printed_does_not_grow_with_the_run() {
        let run = |length: u64| {
            let records = (1..=length).flat_map(|n| {
                let entry = match n % 6 {
                    0 => with_note(tick(n), "unusual"),
                    1 => with_finding(tick(n), &format!("wrong in #{n}")),
                    2 => fault(n),
                    3 => with_finding(fault(n), "wrong"),
                    // A gate that is another each time.
                    4 => EntryRecord { gate: n << 48, ..fault(n) },
                    _ => tick(n),
                };
                let findings = vec![remark("wrong too")];
                [
                    Record::Entry(Box::new(entry)),
                    Record::Switch(Box::new(SwitchRecord { notes: findings.clone(), ..switch() })),
                    Record::Sysenter(Box::new(SysenterRecord { findings, ..sysenter() })),
                ]
            });
            printed(records, Style::default())
        };
        let (short, long) = (run(1000), run(4000));
        assert_eq!(short.len(), long.len(), "{:#?}", long.last());
        let last = long.last().expect("something is printed");
        assert!(last.contains("with findings told before, the others ok"), "{last}");
        assert!(last.contains(" × jmp far to a task: "), "{last}");
    }
}
