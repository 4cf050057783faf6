//! A run on the terminal, made of the records of its trace.
//!
//! `esp0 run` and `esp0 trace show` print by the same code, so a trace shows what the run showed.

mod fold;
mod own_lines;
mod story;

use super::console::{Console, Row};
use super::finding_text::record_text;
use super::line::{
    crossing_line, entry_line, heading, return_line, stack_line, switch_line, sysenter_line,
};
use super::schema::{
    CrossingRecord, EntryRecord, FindingRecord, ReturnRecord, StackRecord, SwitchRecord,
    SysenterRecord,
};
use super::wrap::wrap;
use super::{Colour, FrameNames, picture};
use crate::check::Degree;
use fold::Fold;
use own_lines::OwnLines;
use std::io::{self, Write};
use story::Story;

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

/// How a run is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// With colour or without.
    pub colour: Colour,
    /// Which frames are drawn.
    pub frames: Frames,
    /// Console, findings and the end only.
    pub quiet: bool,
    /// Returns get a line too.
    pub returns: bool,
    /// Each entry gets a line, however ordinary or often told.
    pub all: bool,
}

/// Where a run is printed.
pub(super) struct Terminal<W> {
    out: W,
    style: Style,
    /// Findings are broken between words at so many columns.
    columns: Option<usize>,
    /// The console is passed on byte by byte.
    raw_console: bool,
    console: Console,
    headed: bool,
    own_lines: OwnLines,
    fold: Fold,
    story: Story,
    /// The first error of the output.
    pub(super) error: Option<io::Error>,
}

impl<W: Write> Terminal<W> {
    pub(super) fn new(out: W) -> Self {
        Terminal {
            out,
            style: Style::default(),
            columns: None,
            raw_console: false,
            console: Console::default(),
            headed: false,
            own_lines: OwnLines::default(),
            fold: Fold::default(),
            story: Story::default(),
            error: None,
        }
    }

    pub(super) fn set_style(&mut self, style: Style) {
        self.style = style;
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// The console goes out as it comes, for somebody who types at it.
    pub(super) fn set_raw_console(&mut self) {
        self.raw_console = true;
    }

    /// No line of the guest's is longer, and findings are broken between words.
    pub(super) fn set_columns(&mut self, columns: Option<usize>) {
        self.console.fit(columns);
        self.columns = columns.filter(|columns| *columns >= 40);
    }

    /// Entries and the like are printed at all.
    pub(super) fn tells_events(&self) -> bool {
        !self.style.quiet
    }

    /// Returns are wanted: for a line each, or as long as one of them may be told in words.
    pub(super) fn wants_returns(&self) -> bool {
        !self.style.quiet && (self.style.returns || self.story.goes_on())
    }

    /// An entry; `news` if something of what was said of it has not been told before, `name` is of the interrupted
    /// instruction, and `names` finds those for the picture.
    pub(super) fn entry(
        &mut self,
        entry: &EntryRecord,
        news: bool,
        name: Option<&str>,
        names: impl FnOnce() -> FrameNames,
    ) {
        if !std::mem::replace(&mut self.headed, true) {
            let heading = self.style.colour.dim(heading());
            self.say(&heading);
        }
        self.story.entry(entry);
        let first = self.own_lines.is_first(entry);
        let colour = self.style.colour;
        let draws = match self.style.frames {
            Frames::All => true,
            Frames::First => first,
            Frames::None => false,
        };
        let own = self.own_lines.of_entry(entry);
        if !(first || draws || own || news || self.style.all) {
            if let Some(text) = self.fold.add(entry, || entry_line(entry, name, colour)) {
                self.say(&text);
            }
            return;
        }
        self.unfold();
        let text = entry_line(entry, name, colour);
        self.say(&text);
        if draws {
            let drawn = picture(entry, &names());
            self.say(&drawn);
        }
    }

    /// A return.
    pub(super) fn leave(&mut self, returning: &ReturnRecord) {
        let told = self.story.leave(returning);
        let text = match told {
            Some(told) => self.style.colour.dim(&told),
            None if self.style.returns => return_line(returning, self.style.colour),
            None => return,
        };
        self.unfold();
        self.say(&text);
    }

    /// An entry by SYSENTER: there is nothing to draw, so the first gets a line, and some of those that are wrong.
    pub(super) fn sysenter(&mut self, entry: &SysenterRecord, news: bool) {
        let own = self.own_lines.of_sysenter(entry);
        if own || news || self.style.all {
            self.unfold();
            let text = sysenter_line(entry, self.style.colour);
            self.say(&text);
        }
    }

    /// An entry by a call gate, or the way back.
    pub(super) fn crossing(&mut self, crossing: &CrossingRecord, news: bool) {
        let own = self.own_lines.of_crossing(crossing);
        if own || news || self.style.all || (self.style.returns && !crossing.is_call()) {
            self.unfold();
            let text = crossing_line(crossing, self.style.colour);
            self.say(&text);
        }
    }

    /// A task switch by hardware. Whoever wants returns wants each of them too.
    pub(super) fn switch(&mut self, switch: &SwitchRecord, news: bool) {
        let own = self.own_lines.of_switch(switch);
        let colour = self.style.colour;
        if !(own || news || self.style.all || self.style.returns) {
            if let Some(text) = self.fold.add_switch(switch, || switch_line(switch, colour)) {
                self.say(&text);
            }
            return;
        }
        self.unfold();
        let text = switch_line(switch, colour);
        self.say(&text);
    }

    pub(super) fn stack(&mut self, load: &StackRecord) {
        self.unfold();
        self.say(&stack_line(load));
    }

    /// What the guest wrote.
    pub(super) fn console(&mut self, bytes: &[u8]) {
        if self.raw_console {
            let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
            self.keep(written);
            return;
        }
        let rows = self.console.write(bytes);
        self.rows(&rows);
    }

    /// A finding, in full.
    pub(super) fn finding(&mut self, finding: &FindingRecord, degree: Degree) {
        self.unfold();
        let mut text = record_text(finding, degree, self.style.colour);
        if let Some(columns) = self.columns {
            text = wrap(&text, columns, 5);
        }
        self.say(&text);
        self.show();
    }

    /// No more events: what is kept back is shown.
    pub(super) fn end(&mut self) {
        self.unfold();
        let rows = self.console.end();
        self.rows(&rows);
    }

    /// Prints text as it is.
    pub(super) fn print(&mut self, text: &str) {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        self.keep(written);
    }

    fn unfold(&mut self) {
        if let Some(text) = self.fold.take() {
            self.say(&text);
        }
    }

    fn rows(&mut self, rows: &[Row]) {
        for Row { mark, text } in rows {
            let mark = self.style.colour.dim(mark);
            self.say(&format!("{mark}{text}"));
        }
        if !rows.is_empty() {
            self.show();
        }
    }

    fn say(&mut self, text: &str) {
        let written = writeln!(self.out, "{text}");
        self.keep(written);
    }

    /// What is in the buffer can be seen from now on. A long run is followed by its console and its
    /// findings, whatever the output goes to.
    pub(super) fn show(&mut self) {
        let flushed = self.out.flush();
        self.keep(flushed);
    }

    fn keep(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && self.error.is_none()
        {
            self.error = Some(error);
        }
    }

    #[cfg(test)]
    pub(super) fn output(&self) -> &W {
        &self.out
    }
}
