//! The observer that checks, prints and writes.

use super::console::{Console, Row};
use super::line::{heading, line, stack_line, switch_line};
use super::names::{Names, interrupted};
use super::summary::Seen;
use super::wrap::wrap;
use super::{Colour, FindingText, JsonLines, Summary, Told, event_name, picture, task_name};
use crate::check::diagnosis::{Aftermath, Diagnosis};
use crate::check::{Checker, Degree, Judgement};
use crate::entry::{Entry, Return, Returned, TaskSwitch};
use crate::host::Backend;
use crate::machine::{LinearMemory, Machine};
use crate::probe::Census;
#[cfg(feature = "program")]
use crate::report::Recorder;
use crate::run::{Ending, Observer, StackLoad, Stop};
use crate::symbols::Symbols;
use ia32::{State, Word};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// Which frames are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// Each.
    All,
    /// The first of each kind.
    #[default]
    First,
    /// None.
    None,
}

/// How many lines a failure shows.
const KEPT: usize = 8;

/// Checks entries and returns, prints a line for each, and writes the trace.
pub struct Report<W: Write> {
    /// Where text goes.
    out: W,
    checker: Checker,
    diagnosis: Diagnosis,
    /// The last entry that was the refusal of an IRET of which something was found.
    refused_at: Option<u64>,
    summary: Summary,
    trace: Option<JsonLines>,
    /// What a page shows and the trace alone has not.
    recorder: Option<Recorder>,
    colour: Colour,
    frames: Frames,
    quiet: bool,
    /// The console is passed on byte by byte.
    raw_console: bool,
    /// Returns get a line too.
    returns: bool,
    console: Console,
    /// Where the console goes byte for byte.
    console_file: Option<BufWriter<File>>,
    headed: bool,
    names: Names,
    /// What has been told already.
    told: Told,
    /// Notes count as findings.
    strict: bool,
    /// The run ends with so many findings.
    enough: Option<u64>,
    /// Findings are broken between words at so many columns.
    columns: Option<usize>,
    /// The last entries; the slot of an entry is its number modulo their count.
    recent: [Option<(Entry, Judgement)>; KEPT],
    /// Sinks that failed.
    lost: Vec<Lost>,
}

/// Somewhere that a report is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The text.
    Text,
    /// The trace.
    Trace,
    /// The console, byte for byte.
    Console,
}

/// A sink that took no more, and why: what came after that is not in it. The others and the run went on.
#[derive(Debug)]
pub struct Lost {
    /// Which.
    pub sink: Sink,
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
    /// A report that prints to `out`.
    pub fn new(out: W, checker: Checker) -> Self {
        Report {
            out,
            checker,
            diagnosis: Diagnosis::default(),
            refused_at: None,
            summary: Summary::default(),
            trace: None,
            recorder: None,
            colour: Colour::default(),
            frames: Frames::default(),
            quiet: false,
            raw_console: false,
            returns: false,
            console: Console::default(),
            console_file: None,
            headed: false,
            names: Names::default(),
            told: Told::default(),
            strict: false,
            enough: None,
            columns: None,
            recent: [const { None }; KEPT],
            lost: Vec::new(),
        }
    }

    /// Writes every entry and return to `trace` too.
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

    /// Writes lines of other types into the trace.
    pub fn record(&mut self, lines: &[u8]) {
        if let Some(trace) = &mut self.trace {
            let written = trace.lines(lines);
            self.keep(Sink::Trace, written);
        }
    }

    /// What was kept for a page.
    pub fn recorder(&mut self) -> Option<&mut Recorder> {
        self.recorder.as_mut()
    }

    /// How the text looks.
    #[must_use]
    pub fn with_style(
        mut self,
        colour: Colour,
        frames: Frames,
        quiet: bool,
        returns: bool,
    ) -> Self {
        self.colour = colour;
        self.frames = frames;
        self.quiet = quiet;
        self.returns = returns;
        self
    }

