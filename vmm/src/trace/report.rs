//! The observer that checks, prints and writes.

use super::line::{heading, line, stack_line, switch_line};
use super::names::{Names, interrupted};
use super::summary::Seen;
use super::wrap::wrap;
use super::{Colour, FindingText, JsonLines, Summary, Told, event_name, picture, task_name};
use crate::check::{Checker, Degree, Judgement};
use crate::entry::{Entry, Return, TaskSwitch};
use crate::host::Backend;
use crate::probe::Census;
use crate::run::{Ending, Observer, StackLoad};
use crate::symbols::Symbols;
use ia32::Word;
use std::fmt::Write as _;
use std::io::{self, Write};

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
    summary: Summary,
    trace: Option<JsonLines>,
    colour: Colour,
    frames: Frames,
    quiet: bool,
    /// The console is passed on byte by byte.
    raw_console: bool,
    /// Returns get a line too.
    returns: bool,
    /// Console output up to the end of its line.
    console: Vec<u8>,
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
    /// The first error of a sink.
    failed: Option<io::Error>,
}

impl<W: Write> Report<W> {
    /// A report that prints to `out`.
    pub fn new(out: W, checker: Checker) -> Self {
        Report {
            out,
            checker,
            summary: Summary::default(),
            trace: None,
            colour: Colour::default(),
            frames: Frames::default(),
            quiet: false,
            raw_console: false,
            returns: false,
            console: Vec::new(),
            headed: false,
            names: Names::default(),
            told: Told::default(),
            strict: false,
            enough: None,
            columns: None,
            recent: [const { None }; KEPT],
            failed: None,
        }
    }

    /// Writes every entry and return to `trace` too.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<JsonLines>) -> Self {
        self.trace = trace;
        self
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

    /// Findings go to a terminal that is so wide.
    #[must_use]
    pub fn with_wrapping(mut self, columns: Option<usize>) -> Self {
        self.columns = columns;
        self
    }

    /// What was told, each cause once.
    pub fn told(&self) -> &Told {
        &self.told
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

    /// Ends the console's last line, closes the trace, and gives the output back.
    ///
    /// # Errors
    /// The first error that a sink had.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.console.is_empty() {
            self.console.push(b'\n');
            self.console_line();
        }
        if let Some(trace) = &mut self.trace {
            let closed = trace.finish();
            self.keep(closed);
        }
        self.show();
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Prints text after the run.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn keep(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    fn say(&mut self, text: &str) {
        let written = writeln!(self.out, "{text}");
        self.keep(written);
    }

    /// Prints the console up to its last line end.
    fn console_line(&mut self) {
        let Some(end) = self.console.iter().rposition(|byte| *byte == b'\n') else { return };
        let text = String::from_utf8_lossy(&self.console[..=end]).replace('\r', "");
        self.console.drain(..=end);
        for line in text.lines() {
            if self.quiet {
                self.say(line);
            } else {
                let mark = self.colour.dim("     │ ");
                self.say(&format!("{mark}{line}"));
            }
        }
        self.show();
    }

    /// What is in the buffer can be seen from now on. A long run is followed by its console and its
    /// findings, whatever the output goes to.
    fn show(&mut self) {
        let flushed = self.out.flush();
        self.keep(flushed);
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
    fn console(&mut self, bytes: &[u8]) {
        if self.raw_console {
            let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
            self.keep(written);
            return;
        }
        self.console.extend_from_slice(bytes);
        if bytes.contains(&b'\n') {
            self.console_line();
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let mut judgement = self.checker.entry(entry);
        self.weigh(&mut judgement);
        let first = self.summary.entry(entry, &judgement);
        if let Some(trace) = &mut self.trace {
            let written = trace.entry(entry, &judgement);
            self.keep(written);
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
        self.summary.leave(returning, &judgement);
        if let Some(trace) = &mut self.trace {
            let written = trace.leave(returning, &judgement);
            self.keep(written);
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

    fn stack_load(&mut self, load: &StackLoad) {
        if let Some(trace) = &mut self.trace {
            let written = trace.stack_load(load);
            self.keep(written);
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
            self.keep(written);
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
