//! The guest's text screen, drawn on the terminal while it runs (`--screen`).
//!
//! ```text
//!  rows 1 to 25   the screen, in its colours
//!  row 26         how many entries there were, how many findings
//!  the rest       what esp0 prints, which scrolls here and nowhere else
//! ```
//! It is drawn when something is told of the run, and not more often than an eye can follow. Every cell becomes a printable
//! character ([`screen`]), so a guest cannot draw beyond its rows.

use super::super::failure::Failure;
use esp0::check::Tally;
use esp0::devices::screen;
use esp0::devices::vga::{COLUMNS, ROWS};
use esp0::run::Run;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two pictures, at least.
const PACE: Duration = Duration::from_millis(40);

/// Rows below the screen that are left to esp0, at least.
const LEFT: usize = 4;

/// ANSI's number of each of the eight colours of VGA.
const COLOURS: [u8; 8] = [0, 4, 2, 6, 1, 5, 3, 7];

/// The terminal's upper rows.
#[derive(Debug)]
pub(super) struct LiveScreen {
    /// Rows that the terminal has.
    height: usize,
    coloured: bool,
    /// What is drawn, to draw nothing twice.
    drawn: String,
    due: Option<Instant>,
}

impl LiveScreen {
    /// Takes the upper rows of the terminal that standard output is.
    pub(super) fn new(coloured: bool) -> Result<Self, Failure> {
        let refused =
            |why: String| Err(Failure::Input(format!("--screen draws on a terminal, {why}")));
        if !io::stdout().is_terminal() {
            return refused("and standard output is none".into());
        }
        let size = terminal_size::terminal_size();
        let (width, height) = size.map_or((0, 0), |(width, height)| (width.0, height.0));
        let least = ROWS + 1 + LEFT;
        if usize::from(width) < COLUMNS || usize::from(height) < least {
            return refused(format!(
                "of {COLUMNS} columns and {least} rows at least: this one has {width} and {height}"
            ));
        }
        let height = usize::from(height);
        let live = LiveScreen { height, coloured, drawn: String::new(), due: None };
        // Room for the rows; then what follows scrolls below them.
        put(&format!("\x1b[2J\x1b[{};{height}r\x1b[{height};1H", ROWS + 2));
        Ok(live)
    }

    /// Something has been told of `run`: draws what its screen shows, if that has changed.
    pub(super) fn look(&mut self, run: &Run, tally: &Tally) {
        let now = Instant::now();
        if self.due.is_some_and(|due| now < due) {
            return;
        }
        self.due = Some(now + PACE);
        self.draw(run, tally);
    }

    /// Draws the last picture, and gives the rows back.
    pub(super) fn end(mut self, run: &Run, tally: &Tally) {
        self.draw(run, tally);
    }

    fn draw(&mut self, run: &Run, tally: &Tally) {
        let cells = run.screen().unwrap_or_default();
        let picture = picture(&cells, run.devices().vga().cursor(), tally, self.coloured);
        if picture != self.drawn {
            put(&picture);
            self.drawn = picture;
        }
    }
}

impl Drop for LiveScreen {
    fn drop(&mut self) {
        put(&format!("\x1b[r\x1b[{};1H\r\n", self.height));
    }
}

/// Writes to the terminal; one that has gone is told of where something is lost by it.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The screen's rows with their colours, and the row below; the terminal's cursor is put back.
fn picture(cells: &[u8], cursor: Option<(usize, usize)>, tally: &Tally, coloured: bool) -> String {
    let mut text = String::from("\x1b7");
    for (row, (characters, cells)) in
        screen::rows(cells).iter().zip(cells.chunks(COLUMNS * 2)).enumerate()
    {
        let _ = write!(text, "\x1b[{};1H", row + 1);
        let mut last = None;
        for (column, (character, cell)) in characters.chars().zip(cells.chunks(2)).enumerate() {
            let style = (cell[1], cursor == Some((column, row)));
            if last != Some(style) {
                text.push_str(&attributes(style, coloured));
                last = Some(style);
            }
            text.push(character);
        }
        text.push_str("\x1b[0m");
    }
    let line = format!(
        "esp0: {} entries, {} findings, {} notes",
        tally.entries, tally.findings, tally.notes
    );
    let _ = write!(text, "\x1b[{};1H{line:─<COLUMNS$}\x1b[K\x1b8", ROWS + 1);
    text
}

/// The escape sequence for a cell's attribute, which is exchanged at the guest's cursor. Its bit 7 is taken as blinking,
/// and nothing blinks.
fn attributes((attribute, cursor): (u8, bool), coloured: bool) -> String {
    let mut text = String::from("\x1b[0");
    if coloured {
        let front = COLOURS[usize::from(attribute & 7)] + if attribute & 8 != 0 { 90 } else { 30 };
        let back = COLOURS[usize::from(attribute >> 4 & 7)] + 40;
        let _ = write!(text, ";{front};{back}");
    }
    text + if cursor { ";7m" } else { "m" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str, attribute: u8) -> Vec<u8> {
        let mut cells = screen::BLANK.repeat(COLUMNS * ROWS);
        for (index, byte) in text.bytes().enumerate() {
            cells[index * 2..][..2].copy_from_slice(&[byte, attribute]);
        }
        cells
    }

    #[test]
    fn rows_are_placed_and_coloured_and_the_cursor_is_reversed() {
        let drawn = picture(&cells("ok", 0x1f), Some((2, 0)), &Tally::default(), true);
        let first = drawn.split("\x1b[2;1H").next().unwrap();
        assert!(first.starts_with("\x1b7\x1b[1;1H\x1b[0;97;44mok\x1b[0;37;40;7m \x1b[0;37;40m "));
        assert!(drawn.contains("\x1b[26;1Hesp0: 0 entries, 0 findings, 0 notes─"));
        assert!(drawn.ends_with("\x1b[K\x1b8"));
        let plain = picture(&cells("ok", 0x1f), None, &Tally::default(), false);
        assert!(plain.starts_with("\x1b7\x1b[1;1H\x1b[0mok\x1b[0m "));
    }

    #[test]
    fn a_guest_cannot_draw_beyond_its_rows() {
        let drawn = picture(&cells("\x1b[31;1H\r\n\x07", 7), None, &Tally::default(), false);
        let own = drawn.matches("\x1b[").count();
        let without = picture(&cells("", 7), None, &Tally::default(), false);
        assert_eq!(own, without.matches("\x1b[").count());
        assert!(!drawn.contains(['\r', '\n', '\x07']));
    }

    #[test]
    fn no_screen_is_no_panic() {
        assert!(picture(&[], None, &Tally::default(), true).contains("esp0: 0 entries"));
    }
}
