//! Outputs that fail: each by itself, and the end tells.

use std::{fmt, io};

/// Somewhere that a report is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostOutput {
    /// The text.
    Text,
    /// The trace.
    Trace,
    /// The console, byte for byte.
    Console,
}

/// An output that took no more, and why: what came after that is not in it. The others and the run went on.
#[derive(Debug)]
pub struct Lost {
    /// Which.
    pub output: LostOutput,
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