    /// The console goes out as it comes, for somebody who types at it.
    #[must_use]
    pub fn with_raw_console(mut self) -> Self {
        self.raw_console = true;
        self
    }

    /// Addresses get the names that these symbols give.
    #[must_use]
    pub fn with_symbols(mut self, symbols: Symbols) -> Self {
        self.names = Names::new(symbols);
        self
    }

    /// Notes count as findings.
    #[must_use]
    pub fn with_strictness(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// The run ends when there are so many findings.
    #[must_use]
    pub fn with_enough(mut self, findings: Option<u64>) -> Self {
        self.enough = findings;
        self
    }

    /// What was told, each cause once.
    pub fn told(&self) -> &Told {
        &self.told
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
        self.console.fit(columns);
        self.columns = columns.filter(|columns| *columns >= 40);
        self
    }

    /// What was counted.
    pub fn summary(&mut self) -> &mut Summary {
        &mut self.summary
    }

    /// The rules and what they remember.
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// The summary of a run that ended so, the verdict line aside.
    pub fn render_summary(
        &mut self,
        ending: &Ending,
        backend: &Backend,
        census: &Census,
    ) -> String {
        let seen = Seen {
            history: self.checker.history(),
            backend,
            census,
            symbols: self.names.symbols(),
            told: &self.told,
        };
        self.summary.render(ending, &seen, self.colour)
    }

    /// The last entries, oldest first, as lines.
    pub fn recent(&self) -> String {
        let mut text = format!("{}\n", self.colour.dim(heading()));
        let mut kept: Vec<&(Entry, Judgement)> = self.recent.iter().flatten().collect();
        kept.sort_by_key(|(entry, _)| entry.sequence);
        if kept.is_empty() {
            return "none was seen\n".into();
        }
        for (entry, judgement) in kept {
            let name = interrupted(self.names.symbols(), entry).map(|place| place.to_string());
            text.push_str(&line(entry, judgement, name.as_deref(), self.colour));
            text.push('\n');
        }
        text
    }

    /// Says what the run as a whole has to answer for, now that it is over: before
    /// [`finish`](Report::finish).
    pub fn conclude(&mut self, aftermath: &Aftermath<'_>) {
        let rows = self.console.end();
        self.console_rows(&rows);
        let mut judgement = Judgement::default();
        for (place, finding) in self.diagnosis.conclude(aftermath, self.checker.history()) {
            // Why the kernel stopped itself has been told of the IRET that was refused.
            if finding.rule == "ending" && self.refused_at == Some(self.summary.entries) {
                continue;
            }
            let mut one = Judgement::default();
            match finding.degree {
                Degree::Fault => one.findings.push(finding.clone()),
                Degree::Note => one.notes.push(finding.clone()),
            }
            let (at, sequence) = (aftermath.end.state.eip, self.summary.entries);
            self.weigh(&mut one);
            self.findings(&place, at, sequence, &one);
            judgement.findings.append(&mut one.findings);
            judgement.notes.append(&mut one.notes);
        }
        self.summary.conclude(&judgement);
        if let Some(trace) = &mut self.trace {
            let written = trace.end(&aftermath.end.ending, &judgement);
            self.keep(Sink::Trace, written);
        }
    }

    /// Ends the console's last line and closes the trace. [`Report::lost`] tells whether all was written.
    pub fn finish(&mut self) {
        let rows = self.console.end();
        self.console_rows(&rows);
        let closed = self.trace.as_mut().map_or(Ok(()), JsonLines::finish);
        self.keep(Sink::Trace, closed);
        let closed = self.console_file.as_mut().map_or(Ok(()), Write::flush);
        self.keep(Sink::Console, closed);
        self.show();
    }

    /// The sinks that did not take all.
    pub fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Prints text after the run.
    pub fn print(&mut self, text: &str) {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        self.keep(Sink::Text, written);
    }

    /// Keeps the first error of a sink, which gets nothing more.
    fn keep(&mut self, sink: Sink, result: io::Result<()>) {
        let Err(error) = result else { return };
        match sink {
            Sink::Text => {}
            Sink::Trace => self.trace = None,
            Sink::Console => {
                // Its buffer is not to be tried again.
                self.console_file.take().map(BufWriter::into_parts);
            }
        }
        if self.lost.iter().all(|lost| lost.sink != sink) {
            self.lost.push(Lost { sink, error });
        }
    }

    fn say(&mut self, text: &str) {
        let written = writeln!(self.out, "{text}");
        self.keep(Sink::Text, written);
    }

    /// Prints rows of the console.
    fn console_rows(&mut self, rows: &[Row]) {
        for Row { mark, text } in rows {
            let mark = self.colour.dim(mark);
            self.say(&format!("{mark}{text}"));
        }
        if !rows.is_empty() {
            self.show();
        }
    }

    /// The console's bytes, into a file.
    fn console_bytes(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.console_file else { return };
        let mut written = file.write_all(bytes);
        if bytes.contains(&b'\n') {
            written = written.and_then(|()| file.flush());
        }
        self.keep(Sink::Console, written);
    }

    /// What is in the buffer can be seen from now on. A long run is followed by its console and its
    /// findings, whatever the output goes to.
    fn show(&mut self) {
        let flushed = self.out.flush();
        self.keep(Sink::Text, flushed);
    }

    /// Notes are findings to whoever is strict.
    fn weigh(&self, judgement: &mut Judgement) {
        if self.strict {
            let notes = judgement.notes.drain(..);
            judgement.findings.extend(notes.map(|mut note| {
                note.degree = Degree::Fault;
                note
            }));
        }
    }

    /// Tells what is found at entry `sequence`, or behind it, by the kernel's instruction `at`: each
    /// cause once.
    fn findings(&mut self, place: &str, at: u32, sequence: u64, judgement: &Judgement) {
        for finding in judgement.findings.iter().chain(&judgement.notes) {
            if !self.told.tell(finding, place, at, sequence) {
                continue;
            }
            let mut text = FindingText {
                finding,
                place: place.into(),
                colour: self.colour,
                symbols: Some(self.names.symbols()),
            }
            .to_string();
            if let Some(columns) = self.columns {
                text = wrap(&text, columns, 5);
            }
            self.say(&text);
            self.show();
        }
    }
}

impl<W: Write> Observer for Report<W> {
    #[inline]
    fn look(&mut self, machine: &Machine, state: &State, stop: Stop<'_>) {
        let linear = LinearMemory { memory: &machine.memory, paging: state.into() };
        match stop {
            Stop::Entry(entry) => self.checker.look_at_entry(&linear, entry),
            Stop::Return(returning) => self.checker.look_at_return(&linear, returning),
            _ => {}
        }
        self.diagnosis.look(machine, state, stop);
        if let Some(recorder) = &mut self.recorder {
            match stop {
                Stop::Entry(entry) => recorder.look_at_entry(machine, entry),
                Stop::Return(returning) => recorder.look_at_return(machine, returning),
                _ => {}
            }
        }
    }

