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
                    self.terminal.entry(&entry, name.as_deref(), || names);
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
                    self.terminal.sysenter(&entry);
                }
                self.tell(&entry.findings, &entry.notes);
            }
            Record::Switch(switch) => {
                if self.terminal.tells_events() {
                    self.terminal.switch(&switch);
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
