//! The user's terminal as the guest's serial line.

use super::failure::tell;
use esp0::machine::StopRequest;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd as _;
use vmm_sys_util::terminal::Terminal;

/// Ctrl-A: what comes next is for esp0.
const ESCAPE: u8 = 0x01;
/// Ctrl-D: what a terminal sends where a file ends.
const END_OF_FILE: u8 = 0x04;

/// Standard input without echo, line editing and signals, until it is dropped.
#[derive(Debug)]
pub(super) struct RawTerminal {
    raw: bool,
}

impl RawTerminal {
    /// Switches standard input over, if it is a terminal, and says how to get away.
    pub(super) fn new() -> Self {
        let stdin = io::stdin();
        let raw = stdin.is_terminal() && stdin.lock().set_raw_mode().is_ok();
        if raw {
            tell(
                "Ctrl-A x ends the run; all other keys are the guest's (Ctrl-A twice: one Ctrl-A)",
            );
        }
        RawTerminal { raw }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if self.raw {
            // There is nobody left to tell.
            let _ = io::stdin().lock().set_canon_mode();
        }
    }
}

/// What is typed, without what is for esp0: Ctrl-A x ends the run, Ctrl-A Ctrl-A is one Ctrl-A.
///
/// A file in place of a terminal ends with Ctrl-D, so that a shell in the guest ends too.
#[derive(Debug)]
pub(super) struct Typed<R> {
    from: R,
    stop: StopRequest,
    escaped: bool,
    ended: bool,
}

impl Typed<File> {
    /// What comes on standard input. It is read past Rust's own handle, whose lock a thread that waits for a key would
    /// hold while the terminal is to be put back.
    pub(super) fn standard(stop: StopRequest) -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Typed::new(input.into(), stop))
    }
}

impl<R: Read> Typed<R> {
    fn new(from: R, stop: StopRequest) -> Self {
        Typed { from, stop, escaped: false, ended: false }
    }

    /// Takes out of `bytes` what is for esp0; how many are left.
    fn filter(&mut self, bytes: &mut [u8]) -> usize {
        let mut kept = 0;
        for index in 0..bytes.len() {
            let byte = bytes[index];
            match (std::mem::take(&mut self.escaped), byte) {
                (false, ESCAPE) => self.escaped = true,
                (true, b'x' | b'X') => self.stop.request(),
                _ => {
                    bytes[kept] = byte;
                    kept += 1;
                }
            }
        }
        kept
    }
}

impl<R: Read> Read for Typed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.from.read(bytes)?;
            if count == 0 {
                if bytes.is_empty() || std::mem::replace(&mut self.ended, true) {
                    return Ok(0);
                }
                bytes[0] = END_OF_FILE;
                return Ok(1);
            }
            let kept = self.filter(&mut bytes[..count]);
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_escapes_are_one_and_a_file_ends_with_ctrl_d() {
        let mut read = Vec::new();
        Typed::new(&b"a\x01\x01b\x01cd"[..], StopRequest::default())
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, b"a\x01bcd\x04");
    }
}