    fn console(&mut self, bytes: &[u8]) {
        self.console_bytes(bytes);
        if self.recorder.is_some() {
            let lines = Recorder::console(self.summary.entries, bytes);
            self.record(&lines);
        }
        if self.raw_console {
            let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
            self.keep(Sink::Text, written);
            return;
        }
        let rows = self.console.write(bytes);
        self.console_rows(&rows);
    }

    fn entry(&mut self, entry: &Entry) {
        let mut judgement = self.checker.entry(entry);
        self.weigh(&mut judgement);
        let first = self.summary.entry(entry, &judgement);
        if judgement.refuses_return && self.summary.findings > 0 {
            self.refused_at = Some(entry.sequence);
        }
        if let Some(trace) = &mut self.trace {
            let written = trace.entry(entry, &judgement);
            self.keep(Sink::Trace, written);
        }
        if let Some(recorder) = &mut self.recorder {
            let lines = recorder.entry(entry, &judgement);
            self.record(&lines);
        }
        if !self.quiet {
            if !std::mem::replace(&mut self.headed, true) {
                let heading = self.colour.dim(heading());
                self.say(&heading);
            }
            let name = self.names.of_entry(entry);
            let text = line(entry, &judgement, name.as_deref(), self.colour);
            self.say(&text);
            if self.frames == Frames::All || (self.frames == Frames::First && first) {
                let drawn = picture(entry, self.names.symbols());
                self.say(&format!("\n{drawn}"));
            }
        }
        if !judgement.findings.is_empty() || !judgement.notes.is_empty() {
            let place = format!(
                "#{} {}{}{}",
                entry.sequence,
                event_name(entry.kind, entry.vector),
                judgement.task.map_or(String::new(), |task| format!(" in task {}", task.0)),
                match self.names.of_entry(entry) {
                    Some(name) => format!(", at {name}"),
                    None => format!(" (EIP {:08x})", entry.frame.get(Word::Eip).unwrap_or(0)),
                },
            );
            self.findings(&place, entry.after.eip, entry.sequence, &judgement);
        }
        self.recent[entry.sequence as usize % KEPT] = Some((entry.clone(), judgement));
    }

