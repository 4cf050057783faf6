//! The observer that checks, prints and writes.

use super::line::{heading, line, stack_line, switch_line};
use super::{Colour, FindingText, JsonLines, Summary, event_name, picture, task_name};
use crate::check::{Checker, Judgement};
use crate::entry::{Entry, Return, TaskSwitch};
use crate::host::Backend;
use crate::machine::{LinearMemory, Machine};
use crate::probe::Census;
use crate::run::{Ending, Observer, StackLoad, Stop};
use ia32::{State, Word};
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
        self.summary.render(ending, self.checker.history(), backend, census, self.colour)
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
            text.push_str(&line(entry, judgement, self.colour));
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

    fn findings(&mut self, place: &str, judgement: &Judgement) {
        for finding in judgement.findings.iter().chain(&judgement.notes) {
            let text =
                FindingText { finding, place: place.into(), colour: self.colour }.to_string();
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
    }

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
        let judgement = self.checker.entry(entry);
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
            let text = line(entry, &judgement, self.colour);
            self.say(&text);
            if self.frames == Frames::All || (self.frames == Frames::First && first) {
                let drawn = picture(entry);
                self.say(&format!("\n{drawn}"));
            }
        }
        if !judgement.findings.is_empty() || !judgement.notes.is_empty() {
            let eip = entry.frame.get(Word::Eip).unwrap_or(0);
            let place = format!(
                "#{} {} in {} (EIP {eip:08x})",
                entry.sequence,
                event_name(entry.kind, entry.vector),
                task_name(judgement.task),
            );
            self.findings(&place, &judgement);
        }
        self.recent[entry.sequence as usize % KEPT] = Some((entry.clone(), judgement));
    }

    fn leave(&mut self, returning: &Return) {
        let judgement = self.checker.leave(returning);
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
            let place = format!(
                "IRET after #{} to {} (frame at {:08x})",
                returning.after_sequence,
                task_name(judgement.task),
                returning.frame.address,
            );
            self.findings(&place, &judgement);
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
        let judgement = self.checker.switch(switch);
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
            self.findings(&place, &judgement);
        }
    }
}
