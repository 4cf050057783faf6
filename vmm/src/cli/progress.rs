//! How far something has come, on a terminal.
//!
//! Nothing is shown of what takes less than [`PATIENCE`], and nothing at all where standard error is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Whoever waits longer wants to know what for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a mark turns that shows nothing but that something goes on.
const TURN: Duration = Duration::from_millis(120);

/// A file, and a bar for how much of it has been read.
#[derive(Debug)]
pub(super) struct Progress {
    file: File,
    bar: ProgressBar,
    /// When the bar is to be seen; none if it is already, or never will be.
    due: Option<Instant>,
}

impl Progress {
    /// For a file whose reading is called `what`.
    pub(super) fn of(mut file: File, what: &'static str) -> Self {
        let length = length(&mut file);
        let seen = io::stderr().is_terminal();
        let due = length.filter(|_| seen).map(|_| Instant::now() + PATIENCE);
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        if let Ok(style) =
            ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left")
        {
            bar.set_style(style);
        }
        bar.set_message(what);
        Progress { file, bar, due }
    }
}

impl Read for Progress {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(bytes)?;
        self.bar.inc(count as u64);
        if self.due.is_some_and(|due| Instant::now() >= due) {
            self.due = None;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if count == 0 {
            self.bar.finish_and_clear();
        }
        Ok(count)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How long a file is, if it is one that ends. It is asked by seeking, which the sandbox leaves; a pipe refuses.
fn length(file: &mut File) -> Option<u64> {
    let here = file.stream_position().ok()?;
    let end = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(here)).ok()?;
    (end > 0).then_some(end)
}

/// Something of which nobody knows how long it takes: a mark that turns until this is dropped.
///
/// It has a thread, so it is begun before the sandbox; nothing more is asked of the system afterwards than to write.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Dropped, it ends the thread.
    going: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    /// Begins to wait.
    pub(super) fn begin(what: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Waiting { going: None, thread: None };
        }
        let (going, over) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let goes_on = |time| over.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if !goes_on(PATIENCE) {
                return;
            }
            let bar = ProgressBar::new_spinner().with_message(what);
            while goes_on(TURN) {
                bar.tick();
            }
            bar.finish_and_clear();
        });
        Waiting { going: Some(going), thread: Some(thread) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.going = None;
        if let Some(thread) = self.thread.take() {
            // It had nothing to do but to show.
            let _ = thread.join();
        }
    }
}