    fn leave(&mut self, returning: &Return) {
        let mut judgement = self.checker.leave(returning);
        self.weigh(&mut judgement);
        self.summary.leave(&judgement);
        if let Some(trace) = &mut self.trace {
            let written = trace.leave(returning, &judgement);
            self.keep(Sink::Trace, written);
        }
        if let Some(recorder) = &mut self.recorder {
            let lines = recorder.leave();
            self.record(&lines);
        }
        if self.returns && !self.quiet {
            let eip = returning.frame.get(Word::Eip).unwrap_or(0);
            let mut text = format!(
                "        {:<7} iret           {}→{}   to EIP {eip:08x}",
                task_name(judgement.task),
                returning.state.cpl(),
                returning.ring(),
            );
            if let (Some(cs), Some(ss), Some(esp)) = (
                returning.frame.selector(Word::Cs),
                returning.frame.selector(Word::Ss),
                returning.frame.get(Word::Esp),
            ) {
                let _ = write!(text, " of CS {cs:04x}, on {ss:04x}:{esp:08x}");
            }
            let text = self.colour.dim(&text);
            self.say(&text);
        }
        if !judgement.findings.is_empty() || !judgement.notes.is_empty() {
            let state = &returning.state;
            let place = format!(
                "IRET after #{}{}{} (frame at {:08x})",
                returning.after_sequence,
                judgement.task.map_or(String::new(), |task| format!(" to task {}", task.0)),
                match self.names.of_instruction(state) {
                    Some(name) => format!(", at {name}"),
                    None => format!(", at {:08x}", state.eip),
                },
                returning.frame.address,
            );
            self.findings(&place, state.eip, returning.after_sequence, &judgement);
        }
    }

    fn returned(&mut self, returned: &Returned) {
        let mut judgement = self.checker.returned(returned);
        self.weigh(&mut judgement);
        self.summary.returned(returned, &judgement);
        if let Some(trace) = &mut self.trace {
            let written = trace.returned(returned, &judgement);
            self.keep(Sink::Trace, written);
        }
        let (before, sequence) = (&returned.exact.before, returned.after_sequence);
        let place = match self.names.of_instruction(before) {
            Some(name) => format!("IRET after #{sequence}, at {name}"),
            None => format!("IRET after #{sequence}, at {:08x}", before.eip),
        };
        self.findings(&place, before.eip, sequence, &judgement);
    }

    fn stack_load(&mut self, load: &StackLoad) {
        if let Some(trace) = &mut self.trace {
            let written = trace.stack_load(load);
            self.keep(Sink::Trace, written);
        }
        if !self.quiet {
            let text = stack_line(load);
            self.say(&text);
        }
    }

