//! Formatted output: one message or system call for each line.

use crate::{call, console};
use core::fmt;

/// A line in the making.
pub struct Line {
    text: [u8; 120],
    length: usize,
}

impl Line {
    /// Writes formatted text, with nothing added.
    pub fn print(text: fmt::Arguments<'_>) {
        Self::of(text).flush();
    }

    /// Writes formatted text, and the end of the line.
    pub fn print_line(text: fmt::Arguments<'_>) {
        let mut line = Self::of(text);
        let _ = fmt::Write::write_str(&mut line, "\n");
        line.flush();
    }

    fn of(text: fmt::Arguments<'_>) -> Self {
        let mut line = Self { text: [0; 120], length: 0 };
        // There is nobody to tell that it could not be written.
        let _ = fmt::write(&mut line, text);
        line
    }

    fn flush(&mut self) {
        let text = &self.text[..self.length];
        let to_server = console::server().is_some_and(|server| console::write(server, text));
        if !to_server {
            let _ = call::write(text);
        }
        self.length = 0;
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.length == self.text.len() {
                self.flush();
            }
            let room = &mut self.text[self.length..];
            let (now, later) = rest.split_at(rest.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.length += now.len();
            rest = later;
        }
        Ok(())
    }
}

/// Writes formatted text to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {
        $crate::Line::print(::core::format_args!($($argument)*))
    };
}

/// Writes formatted text and the end of the line to the console, in one piece.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::Line::print_line(::core::format_args!($($argument)*))
    };
}
