//! The lines of a trace, as a page wants them: most of what it shows goes into it as it is.

use crate::trace::{ReadError, TraceReader};
use serde_json::Value;
use std::io::BufRead;
use thiserror::Error;

/// Why there is no page.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The trace cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It has more stops than a page can show.
    #[error("the trace has more than {0} entries and returns, which is more than a page can show")]
    TooLong(usize),
    /// What should be claims is none.
    #[error("it is no table of claims, which esp0 claims --json writes")]
    NoClaims,
}

/// One line.
#[derive(Debug)]
pub(super) struct Record(Value);

impl Record {
    /// Its type.
    pub(super) fn kind(&self) -> &str {
        self.text("type")
    }

    /// A member of any form.
    pub(super) fn get(&self, name: &str) -> &Value {
        &self.0[name]
    }

    pub(super) fn into_value(self) -> Value {
        self.0
    }

    /// A plain number; 0 where there is none.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or(0)
    }

    /// Hexadecimal digits; 0 where there are none.
    pub(super) fn hex(&self, name: &str) -> u64 {
        hex(&self.0[name]).unwrap_or(0)
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }
}

/// A number that a trace writes in hexadecimal digits.
pub(super) fn hex(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?, 16).ok()
}

/// The header of a trace.
pub(super) fn header<R: BufRead>(trace: &TraceReader<R>) -> Value {
    serde_json::from_slice(trace.header_line()).unwrap_or_default()
}

/// The next line, of whatever type.
pub(super) fn next<R: BufRead>(trace: &mut TraceReader<R>) -> Result<Option<Record>, ReadError> {
    let line = trace.line();
    let Some(text) = trace.next_line()? else { return Ok(None) };
    match serde_json::from_slice(text) {
        Ok(value) => Ok(Some(Record(value))),
        Err(error) => Err(ReadError::Malformed { line: line + 1, reason: error.to_string() }),
    }
}
