//! The lines of a trace, as a page wants them.

use serde_json::Value;
use std::io::{self, BufRead, Read as _};
use thiserror::Error;

/// A line of a trace is no longer than this: who gives another file is told so before it fills the memory.
const LONGEST: u64 = 64 << 20;

/// Why there is no page.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The trace cannot be read.
    #[error("the trace cannot be read: {0}")]
    Read(io::Error),
    /// It is no trace.
    #[error("line {line} is no line of an esp0 trace ({reason})")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It has more stops than a page can show.
    #[error("the trace has more than {0} entries and returns, which is more than a page can show")]
    TooLong(usize),
}

/// One line.
#[derive(Debug)]
pub(super) struct Record {
    /// Counted from 1.
    pub(super) line: usize,
    value: Value,
}

impl Record {
    /// Its type.
    pub(super) fn kind(&self) -> &str {
        self.value["type"].as_str().unwrap_or_default()
    }

    /// A member of any form.
    pub(super) fn get(&self, name: &str) -> &Value {
        &self.value[name]
    }

    pub(super) fn into_value(self) -> Value {
        self.value
    }

    /// A plain number; 0 where there is none.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.value[name].as_u64().unwrap_or(0)
    }

    /// Hexadecimal digits, which may be missing.
    pub(super) fn hex(&self, name: &str) -> Option<u64> {
        hex(&self.value[name])
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.value[name].as_str().unwrap_or_default()
    }

    pub(super) fn malformed(&self, reason: impl Into<String>) -> ReportError {
        ReportError::Malformed { line: self.line, reason: reason.into() }
    }
}

/// A number that a trace writes in hexadecimal digits.
pub(super) fn hex(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?, 16).ok()
}

/// Reads the lines one after the other. What ends in the middle of a line was cut off there, which is told
/// and no error: the run that wrote it may have been killed.
#[derive(Debug)]
pub(super) struct Records<R> {
    input: R,
    line: usize,
    /// The last line was not whole.
    pub(super) cut: bool,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R) -> Self {
        Records { input, line: 0, cut: false }
    }

    pub(super) fn next(&mut self) -> Result<Option<Record>, ReportError> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let mut limited = (&mut self.input).take(LONGEST);
            let read = limited.read_until(b'\n', &mut text).map_err(ReportError::Read)?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            let whole = text.ends_with(b"\n");
            let malformed = |reason: String| ReportError::Malformed { line: self.line, reason };
            if !whole && read as u64 == LONGEST {
                return Err(malformed("it is too long".into()));
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let value = match serde_json::from_slice::<Value>(&text) {
                Ok(value) => value,
                Err(_) if !whole && self.line > 1 => {
                    self.cut = true;
                    return Ok(None);
                }
                Err(error) => return Err(malformed(error.to_string())),
            };
            if !value["type"].is_string() {
                return Err(malformed("it has no type".into()));
            }
            return Ok(Some(Record { line: self.line, value }));
        }
    }
}
