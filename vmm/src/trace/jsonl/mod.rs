//! Writes a trace as JSON Lines.
//!
//! Two kinds of lines are hot, an entry and a return that nothing is to be said of: they are written by [`fast`],
//! for serde_json costs several times what a stop at a probe does. All else goes by serde, out of the types in
//! [`super::schema`]; a test holds the hot lines to the same types.
//!
//! A file whose name ends in `.zst` is compressed as it is written.

mod fast;
mod output;
mod template;

pub use output::Output;
pub(crate) use output::is_compressed;

use super::schema::{ConsoleRecord, HeaderRecord, Record};
use crate::check::Judgement;
use crate::entry::{Entry, Return};
use std::fs::File;
use std::io;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 * 1024;

/// How much of the console is kept back until another record comes.
const CONSOLE: usize = 4096;

/// Writes a trace.
#[derive(Debug)]
pub struct JsonLines {
    output: Output,
    buffer: Vec<u8>,
    /// Console output that is not in a record yet: a guest writes byte for byte.
    console: Vec<u8>,
    /// CR0 and CR4 as last written.
    control: Option<(u32, u32)>,
}

impl JsonLines {
    /// Starts a trace with its header.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn new(file: File, header: HeaderRecord) -> io::Result<Self> {
        Self::to(Output::Plain(file), header)
    }

    /// Starts a trace that goes to `output`.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn to(output: Output, header: HeaderRecord) -> io::Result<Self> {
        let mut trace = JsonLines {
            output,
            buffer: Vec::with_capacity(BUFFER + 4096),
            console: Vec::new(),
            control: None,
        };
        trace.buffer.extend(Record::Header(header).to_line());
        // A trace that cannot be written is to be known at once.
        trace.flush()?;
        Ok(trace)
    }

    /// Writes an entry; false if more is to be said of it than the hot line holds, and it was not written.
    ///
    /// # Errors
    /// If the file cannot be written.
    #[inline]
    pub fn entry(&mut self, entry: &Entry, judgement: &Judgement) -> io::Result<bool> {
        if !fast::takes_entry(entry, judgement) {
            return Ok(false);
        }
        self.end_console()?;
        let control = self.changed_control(entry.after.cr0, entry.after.cr4);
        fast::entry(&mut self.buffer, entry, judgement, control);
        self.end_line().map(|()| true)
    }

    /// Writes a return; false as with [`JsonLines::entry`].
    ///
    /// # Errors
    /// If the file cannot be written.
    #[inline]
    pub fn leave(&mut self, returning: &Return, judgement: &Judgement) -> io::Result<bool> {
        if !fast::takes_return(judgement) {
            return Ok(false);
        }
        self.end_console()?;
        fast::leave(&mut self.buffer, returning, judgement);
        self.end_line().map(|()| true)
    }

    /// Writes any record.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        self.end_console()?;
        match record {
            Record::Entry(entry) if entry.cr0.is_some() => {
                let mut entry = entry.clone();
                let all = (entry.cr0.unwrap_or(0), entry.cr4.unwrap_or(0));
                if self.changed_control(all.0, all.1).is_none() {
                    (entry.cr0, entry.cr4) = (None, None);
                }
                self.buffer.extend(Record::Entry(entry).to_line());
            }
            _ => self.buffer.extend(record.to_line()),
        }
        self.end_line()
    }

    /// Writes lines of types that are no [`Record`]s: what a page shows beside them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(lines);
        self.end_line()
    }

    /// Writes what the guest wrote to its console, with what comes right after it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn console(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(CONSOLE) {
            self.console.extend_from_slice(piece);
            if self.console.len() >= CONSOLE {
                self.end_console()?;
            }
        }
        Ok(())
    }

    #[inline]
    fn end_console(&mut self) -> io::Result<()> {
        if self.console.is_empty() { Ok(()) } else { self.write_console() }
    }

    #[cold]
    fn write_console(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.console);
        self.buffer.extend(Record::Console(ConsoleRecord::new(bytes)).to_line());
        self.end_line()
    }

    /// CR0 and CR4, if they are not those of the last entry.
    #[inline]
    fn changed_control(&mut self, cr0: u32, cr4: u32) -> Option<(u32, u32)> {
        if self.control == Some((cr0, cr4)) {
            return None;
        }
        self.control = Some((cr0, cr4));
        self.control
    }

    #[inline]
    fn end_line(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.output.write(&self.buffer);
        self.buffer.clear();
        written
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.end_console()?;
        self.flush()?;
        self.output.finish()
    }
}
