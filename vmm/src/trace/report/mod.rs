//! The sinks of a run that `esp0 run` has: terminal, trace, the console byte for byte.
//!
//! Each is fed with the same judged events and fails by itself: it gets nothing more, the run and the others go
//! on, and the end tells what is not whole.

mod events;
mod last_entries;
mod lost;

pub(super) use last_entries::KEPT;
pub(crate) use last_entries::LastEntries;
pub use lost::{Lost, LostOutput};

use super::described::{self, Where};
use super::names::Names;
use super::places::Places;
use super::schema::{CauseRecord, EndRecord, HeaderRecord, Record, ScreenRecord, UnjudgedRecord};
use super::summary::{ending_in_words, summary, verdict_line};
use super::terminal::Terminal;
use super::{FrameNames, JsonLines, Style, Told, registers};
use crate::check::diagnosis::Aftermath;
use crate::check::{Degree, Judge, Judgement, Verdict};
use crate::machine::Machine;
use crate::probe::{Census, Probes};
use crate::report::{CodeReader, Recorder};
use crate::run::Unjudged;
use crate::symbols::Symbols;
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// Prints judged events, and writes the trace.
pub struct Report<W: Write> {
    header: HeaderRecord,
    terminal: Terminal<W>,
    trace: Option<JsonLines>,
    /// What a page shows and the trace alone has not.
    recorder: Option<Recorder>,
    /// Reads the code that findings are about, for the trace.
    code: Option<CodeReader>,
    /// The names that the trace has.
    places: Places,
    /// Where the console goes byte for byte.
    console_file: Option<BufWriter<File>>,
    names: Names,
    /// What has been told already.
    told: Told,
    recent: LastEntries,
    end: Option<EndRecord>,
    /// Files that failed.
    lost: Vec<Lost>,
}

impl<W: Write> Report<W> {
    /// A report that prints to `out`; the header is the trace's first line.
    pub fn new(out: W, header: HeaderRecord) -> Self {
        Report {
            header,
            terminal: Terminal::new(out),
            trace: None,
            recorder: None,
            code: None,
            places: Places::default(),
            console_file: None,
            names: Names::default(),
            told: Told::default(),
            recent: LastEntries::default(),
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

    /// The trace gets the code that findings are about.
    #[must_use]
    pub fn with_code(mut self, code: Option<CodeReader>) -> Self {
        self.code = code;
        self
    }

    /// What reads the code that findings are about, if the trace is to have it.
    pub fn code(&self) -> Option<&CodeReader> {
        self.code.as_ref()
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
            self.keep(LostOutput::Trace, written);
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

    /// Says what the run as a whole has to answer for, now that it is over. What the judge knows of the console has to
    /// be told to it before; [`close`](Report::close) ends the trace with it.
    pub fn conclude(
        &mut self,
        judge: &mut Judge,
        aftermath: &Aftermath<'_>,
        census: &Census,
        unjudged: &[Unjudged],
    ) {
        self.terminal.end();
        let conclusions = judge.conclude(aftermath);
        let mut end = EndRecord::new(&aftermath.end.ending, judge, census);
        for stack in &mut end.stacks {
            stack.name = self.names.of_top(stack.esp0);
        }
        let record = |unjudged| UnjudgedRecord::new(unjudged, aftermath.names);
        end.unjudged = unjudged.iter().map(record).collect();
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
        if end.verdict == Verdict::GuestFailed {
            end.last = Some(Box::new(registers::record(aftermath.end, self.names.symbols())));
        }
        self.end = Some(end);
        self.show();
    }

    /// What the machine shows when the run is over: the text screen, and a line for each place at which the guest found
    /// nobody. After [`conclude`](Report::conclude).
    pub fn shows(&mut self, screen: Option<ScreenRecord>, unanswered: Vec<String>) {
        if let Some(end) = &mut self.end {
            (end.screen, end.unanswered) = (screen, unanswered);
        }
    }

    /// Ends the trace with what is known of `causes` by now, and how the run ended.
    pub fn close(&mut self, causes: &[CauseRecord]) {
        for cause in causes {
            self.record(&Record::Cause(Box::new(cause.clone())));
        }
        if let Some(end) = &self.end {
            let end = Record::End(Box::new(end.clone()));
            self.record(&end);
        }
        let closed = self.trace.as_mut().map_or(Ok(()), JsonLines::finish);
        self.keep(LostOutput::Trace, closed);
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

    /// What happened to a guest that failed: its end, the last entries, the registers; nothing of another.
    pub fn failure(&self) -> String {
        let colour = self.terminal.style().colour;
        let end = self.end.as_ref();
        end.map_or(String::new(), |end| registers::failure(end, &self.recent(), colour))
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
        self.recent.text(self.names.symbols(), self.terminal.style().colour)
    }

    /// The last entries.
    #[cfg(feature = "program")]
    pub(crate) fn last_entries(&self) -> &LastEntries {
        &self.recent
    }

    /// Ends the console's last line and closes a trace that has no end. [`Report::lost`] tells whether all was written.
    pub fn finish(&mut self) {
        self.terminal.end();
        let closed = self.trace.as_mut().map_or(Ok(()), JsonLines::finish);
        self.keep(LostOutput::Trace, closed);
        self.show();
    }

    /// The console is complete, and all that was printed can be seen.
    fn show(&mut self) {
        let closed = self.console_file.as_mut().map_or(Ok(()), Write::flush);
        self.keep(LostOutput::Console, closed);
        self.terminal.show();
    }

    /// The outputs that did not take all.
    pub fn lost(&mut self) -> &[Lost] {
        if let Some(error) = self.terminal.error.take() {
            self.lost.insert(0, Lost { output: LostOutput::Text, error });
        }
        &self.lost
    }

    /// Prints text after the run.
    pub fn print(&mut self, text: &str) {
        self.terminal.print(text);
    }

    /// Keeps the first error of a file, which gets nothing more.
    fn keep(&mut self, output: LostOutput, result: io::Result<()>) {
        let Err(error) = result else { return };
        match output {
            LostOutput::Text => {}
            LostOutput::Trace => self.trace = None,
            LostOutput::Console => {
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
            self.keep(LostOutput::Trace, written);
        }
    }

    /// The console's bytes, into a file.
    fn console_bytes(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.console_file else { return };
        let mut written = file.write_all(bytes);
        if bytes.contains(&b'\n') {
            written = written.and_then(|()| file.flush());
        }
        self.keep(LostOutput::Console, written);
    }
}

fn task(judgement: &Judgement) -> u32 {
    judgement.task.map_or(0, |task| task.0)
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
