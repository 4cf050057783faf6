//! What is typed, on its way to the guest's serial port.
//!
//! A thread reads, for reading blocks; the run takes over what it has read between two exits, or while
//! the guest waits in HLT.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

/// How long what is typed may wait for a guest that causes no exit.
pub(super) const LATENCY: Duration = Duration::from_millis(10);

/// Bytes for the guest's serial port, as they come.
#[derive(Debug)]
pub struct Input {
    bytes: Receiver<Vec<u8>>,
    /// There will be no more.
    ended: bool,
}

impl Input {
    /// Takes bytes from `reader` until it ends.
    pub fn new(mut reader: impl Read + Send + 'static) -> Self {
        let (sender, bytes) = channel();
        let (begins, begun) = channel();
        std::thread::spawn(move || {
            let _ = begins.send(());
            let mut buffer = [0; 256];
            loop {
                match reader.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => break,
                    Ok(count) => {
                        if sender.send(buffer[..count].to_vec()).is_err() {
                            break;
                        }
                    }
                }
            }
        });
        // What a thread asks of the system to begin with, a sandbox that comes next may refuse.
        let _ = begun.recv();
        Input { bytes, ended: false }
    }

    /// There will be no more bytes.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// What has come since it was last asked.
    pub(super) fn poll(&mut self) -> Option<Vec<u8>> {
        match self.bytes.try_recv() {
            Ok(bytes) => Some(bytes),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.ended = true;
                None
            }
        }
    }

    /// What comes within `time`.
    pub(super) fn wait(&mut self, time: Duration) -> Option<Vec<u8>> {
        match self.bytes.recv_timeout(time) {
            Ok(bytes) => Some(bytes),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                // Nothing comes, and the time passes all the same.
                std::thread::sleep(time);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_arrives_and_the_end_is_known() {
        let mut input = Input::new(&b"ls\n"[..]);
        assert_eq!(input.wait(Duration::from_secs(5)).as_deref(), Some(&b"ls\n"[..]));
        while !input.ended() {
            assert_eq!(input.wait(Duration::from_millis(1)), None);
        }
        assert_eq!(input.poll(), None);
    }
}
