//! The line that is being typed: what each key does to it, and what the terminal is sent for that.
//!
//! ```text
//!  keys ─► Editor ─┬─► bytes for the terminal
//!                  └─► Event: a line, its end, a wish for completion
//! ```
//! Nothing here reads or writes, so it can be tried anywhere. The terminal is taken for one of [`COLUMNS`] columns that
//! knows the escape sequences of an ANSI terminal; a line that is longer is shown in part, around the cursor. A letter
//! at the end of a line is echoed as it is, so whoever types from a script sees a plain dialogue.
//!
//! A line with more than [`LONGEST`] bytes is refused as a whole: half a command may be another one.

use alloc::string::String;
use alloc::vec::Vec;

/// The longest line in bytes.
pub(crate) const LONGEST: usize = 255;
/// Columns of the terminal that are used.
pub(crate) const COLUMNS: usize = 79;
/// Lines that are remembered.
const REMEMBERED: usize = 64;

const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BELL: u8 = 7;
const ESCAPE: u8 = 27;

/// What a key led to, beside a changed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A whole line, without its end.
    Line(String),
    /// A line was longer than [`LONGEST`]; how many bytes it had.
    TooLong(usize),
    /// The line is given up.
    GivenUp,
    /// There will be no more lines.
    End,
    /// The word at the cursor is to be completed.
    Complete,
}

/// How much of an escape sequence has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequence {
    None,
    /// The escape character.
    Begun,
    /// And `[` or `O`, and the first number behind it.
    Control(u8),
    /// And a `;`: what else there is changes nothing.
    Modified(u8),
}

/// A line in the making, and those before it.
#[derive(Debug)]
pub(crate) struct Editor {
    prompt: &'static str,
    line: Vec<u8>,
    /// Where the next byte goes.
    cursor: usize,
    /// Bytes that had no room.
    beyond: usize,
    history: Vec<Vec<u8>>,
    /// Which of them is shown; as many as there are for the line that is new.
    shown: usize,
    /// The new line, while an old one is shown.
    draft: Vec<u8>,
    sequence: Sequence,
    /// What stands on the terminal is not the line.
    stale: bool,
    out: Vec<u8>,
}

impl Editor {
    /// An editor that writes this in front of each line.
    pub(crate) fn new(prompt: &'static str) -> Self {
        Editor {
            prompt,
            line: Vec::new(),
            cursor: 0,
            beyond: 0,
            history: Vec::new(),
            shown: 0,
            draft: Vec::new(),
            sequence: Sequence::None,
            stale: false,
            out: Vec::new(),
        }
    }

    /// Begins a line.
    pub(crate) fn begin(&mut self) {
        self.out.extend_from_slice(self.prompt.as_bytes());
    }

