//! Standard output that its reader may close.

use std::io::{self, Write};

/// Passes bytes on until the reader has gone, and then lets them fall: the run goes on to its end, for
/// its exit status is wanted still (`esp0 | head`).
#[derive(Debug)]
pub(super) struct Closable<W> {
    out: W,
    closed: bool,
}

impl<W: Write> Closable<W> {
    pub(super) fn new(out: W) -> Self {
        Closable { out, closed: false }
    }

    fn unless_closed<T>(&mut self, result: io::Result<T>, dropped: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(dropped)
            }
            other => other,
        }
    }
}

impl<W: Write> Write for Closable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let written = self.out.write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.unless_closed(flushed, ())
    }
}
