//! The guest's console, in lines that nobody takes for esp0's own.
//!
//! A guest may print `verdict: ok`. So each row of its text stands behind a mark that begins none of esp0's
//! lines, and cannot leave it: what would move a cursor is shown as its number ([`visible`]), and a line that is longer than the
//! terminal is wide is broken here, since the terminal would go on at its left edge.
//!
//! ```text
//!      │ a line of the guest's, and one that is too long or has
//!      ┊  not ended yet
//! ```

use super::visible::visible;

/// Stands before each line of the guest's.
pub(super) const MARK: &str = "     │ ";
/// Stands before what belongs to the row above.
pub(super) const CONTINUED: &str = "     ┊ ";
/// Columns that a mark takes.
const MARGIN: usize = 7;
/// A line is kept back until it ends, but no more of it than these bytes.
const LIMIT: usize = 4096;

/// Console output up to the end of its line.
#[derive(Debug, Default)]
pub(super) struct Console {
    pending: Vec<u8>,
    /// The last row was of a line that has not ended.
    unended: bool,
    /// How wide a terminal it is shown on.
    columns: Option<usize>,
}

/// A row of the guest's text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its mark: [`MARK`] or [`CONTINUED`].
    pub(super) mark: &'static str,
    /// What is behind it.
    pub(super) text: String,
}

impl Console {
    /// Rows are to fit a terminal of so many columns from now on.
    pub(super) fn fit(&mut self, columns: Option<usize>) {
        self.columns = columns;
    }

    /// Takes what the guest wrote; the rows that can be shown now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Vec<Row> {
        let mut rows = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // A string instruction may bring a page at once.
            for piece in part.chunks(LIMIT) {
                self.pending.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    self.end_line(&mut rows);
                } else if self.pending.len() >= LIMIT {
                    self.cut(&mut rows);
                }
            }
        }
        rows
    }

    /// The run is over: what is left.
    pub(super) fn end(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        if !self.pending.is_empty() {
            self.end_line(&mut rows);
        }
        rows
    }

    fn end_line(&mut self, rows: &mut Vec<Row>) {
        let line = std::mem::take(&mut self.pending);
        let unended = std::mem::take(&mut self.unended);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        // Line ends are CR LF, LF CR or LF alone.
        let end = text.iter().rposition(|byte| *byte != b'\r').map_or(0, |at| at + 1);
        let start = text.iter().position(|byte| *byte != b'\r').unwrap_or(0);
        let text = &text[if unended { 0 } else { start.min(end) }..end];
        // All that a cut line had has been shown: no row for its end.
        if !(unended && text.is_empty()) {
            self.rows(rows, text, unended);
        }
    }

    /// Shows the beginning of a line whose end does not come.
    fn cut(&mut self, rows: &mut Vec<Row>) {
        // Not through a character.
        let whole = match self.pending.utf8_chunks().last() {
            Some(last) if last.invalid().len() < 4 => self.pending.len() - last.invalid().len(),
            _ => self.pending.len(),
        };
        let rest = self.pending.split_off(whole);
        let text = std::mem::replace(&mut self.pending, rest);
        let unended = std::mem::replace(&mut self.unended, true);
        self.rows(rows, &text, unended);
    }

    fn rows(&self, rows: &mut Vec<Row>, bytes: &[u8], mut continued: bool) {
        let mark = |continued: bool| if continued { CONTINUED } else { MARK };
        let text = visible(bytes);
        let Some(room) = self.columns.map(|columns| columns.saturating_sub(MARGIN).max(8)) else {
            rows.push(Row { mark: mark(continued), text });
            return;
        };
        let mut row = String::new();
        let mut width = 0;
        for c in text.chars() {
            let wide = columns_of(c);
            if width + wide > room {
                let text = std::mem::take(&mut row);
                rows.push(Row { mark: mark(continued), text });
                (width, continued) = (0, true);
            }
            row.push(c);
            width += wide;
        }
        rows.push(Row { mark: mark(continued), text: row });
    }
}

/// At most so many columns: a tab goes on to the next multiple of eight, and some letters are two wide.
fn columns_of(c: char) -> usize {
    match c {
        '\t' => 8,
        c if c.is_ascii() => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(console: &mut Console, bytes: &[u8]) -> Vec<String> {
        console.write(bytes).into_iter().map(|row| format!("{}{}", row.mark, row.text)).collect()
    }

    #[test]
    fn each_line_has_its_mark_however_it_ends() {
        let mut console = Console::default();
        let rows = shown(&mut console, b"one\r\ntwo\n\rthree\n\nverdict: ok");
        assert_eq!(rows, ["     │ one", "     │ two", "     │ three", "     │ "]);
        let last = console.end();
        assert_eq!(last, [Row { mark: MARK, text: "verdict: ok".into() }]);
        assert!(console.end().is_empty());
    }

    #[test]
    fn nothing_leaves_its_row() {
        let mut console = Console::default();
        let rows =
            shown(&mut console, "a\rverdict: ok\u{2028}verdict: ok\u{85}\x1b[1Gv\n".as_bytes());
        assert_eq!(rows, ["     │ a\\rverdict: ok\\u{2028}verdict: ok\\x85\\x1b[1Gv"]);
    }

    #[test]
    fn a_line_without_an_end_is_shown_in_bounded_pieces() {
        let mut console = Console::default();
        let rows = shown(&mut console, &vec![b'x'; 3 * LIMIT + 5]);
        assert_eq!(rows.len(), 3);
        assert!(rows[0].starts_with("     │ x") && rows[2].starts_with("     ┊ x"));
        assert!(rows.iter().all(|row| row.len() < LIMIT + 20));
        assert_eq!(shown(&mut console, b"\nnext\n"), ["     ┊ xxxxx", "     │ next"]);
        // Not through a character, and no row of nothing behind one that was just full.
        let mut console = Console::default();
        let rows = shown(&mut console, &[&vec![b'x'; LIMIT - 1][..], "ü".as_bytes()].concat());
        assert_eq!((rows.len(), rows[0].ends_with('x')), (1, true));
        assert_eq!(shown(&mut console, b"\n"), ["     ┊ ü"]);
        let mut console = Console::default();
        shown(&mut console, &vec![b'x'; LIMIT]);
        assert!(shown(&mut console, b"\n").is_empty());
    }

    #[test]
    fn a_line_wider_than_the_terminal_does_not_reach_its_left_edge() {
        let mut console = Console::default();
        console.fit(Some(17));
        let rows = shown(&mut console, "0123456789verdict: ok\n世世世世世世\n".as_bytes());
        assert_eq!(
            rows,
            [
                "     │ 0123456789",
                "     ┊ verdict: o",
                "     ┊ k",
                "     │ 世世世世世",
                "     ┊ 世"
            ]
        );
    }
}