    /// What the terminal is to be sent.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        self.redraw();
        core::mem::take(&mut self.out)
    }

    /// The text in front of the cursor.
    pub(crate) fn before_cursor(&self) -> &str {
        str::from_utf8(&self.line[..self.cursor]).unwrap_or("")
    }

    /// Takes one byte that was typed.
    pub(crate) fn key(&mut self, byte: u8) -> Option<Event> {
        match self.sequence {
            Sequence::None => return self.plain(byte),
            Sequence::Begun => self.begun(byte),
            Sequence::Control(number) => match byte {
                b'0'..=b'9' => {
                    let number = number.wrapping_mul(10).wrapping_add(byte - b'0');
                    self.sequence = Sequence::Control(number);
                }
                b';' => self.sequence = Sequence::Modified(number),
                _ => self.named(number, byte, false),
            },
            Sequence::Modified(number) => match byte {
                b'0'..=b'9' | b';' => {}
                _ => self.named(number, byte, true),
            },
        }
        None
    }

    fn plain(&mut self, byte: u8) -> Option<Event> {
        match byte {
            b'\r' | b'\n' => return Some(self.finish()),
            INTERRUPT => {
                self.redraw();
                self.out.extend_from_slice(b"^C\n");
                self.forget();
                return Some(Event::GivenUp);
            }
            END if self.line.is_empty() => return Some(Event::End),
            END => self.delete(),
            b'\t' => return Some(Event::Complete),
            8 | 127 => self.backspace(),
            ESCAPE => self.sequence = Sequence::Begun,
            // As Emacs and readline have them.
            1 => self.go(0),
            2 => self.go(self.left()),
            5 => self.go(self.line.len()),
            6 => self.go(self.right()),
            11 => self.cut(self.cursor, self.line.len()),
            12 => {
                self.out.extend_from_slice(b"\x1b[H\x1b[2J");
                self.stale = true;
            }
            14 => self.recall(self.shown + 1),
            16 => self.recall(self.shown.wrapping_sub(1)),
            21 => self.cut(0, self.cursor),
            23 => self.cut(self.word_before(), self.cursor),
            b' '..=b'~' | 0x80.. => self.insert_byte(byte),
            _ => {}
        }
        None
    }

    /// The byte behind an escape character.
    fn begun(&mut self, byte: u8) {
        self.sequence = Sequence::None;
        match byte {
            b'[' | b'O' => self.sequence = Sequence::Control(0),
            b'b' => self.go(self.word_before()),
            b'f' => self.go(self.word_behind()),
            _ => {}
        }
    }

    /// The key that an escape sequence names.
    fn named(&mut self, number: u8, last: u8, modified: bool) {
        self.sequence = Sequence::None;
        match (last, number) {
            (b'A', _) => self.recall(self.shown.wrapping_sub(1)),
            (b'B', _) => self.recall(self.shown + 1),
            (b'C', _) if modified => self.go(self.word_behind()),
            (b'D', _) if modified => self.go(self.word_before()),
            (b'C', _) => self.go(self.right()),
            (b'D', _) => self.go(self.left()),
            (b'H', _) | (b'~', 1 | 7) => self.go(0),
            (b'F', _) | (b'~', 4 | 8) => self.go(self.line.len()),
            (b'~', 3) => self.delete(),
            _ => {}
        }
    }

    /// The end of the line was typed.
    fn finish(&mut self) -> Event {
        self.redraw();
        self.out.push(b'\n');
        let length = self.line.len() + self.beyond;
        let line = core::mem::take(&mut self.line);
        self.forget();
        if length > LONGEST {
            return Event::TooLong(length);
        }
        if !line.iter().all(|byte| *byte == b' ') && self.history.last() != Some(&line) {
            if self.history.len() == REMEMBERED {
                self.history.remove(0);
            }
            self.history.push(line.clone());
        }
        self.shown = self.history.len();
        Event::Line(String::from_utf8_lossy(&line).into_owned())
    }

    /// Begins with nothing.
    fn forget(&mut self) {
        self.line.clear();
        self.draft.clear();
        (self.cursor, self.beyond, self.stale) = (0, 0, false);
        self.shown = self.history.len();
    }

    /// Puts a text where the cursor is.
    pub(crate) fn insert(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.insert_byte(byte));
    }

    fn insert_byte(&mut self, byte: u8) {
        if self.line.len() >= LONGEST {
            if self.beyond == 0 {
                self.out.push(BELL);
            }
            self.beyond += 1;
            return;
        }
        let at_end = self.cursor == self.line.len();
        self.line.insert(self.cursor, byte);
        self.cursor += 1;
        let fits = self.prompt.len() + columns(&self.line) < COLUMNS;
        if at_end && fits && !self.stale {
            self.out.push(byte);
        } else {
            self.stale = true;
        }
    }

    fn backspace(&mut self) {
        if self.beyond > 0 {
            self.beyond -= 1;
            return;
        }
        let at_end = self.cursor == self.line.len();
        let left = self.left();
        if left == self.cursor {
            return;
        }
        let fitted = self.prompt.len() + columns(&self.line) < COLUMNS;
        self.line.drain(left..self.cursor);
        self.cursor = left;
        if at_end && fitted && !self.stale {
            self.out.extend_from_slice(b"\x08 \x08");
        } else {
            self.stale = true;
        }
    }

    fn delete(&mut self) {
        self.cut(self.cursor, self.right());
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.line.drain(from..to);
        (self.cursor, self.beyond) = (from, 0);
        self.stale = true;
    }

    fn go(&mut self, to: usize) {
        self.stale |= to != self.cursor;
        self.cursor = to;
    }

    /// Shows a line of before, or the new one behind the last.
    fn recall(&mut self, which: usize) {
        if which > self.history.len() {
            self.out.push(BELL);
            return;
        }
        if self.shown == self.history.len() {
            self.draft = core::mem::take(&mut self.line);
        }
        self.line = self.history.get(which).unwrap_or(&self.draft).clone();
        (self.shown, self.cursor, self.beyond) = (which, self.line.len(), 0);
        self.stale = true;
    }

    fn left(&self) -> usize {
        let before = &self.line[..self.cursor];
        before.iter().rposition(|byte| begins(*byte)).unwrap_or(0)
    }

    fn right(&self) -> usize {
        let behind = self.line.get(self.cursor + 1..).unwrap_or_default();
        let next = behind.iter().position(|byte| begins(*byte));
        next.map_or(self.line.len(), |next| self.cursor + 1 + next)
    }

    fn word_before(&self) -> usize {
        let before = &self.line[..self.cursor];
        let end = before.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
        before[..end].iter().rposition(|byte| *byte == b' ').map_or(0, |at| at + 1)
    }

    fn word_behind(&self) -> usize {
        let behind = &self.line[self.cursor..];
        let start = behind.iter().position(|byte| *byte != b' ').unwrap_or(behind.len());
        let end = behind[start..].iter().position(|byte| *byte == b' ');
        self.cursor + end.map_or(behind.len(), |end| start + end)
    }

    /// The line is to be drawn anew, behind whatever was written meanwhile.
    pub(crate) fn draw_again(&mut self) {
        self.stale = true;
    }

    /// Draws the prompt and that part of the line which has the cursor, if that is not what stands there.
    fn redraw(&mut self) {
        if !core::mem::take(&mut self.stale) {
            return;
        }
        let room = COLUMNS - self.prompt.len();
        let first = columns(&self.line[..self.cursor]).saturating_sub(room);
        let shown = self.line.iter().scan(0, |column, byte| {
            *column += usize::from(begins(*byte));
            Some((*column - usize::from(*column > 0), *byte))
        });
        let shown: Vec<(usize, u8)> =
            shown.filter(|(column, _)| (first..first + room).contains(column)).collect();
        self.out.push(b'\r');
        self.out.extend_from_slice(self.prompt.as_bytes());
        self.out.extend(shown.iter().map(|(_, byte)| byte));
        self.out.extend_from_slice(b"\x1b[K");
        let end = shown.last().map_or(first, |(column, _)| column + 1);
        let back = end - columns(&self.line[..self.cursor]);
        if back > 0 {
            let number = alloc::format!("\x1b[{back}D");
            self.out.extend_from_slice(number.as_bytes());
        }
    }
}

/// Whether a character of UTF-8 begins with this byte.
const fn begins(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

fn columns(text: &[u8]) -> usize {
    text.iter().filter(|byte| begins(**byte)).count()
}

/// What a word can be completed to: what all names that begin with it have in common behind it, and which those are.
pub(crate) fn completion<'a>(word: &str, names: &'a [String]) -> (&'a str, Vec<&'a str>) {
    let fit: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| name.starts_with(word)).collect();
    let Some((first, others)) = fit.split_first() else { return ("", fit) };
    let common = others.iter().fold(first.len(), |common, other| {
        let same = first.bytes().zip(other.bytes()).take_while(|(one, other)| one == other);
        same.count().min(common)
    });
    (first.get(word.len()..common).unwrap_or(""), fit)
}
