//! One standard stream, from a file descriptor into frames ([`pump`]) and out of frames again ([`Sink`]).

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wire::{Kind, Sender, WINDOW};

/// How much a pump may still send; `None` once nobody reads the stream any more.
pub(crate) struct Credit {
    left: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Credit {
    pub(crate) fn new() -> Arc<Credit> {
        Arc::new(Credit { left: Mutex::new(Some(WINDOW)), changed: Condvar::new() })
    }

    pub(crate) fn add(&self, bytes: usize) {
        if let Some(left) = &mut *self.left.lock().unwrap() {
            *left += bytes;
        }
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        *self.left.lock().unwrap() = None;
        self.changed.notify_all();
    }

    fn wait(&self) -> Option<usize> {
        *self.changed.wait_while(self.left.lock().unwrap(), |left| *left == Some(0)).unwrap()
    }

    fn take(&self, bytes: usize) {
        if let Some(left) = &mut *self.left.lock().unwrap() {
            *left -= bytes;
        }
    }
}

/// Sends what can be read from `from` as the given stream, until its end or until nobody wants it.
pub(crate) fn pump(mut from: File, stream: u8, to: &Sender, credit: &Credit) {
    let mut buffer = vec![0; 64 * 1024];
    while let Some(left) = credit.wait() {
        let room = left.min(buffer.len());
        match from.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(count) => {
                credit.take(count);
                if to.send(Kind::Data, stream, 0, &buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A job in the background may not read its terminal; it may later, in the foreground.
            Err(_) if crate::sys::in_background(&from) => thread::sleep(Duration::from_millis(200)),
            // A pseudo-terminal whose last user is gone says EIO: its end.
            Err(_) => break,
        }
    }
    drop(from);
    let _ = to.send(Kind::Data, stream, 0, &[]);
}

/// Writes one stream's bytes to a file descriptor, in a thread of its own.
pub(crate) struct Sink {
    queue: mpsc::Sender<Vec<u8>>,
    thread: JoinHandle<()>,
}

impl Sink {
    /// `end` is written when the stream ends: a terminal cannot be closed, but it knows an end-of-file character.
    pub(crate) fn new(mut out: File, stream: u8, back: Sender, end: &'static [u8]) -> Sink {
        let (queue, frames) = mpsc::channel::<Vec<u8>>();
        let thread = thread::spawn(move || {
            for bytes in frames {
                if bytes.is_empty() {
                    let _ = out.write_all(end);
                    return;
                }
                if out.write_all(&bytes).is_err() {
                    let _ = back.send(Kind::Closed, stream, 0, &[]);
                    return;
                }
                let _ = back.send(Kind::Credit, stream, bytes.len() as u32, &[]);
            }
        });
        Sink { queue, thread }
    }

    pub(crate) fn write(&self, bytes: Vec<u8>) {
        // After a failed write the thread is gone, and the far end has been told.
        let _ = self.queue.send(bytes);
    }

    /// Waits until all is written.
    pub(crate) fn finish(self) {
        drop(self.queue);
        let _ = self.thread.join();
    }
}
