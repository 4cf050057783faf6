//! The sinks of a run that `esp0 run` has: terminal, trace, the console byte for byte.
//!
//! Each is fed with the same judged events and fails by itself: it gets nothing more, the run and the others go
//! on, and the end tells what is not whole.

use super::described::{self, Judgeable, Where};
use super::line::{entry_line, heading};
use super::names::{Names, interrupted};
use super::places::Places;
use super::schema::{
    EndRecord, EntryRecord, HeaderRecord, Record, ReturnRecord, ReturnedRecord, StackRecord,
    SwitchRecord, SysenterRecord,
};
use super::summary::{ending_in_words, summary, verdict_line};
use super::terminal::Terminal;
use super::{Colour, FrameNames, JsonLines, Style, Told};
use crate::check::diagnosis::Aftermath;
use crate::check::{Degree, Judge, Judged, Judgement, Sink};
use crate::entry::{Entry, Return, Returned, Sysenter, TaskSwitch};
use crate::machine::Machine;
use crate::probe::{Census, Probes};
use crate::report::Recorder;
use crate::symbols::Symbols;
use ia32::Word;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// How many lines a failure shows.
const KEPT: usize = 8;

/// Prints judged events, and writes the trace.
pub struct Report<W: Write> {
    header: HeaderRecord,
    terminal: Terminal<W>,
    trace: Option<JsonLines>,
    /// What a page shows and the trace alone has not.
    recorder: Option<Recorder>,
    /// The names that the trace has.
    places: Places,
    /// Where the console goes byte for byte.
    console_file: Option<BufWriter<File>>,
    names: Names,
    /// What has been told already.
    told: Told,
    /// The last entries; the slot of an entry is its number modulo their count.
    recent: [Option<(Entry, Judgement)>; KEPT],
    end: Option<EndRecord>,
    /// Files that failed.
    lost: Vec<Lost>,
}

/// Somewhere that a report is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The text.
    Text,
    /// The trace.
    Trace,
    /// The console, byte for byte.
    Console,
}

/// An output that took no more, and why: what came after that is not in it. The others and the run went on.
#[derive(Debug)]
pub struct Lost {
    /// Which.
    pub output: Output,
    /// What the operating system said.
    pub error: io::Error,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error.kind() {
            io::ErrorKind::BrokenPipe => f.write_str("its reader left"),
            _ => self.error.fmt(f),
        }
    }
}

impl<W: Write> Report<W> {
    /// A report that prints to `out`; the header is the trace's first line.
    pub fn new(out: W, header: HeaderRecord) -> Self {
        Report {
            header,
            terminal: Terminal::new(out),
            trace: None,
            recorder: None,
            places: Places::default(),
            console_file: None,
            names: Names::default(),
            told: Told::default(),
            recent: [const { None }; KEPT],
            end: None,
            lost: Vec::new(),
        }
    }

