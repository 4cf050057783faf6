//! Standard output, whose reader may leave.

use std::io::{self, IsTerminal, Write};

/// Standard output. Passes bytes on until the reader has gone, and then lets them fall: the run goes on to its
/// end, for its exit status is wanted still (`esp0 | head`). Any other error is told once.
#[derive(Debug)]
pub(super) struct Output<W> {
    out: W,
    ended: bool,
}

impl Output<io::StdoutLock<'static>> {
    /// This program's.
    pub(super) fn standard() -> Self {
        Output::new(io::stdout().lock())
    }

    /// How many columns the terminal has, if it is one.
    pub(super) fn columns(&self) -> Option<usize> {
        let size = self.out.is_terminal().then(terminal_size::terminal_size)?;
        size.map(|(width, _)| width.0.into())
    }
}

impl<W: Write> Output<W> {
    fn new(out: W) -> Self {
        Output { out, ended: false }
    }

    fn unless_closed<T>(&mut self, result: io::Result<T>, dropped: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.ended = true;
                if error.kind() == io::ErrorKind::BrokenPipe { Ok(dropped) } else { Err(error) }
            }
            written => written,
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(bytes.len());
        }
        let written = self.out.write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.unless_closed(flushed, ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses everything.
    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_may_leave_and_a_full_disk_is_told() {
        let mut left = Output::new(Refusing(io::ErrorKind::BrokenPipe));
        left.write_all(b"text").unwrap();
        left.flush().unwrap();
        let mut full = Output::new(Refusing(io::ErrorKind::StorageFull));
        assert_eq!(full.write_all(b"text").unwrap_err().kind(), io::ErrorKind::StorageFull);
        full.write_all(b"once").unwrap();
    }
}
