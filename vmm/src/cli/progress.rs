//! How far something has come, on a terminal.
//!
//! Nothing is shown of what takes less than [`PATIENCE`], and nothing at all where standard error is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Whoever waits longer wants to know what for.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// Does something of which nobody knows how long it takes.
pub(super) fn waiting<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let (done, over) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if over.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner().with_message(what);
            bar.enable_steady_tick(Duration::from_millis(120));
            let _ = over.recv();
            bar.finish_and_clear();
        });
        let result = work();
        drop(done);
        result
    })
}