    /// Writes all events to `trace` too.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<JsonLines>) -> Self {
        self.trace = trace;
        self
    }

    /// Writes into the trace what a page shows beside it.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Option<Recorder>) -> Self {
        self.recorder = recorder;
        self
    }

    /// What was kept for a page.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Writes what a page shows and is known only now that the run is over: before
    /// [`conclude`](Report::conclude).
    pub fn record_last(&mut self, machine: &Machine, probes: &Probes) {
        let lines = self.recorder.as_mut().map(|recorder| recorder.finish(machine, probes));
        self.lines(&lines.unwrap_or_default());
    }

    fn lines(&mut self, lines: &[u8]) {
        if let Some(trace) = &mut self.trace {
            let written = trace.lines(lines);
            self.keep(Output::Trace, written);
        }
    }

    /// How the text looks.
    #[must_use]
    pub fn with_style(mut self, style: Style) -> Self {
        self.terminal.set_style(style);
        self
    }

    /// The console goes out as it comes, for somebody who types at it.
    #[must_use]
    pub fn with_raw_console(mut self) -> Self {
        self.terminal.set_raw_console();
        self
    }

    /// Addresses get the names that these symbols give.
    #[must_use]
    pub fn with_symbols(mut self, symbols: Symbols) -> Self {
        self.names = Names::new(symbols);
        self
    }

    /// Writes the console's bytes to `file` too, as they come.
    #[must_use]
    pub fn with_console_file(mut self, file: Option<File>) -> Self {
        self.console_file = file.map(BufWriter::new);
        self
    }

    /// The text goes to a terminal of so many columns: no line of the guest's is longer, and findings are
    /// broken between words.
    #[must_use]
    pub fn with_columns(mut self, columns: Option<usize>) -> Self {
        self.terminal.set_columns(columns);
        self
    }

    /// What was told, each cause once.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Says what the run as a whole has to answer for, now that it is over, and ends the trace: before
    /// [`finish`](Report::finish). What the judge knows of the console has to be told to it before.
    pub fn conclude(&mut self, judge: &mut Judge, aftermath: &Aftermath<'_>, census: &Census) {
        self.terminal.end();
        let conclusions = judge.conclude(aftermath);
        let mut end = EndRecord::new(&aftermath.end.ending, judge, census);
        for stack in &mut end.stacks {
            stack.name = self.names.of_top(stack.esp0);
        }
        let (at, sequence) = (aftermath.end.state.eip, end.counts.entries);
        for conclusion in conclusions {
            let place = Where { place: conclusion.place, at, sequence };
            let record = described::record(&conclusion.finding, &place, self.names.symbols());
            let degree = conclusion.finding.degree;
            if self.told.tell(&conclusion.finding, &place.place, at, sequence) {
                self.terminal.finding(&record, degree);
            }
            match degree {
                Degree::Fault => end.findings.push(record),
                Degree::Note => end.notes.push(record),
            }
        }
        self.record(&Record::End(Box::new(end.clone())));
        self.end = Some(end);
    }

    /// What the run came to; none before [`conclude`](Report::conclude).
    pub fn end(&self) -> Option<&EndRecord> {
        self.end.as_ref()
    }

    /// The summary, the verdict line aside; nothing before [`conclude`](Report::conclude).
    pub fn summary(&self) -> String {
        let colour = self.terminal.style().colour;
        let end = self.end.as_ref();
        end.map_or(String::new(), |end| summary(&self.header, end, &self.told, colour))
    }

    /// [`Report::summary`] without colours.
    pub fn plain_summary(&self) -> String {
        let end = self.end.as_ref();
        end.map_or(String::new(), |end| summary(&self.header, end, &self.told, Colour::default()))
    }

    /// The last line, as [`Report::summary`].
    pub fn verdict_line(&self) -> String {
        self.end.as_ref().map_or(String::new(), |end| verdict_line(end, &self.header))
    }

    /// How the run ended, in words, as [`Report::summary`].
    pub fn ending(&self) -> String {
        self.end.as_ref().map_or(String::new(), ending_in_words)
    }

    /// The last entries, oldest first, as lines.
    pub fn recent(&self) -> String {
        let colour = self.terminal.style().colour;
        let mut text = format!("{}\n", colour.dim(heading()));
        let mut kept: Vec<&(Entry, Judgement)> = self.recent.iter().flatten().collect();
        kept.sort_by_key(|(entry, _)| entry.sequence);
        if kept.is_empty() {
            return "none was seen\n".into();
        }
        for (entry, judgement) in kept {
            let name = interrupted(self.names.symbols(), entry).map(|place| place.to_string());
            let place = Where { place: String::new(), at: 0, sequence: entry.sequence };
            let record = EntryRecord::new(entry, task(judgement));
            let record = record.judged(judgement, &place, &Symbols::none());
            text.push_str(&entry_line(&record, name.as_deref(), colour));
            text.push('\n');
        }
        text
    }

    /// Ends the console's last line and closes the trace. [`Report::lost`] tells whether all was written.
    pub fn finish(&mut self) {
        self.terminal.end();
        let closed = self.trace.as_mut().map_or(Ok(()), JsonLines::finish);
        self.keep(Output::Trace, closed);
        let closed = self.console_file.as_mut().map_or(Ok(()), Write::flush);
        self.keep(Output::Console, closed);
        self.terminal.show();
    }

    /// The outputs that did not take all.
    pub fn lost(&mut self) -> &[Lost] {
        if let Some(error) = self.terminal.error.take() {
            self.lost.insert(0, Lost { output: Output::Text, error });
        }
        &self.lost
    }

    /// Prints text after the run.
    pub fn print(&mut self, text: &str) {
        self.terminal.print(text);
    }

    /// Keeps the first error of a file, which gets nothing more.
    fn keep(&mut self, output: Output, result: io::Result<()>) {
        let Err(error) = result else { return };
        match output {
            Output::Text => {}
            Output::Trace => self.trace = None,
            Output::Console => {
                // Its buffer is not to be tried again.
                self.console_file.take().map(BufWriter::into_parts);
            }
        }
        if self.lost.iter().all(|lost| lost.output != output) {
            self.lost.push(Lost { output, error });
        }
    }

    fn record(&mut self, record: &Record) {
        if let Some(trace) = &mut self.trace {
            let written = trace.record(record);
            self.keep(Output::Trace, written);
        }
    }

    /// The console's bytes, into a file.
    fn console_bytes(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.console_file else { return };
        let mut written = file.write_all(bytes);
        if bytes.contains(&b'\n') {
            written = written.and_then(|()| file.flush());
        }
        self.keep(Output::Console, written);
    }

    /// Tells what was found of an event: each cause once.
    fn tell(&mut self, place: &Where, judgement: &Judgement) {
        for finding in judgement.findings.iter().chain(&judgement.notes) {
            if self.told.tell(finding, &place.place, place.at, place.sequence) {
                let record = described::record(finding, place, self.names.symbols());
                self.terminal.finding(&record, finding.degree);
            }
        }
    }

    #[inline]
    fn entry(&mut self, entry: &Entry, judgement: &Judgement) {
        if self.trace.is_some() {
            for record in self.places.of_entry(entry, task(judgement), &mut self.names) {
                self.record(&record);
            }
        }
        let written = match &mut self.trace {
            Some(trace) => trace.entry(entry, judgement),
            None => Ok(true),
        };
        let written = written.unwrap_or_else(|error| {
            self.keep(Output::Trace, Err(error));
            true
        });
        if !written || self.terminal.tells_events() || !is_right(judgement) {
            self.tell_entry(entry, judgement, written);
        }
        self.recent[entry.sequence as usize % KEPT] = Some((entry.clone(), judgement.clone()));
    }

    /// Tells of an entry wherever that is more than a hot line of the trace.
    fn tell_entry(&mut self, entry: &Entry, judgement: &Judgement, written: bool) {
        let place = if is_right(judgement) {
            Where { place: String::new(), at: entry.after.eip, sequence: entry.sequence }
        } else {
            described::of_entry(entry, judgement, &mut self.names)
        };
        let record = EntryRecord::new(entry, task(judgement));
        let record = record.judged(judgement, &place, self.names.symbols());
        if self.terminal.tells_events() {
            let named = self.names.of_entry(entry);
            let name = named.as_ref().map(|named| named.text.as_str());
            let names = &self.names;
            self.terminal.entry(&record, name, || FrameNames {
                interrupted: name.map(Into::into),
                top: names.of_top(record.frame.end()),
                esp: entry.frame.get(Word::Esp).and_then(|esp| names.of_top(esp)),
            });
        }
        if !written {
            self.record(&Record::Entry(Box::new(record)));
        }
        self.tell(&place, judgement);
    }

    #[inline]
    fn leave(&mut self, returning: &Return, judgement: &Judgement) {
        let written = match &mut self.trace {
            Some(trace) => trace.leave(returning, judgement),
            None => Ok(true),
        };
        let written = written.unwrap_or_else(|error| {
            self.keep(Output::Trace, Err(error));
            true
        });
        if written && is_right(judgement) && !self.terminal.wants_returns() {
            return;
        }
        let place = described::of_return(returning, judgement, &self.names);
        let record = ReturnRecord::new(returning, task(judgement));
        let record = record.judged(judgement, &place, self.names.symbols());
        if self.terminal.wants_returns() {
            self.terminal.leave(&record);
        }
        if !written {
            self.record(&Record::Return(Box::new(record)));
        }
        self.tell(&place, judgement);
    }

    fn returned(&mut self, returned: &Returned, judgement: &Judgement) {
        let place = described::of_returned(returned, &self.names);
        if self.trace.is_some() {
            let record = ReturnedRecord::new(returned);
            let record = record.judged(judgement, &place, self.names.symbols());
            self.record(&Record::Returned(Box::new(record)));
        }
        self.tell(&place, judgement);
    }

    fn sysenter(&mut self, entry: &Sysenter, judgement: &Judgement) {
        let place = described::of_sysenter(entry, judgement);
        let record = SysenterRecord::new(entry, task(judgement));
        let record = record.judged(judgement, &place, self.names.symbols());
        if self.terminal.tells_events() {
            self.terminal.sysenter(&record);
        }
        self.record(&Record::Sysenter(Box::new(record)));
        self.tell(&place, judgement);
    }

    fn switch(&mut self, switch: &TaskSwitch, judgement: &Judgement) {
        let place = described::of_switch(switch, judgement);
        let record = SwitchRecord::new(switch, task(judgement));
        let record = record.judged(judgement, &place, self.names.symbols());
        if self.terminal.tells_events() {
            self.terminal.switch(&record);
        }
        self.record(&Record::Switch(Box::new(record)));
        self.tell(&place, judgement);
    }

    fn console(&mut self, bytes: &[u8]) {
        if let Some(trace) = &mut self.trace {
            let written = trace.console(bytes);
            self.keep(Output::Trace, written);
        }
        self.console_bytes(bytes);
        self.terminal.console(bytes);
    }
}

