//! Prints a trace as its run was printed.

use super::line::{entry_line, heading};
use super::report::KEPT;
use super::schema::{CauseRecord, EndRecord, EntryRecord, FindingRecord, PlaceUse, Record};
use super::screen::screen;
use super::summary::{summary, verdict_line};
use super::terminal::Terminal;
use super::{FrameNames, KnownPlaces, ReadError, Style, Told, TraceReader, cause_text, registers};
use crate::check::Degree;
use ia32::Word;
use std::collections::VecDeque;
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
    let mut show = Show::new(terminal);
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
        let failure = registers::failure(&end, &show.recent(), style.colour);
        show.terminal.print(&failure);
        if !style.quiet {
            let text = summary(trace.header(), &end, &show.told, style.colour);
            let unanswered: String =
                end.unanswered.iter().map(|line| format!("{line}\n")).collect();
            let screen = screen(end.screen.as_ref());
            show.terminal.print(&format!("{screen}\n{text}{unanswered}"));
        }
        let causes = show.causes();
        show.terminal.print(&causes);
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
    /// The last entries, with the names of what they interrupted.
    recent: VecDeque<(Box<EntryRecord>, Option<String>)>,
    causes: Vec<CauseRecord>,
}

impl<W: Write> Show<W> {
    fn new(terminal: Terminal<W>) -> Self {
        let (places, told) = (KnownPlaces::default(), Told::default());
        let (recent, causes) = (VecDeque::new(), Vec::new());
        Show { terminal, places, told, last: 0, recent, causes }
    }

    /// The last entries, oldest first, as lines.
    fn recent(&self) -> String {
        let colour = self.terminal.style().colour;
        if self.recent.is_empty() {
            return "none was seen\n".into();
        }
        let mut text = format!("{}\n", colour.dim(heading()));
        for (entry, name) in &self.recent {
            text += &entry_line(entry, name.as_deref(), colour);
            text.push('\n');
        }
        text
    }

    /// What was found out about causes: each sentence once. With returns the code to look at is told too.
    fn causes(&self) -> String {
        if self.terminal.style().returns {
            let told = |cause: &CauseRecord| format!("{}:\n{}", cause.sentence, cause_text(cause));
            return self.causes.iter().map(told).collect();
        }
        let mut told: Vec<&str> = Vec::new();
        for answer in self.causes.iter().flat_map(CauseRecord::answers) {
            if !told.contains(&answer) {
                told.push(answer);
            }
        }
        told.iter().map(|answer| format!("{answer}\n")).collect()
    }

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
                let names = frame_names(&self.places, &entry);
                let name = names.interrupted.clone();
                if self.terminal.tells_events() {
                    let news = self.is_news(&entry.findings, &entry.notes);
                    self.terminal.entry(&entry, news, name.as_deref(), || names);
                }
                self.tell(&entry.findings, &entry.notes);
                if self.recent.len() == KEPT {
                    self.recent.pop_front();
                }
                self.recent.push_back((entry, name));
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
            Record::Crossing(crossing) => {
                if self.terminal.tells_events() {
                    let news = self.is_news(&crossing.findings, &crossing.notes);
                    self.terminal.crossing(&crossing, news);
                }
                self.tell(&crossing.findings, &crossing.notes);
            }
            Record::Switch(switch) => {
                if self.terminal.tells_events() {
                    let news = self.is_news(&switch.findings, &switch.notes);
                    self.terminal.switch(&switch, news);
                }
                self.tell(&switch.findings, &switch.notes);
            }
            Record::Console(console) => self.terminal.console(console.bytes()),
            Record::Cause(cause) => self.causes.push(*cause),
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
    use super::super::schema::{HeaderRecord, RecordVerdict, SwitchRecord, SysenterRecord};
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
        let mut show = Show::new(terminal);
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

    #[test]
    fn the_end_of_a_guest_that_failed_is_told_and_what_was_found_out_once() {
        let cause = samples::all().into_iter().find_map(|record| match record {
            Record::Cause(cause) => Some(cause),
            _ => None,
        });
        let cause = cause.expect("there is one");
        let other = CauseRecord { sentence: "another".into(), ..*cause.clone() };
        let mut trace = Record::Header(HeaderRecord::new()).to_line();
        for record in [
            Record::Entry(Box::new(tick(7))),
            Record::Cause(cause),
            Record::Cause(Box::new(other)),
            Record::End(Box::new(samples::end())),
        ] {
            trace.extend(record.to_line());
        }
        let text = |style: Style| {
            let mut out = Vec::new();
            let trace = TraceReader::new(&*trace).expect("it has a header");
            show(trace, &mut out, style, None).expect("it can be read");
            String::from_utf8(out).expect("it is text")
        };
        let plain = text(Style::default());
        let (_, rest) = plain.split_once("\nthe last entries:\n").expect("they are told");
        for part in [
            "7  task 1  external 0x20",
            "\nthe registers just before:\n  EAX 00000000",
            "CS:EIP 0000:00100250 timer+12 (kernel.c:40)  SS",
            "\nscreen (80 x 25 at 0xb8000)\n  │panic\n",
            "\nnobody there port 0x92: read once, first by 00100250\n",
            "\nf0001004 was written by `mov`\n`ret` led there\nverdict: findings ",
        ] {
            assert!(rest.contains(part), "no {part:?} in {plain}");
        }
        assert_eq!(plain.matches("was written by").count(), 1, "{plain}");
        let verbose = text(Style { returns: true, ..Style::default() });
        assert!(verbose.contains("\na sentence:\n     f0001004 was written by `mov`"), "{verbose}");
        assert!(verbose.contains("►   40      tick();"), "{verbose}");
    }
}