    fn switch(&mut self, switch: &TaskSwitch) {
        let mut judgement = self.checker.switch(switch);
        self.weigh(&mut judgement);
        self.summary.switch(&judgement);
        if let Some(trace) = &mut self.trace {
            let written = trace.switch(switch, &judgement);
            self.keep(Sink::Trace, written);
        }
        if !self.quiet {
            let text = switch_line(switch, &judgement, self.colour);
            self.say(&text);
        }
        if !judgement.findings.is_empty() || !judgement.notes.is_empty() {
            let place = format!(
                "the switch after #{} to {} (TR {:04x})",
                switch.after_sequence,
                task_name(judgement.task),
                switch.selector.0,
            );
            self.findings(&place, switch.before.eip, switch.after_sequence, &judgement);
        }
    }

    #[inline]
    fn has_enough(&self) -> bool {
        self.enough.is_some_and(|enough| self.summary.findings >= enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Finding, Subject};
    use crate::trace::Verdict;

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
    fn told(strict: bool, judgements: Vec<Judgement>) -> (String, Report<Vec<u8>>) {
        let backend = Backend::detect();
        let mut report = Report::new(Vec::new(), Checker::new(&backend)).with_strictness(strict);
        for (sequence, mut judgement) in (3..).zip(judgements) {
            report.weigh(&mut judgement);
            report.summary.switch(&judgement);
            report.findings(&format!("#{sequence}"), 0x10_0000, sequence, &judgement);
        }
        let mut text = String::from_utf8(report.out.clone()).unwrap();
        text.push_str(&report.render_summary(&Ending::PoweredOff, &backend, &Census::default()));
        (text, report)
    }

    #[test]
    fn what_repeats_is_told_once_and_counted_in_the_summary() {
        let (text, report) = told(false, (0..49).map(|n| judgement(n, Degree::Fault)).collect());
        assert_eq!(text.matches("rule a_rule").count(), 1, "{text}");
        assert!(
            text.contains(
                "#3: entered on the stack of suspended task 0 (seen 49 times, #3 to #51)\n"
            ),
            "{text}"
        );
        assert!(text.contains("findings     49       a_rule 49\n"), "{text}");
        assert_eq!(report.summary.verdict(&Ending::PoweredOff), Verdict::Findings);
    }

    #[test]
    fn notes_are_told_and_counted_apart_unless_one_is_strict() {
        let notes = || (0..2).map(|n| judgement(n, Degree::Note)).collect();
        let (text, report) = told(false, notes());
        assert!(text.starts_with("note: #3: entered on"), "{text}");
        assert!(text.contains("findings     none\n"), "{text}");
        assert!(text.contains("notes        2        a_rule 2\n"), "{text}");
        assert_ne!(report.summary.verdict(&Ending::PoweredOff), Verdict::Findings);
        let (text, report) = told(true, notes());
        assert!(text.starts_with("#3: entered on"), "{text}");
        assert!(!text.contains("\nnotes "), "{text}");
        assert_eq!(report.summary.verdict(&Ending::PoweredOff), Verdict::Findings);
    }

    #[test]
    fn enough_is_enough() {
        let (_, report) = told(false, vec![judgement(1, Degree::Fault)]);
        assert!(!report.has_enough());
        let report = report.with_enough(Some(2));
        assert!(!report.has_enough());
        assert!(report.with_enough(Some(1)).has_enough());
    }

    #[test]
    fn what_was_awaited_in_vain_is_no_good_end() {
        let (_, mut report) = told(false, Vec::new());
        report.summary().unmet = Some("login: ".into());
        assert_eq!(report.summary.verdict(&Ending::PoweredOff), Verdict::GuestFailed);
        assert_eq!(report.summary.verdict(&Ending::Stopped), Verdict::Interrupted);
        assert!(report.summary.end(&Ending::Halted).ends_with(r#"never said "login: ""#));
    }
}