fn task(judgement: &Judgement) -> u32 {
    judgement.task.map_or(0, |task| task.0)
}

/// Known deviations aside, there is nothing to tell.
fn is_right(judgement: &Judgement) -> bool {
    judgement.findings.is_empty() && judgement.notes.is_empty()
}

impl<W: Write> Sink for Report<W> {
    #[inline]
    fn take(&mut self, machine: &Machine, judged: &Judged) {
        self.told_to_sinks(judged);
        if let Some(recorder) = &mut self.recorder {
            let lines = recorder.look(machine, judged);
            self.lines(&lines);
        }
    }
}

impl<W: Write> Report<W> {
    #[inline]
    fn told_to_sinks(&mut self, judged: &Judged) {
        match judged {
            Judged::Entry(entry, judgement) => self.entry(entry, judgement),
            Judged::Return(returning, judgement) => self.leave(returning, judgement),
            Judged::Returned(returned, judgement) => self.returned(returned, judgement),
            Judged::Sysenter(entry, judgement) => self.sysenter(entry, judgement),
            Judged::Switch(switch, judgement) => self.switch(switch, judgement),
            Judged::StackLoad(load) => {
                let record = StackRecord::from(&**load);
                if self.terminal.tells_events() {
                    self.terminal.stack(&record);
                }
                self.record(&Record::Stack(record));
            }
            Judged::Console(bytes) => self.console(bytes),
            Judged::Reached(_) | Judged::Resumed(_) | Judged::Step(_) | Judged::End(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::samples;
    use super::*;
    use crate::check::{Finding, Subject};

    fn judgement(task: u32, degree: Degree) -> Judgement {
        let sentence = format!("entered on the stack of suspended task {task}");
        let mut finding = Finding::new("a_rule", Subject::Kernel, sentence, "this", "that");
        finding.degree = degree;
        let mut judgement = Judgement::default();
        match degree {
            Degree::Fault => judgement.findings.push(finding),
            Degree::Note => judgement.notes.push(finding),
        }
        judgement
    }

    /// What is printed of these, and the summary.
    fn told(judgements: Vec<Judgement>) -> String {
        let mut report = Report::new(Vec::new(), HeaderRecord::new());
        let mut end = EndRecord { rules: Vec::new(), ..samples::end() };
        (end.counts.findings, end.counts.notes) = (0, 0);
        for (sequence, judgement) in (3..).zip(judgements) {
            end.counts.findings += judgement.findings.len() as u64;
            end.counts.notes += judgement.notes.len() as u64;
            let place = Where { place: format!("#{sequence}"), at: 0x10_0000, sequence };
            report.tell(&place, &judgement);
        }
        report.end = Some(end);
        let text = String::from_utf8(report.terminal.output().clone()).unwrap();
        text + &report.summary()
    }

    #[test]
    fn what_repeats_is_told_once_and_counted_in_the_summary() {
        let text = told((0..49).map(|n| judgement(n, Degree::Fault)).collect());
        assert_eq!(text.matches("rule a_rule").count(), 1, "{text}");
        assert!(
            text.contains(
                "#3: entered on the stack of suspended task 0 (seen 49 times, #3 to #51)\n"
            ),
            "{text}"
        );
        assert!(text.contains("findings     49 "), "{text}");
    }

    #[test]
    fn notes_are_told_and_counted_apart() {
        let text = told((0..2).map(|n| judgement(n, Degree::Note)).collect());
        assert!(text.starts_with("note: #3: entered on"), "{text}");
        assert!(text.contains("findings     none\n"), "{text}");
        assert!(text.contains("notes        2 "), "{text}");
    }
}
