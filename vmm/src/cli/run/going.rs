//! How far a run has come, on a terminal: one line that draws over itself.
//!
//! | standard error | standard output | what is seen |
//! | --- | --- | --- |
//! | no terminal | | nothing |
//! | a terminal | elsewhere | the line, once the run takes longer than [`PATIENCE`] |
//! | a terminal | a terminal | the same, while nothing has been printed for that long |
//!
//! What is printed never meets the line: whoever prints takes it away first, and it is drawn only where the cursor stands
//! at the left edge. A guest may compute for minutes without an event, so a thread draws it. That asks the system for
//! nothing but to wait and to write, which the sandbox leaves, and takes no signal: those are for the thread of the vCPU.

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vmm_sys_util::signal::{block_signal, unblock_signal};

/// Whoever waits longer wants to know what for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two lines.
const PACE: Duration = Duration::from_millis(500);
/// Columns of a terminal that does not tell, and the most that are used.
const UNKNOWN: usize = 80;
const WIDEST: usize = 160;
/// Signals that end a run.
const STOPS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// The line, shared by whoever prints, whoever counts, and the thread that draws it.
#[derive(Clone)]
pub(super) struct Line(Arc<Shared>);

struct Shared {
    entries: AtomicU64,
    /// Of the guest's time, in nanoseconds; 0 where it is not counted.
    time: AtomicU64,
    /// When the run is ended by the wall clock.
    timeout: Option<Duration>,
    columns: usize,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    terminal: Box<dyn Write + Send>,
    drawn: bool,
    /// What was printed last ended its line.
    at_the_edge: bool,
    printed: Instant,
    over: bool,
}

impl Line {
    /// The line of a run, if it is to be seen.
    pub(super) fn of(quiet: bool, timeout: Option<Duration>) -> Option<Self> {
        let seen = !quiet && io::stderr().is_terminal();
        let columns = terminal_size::terminal_size_of(io::stderr());
        let columns = columns.map_or(0, |(width, _)| width.0.into());
        seen.then(|| Line::on(Box::new(io::stderr()), columns, timeout))
    }

    fn on(terminal: Box<dyn Write + Send>, columns: usize, timeout: Option<Duration>) -> Self {
        let columns = if columns == 0 { UNKNOWN } else { columns.min(WIDEST) };
        let printed = Instant::now();
        let state = State { terminal, drawn: false, at_the_edge: true, printed, over: false };
        Line(Arc::new(Shared {
            entries: AtomicU64::new(0),
            time: AtomicU64::new(0),
            timeout,
            columns,
            state: Mutex::new(state),
            wake: Condvar::new(),
        }))
    }

    /// So far it has come.
    pub(super) fn tell(&self, entries: u64, time: u64) {
        self.0.entries.store(entries, Ordering::Relaxed);
        self.0.time.store(time, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws it, where it is in nobody's way. Nothing here takes memory.
    fn draw(&self, state: &mut State, since: Duration) {
        if !state.at_the_edge || state.printed.elapsed() < PATIENCE {
            return;
        }
        let mut text = [0; WIDEST];
        // The last column stays free, or the cursor would be on the next line.
        let length = self.write(&mut text[..self.0.columns - 1], since);
        // There is nobody to tell if the terminal is gone.
        let _ = state.terminal.write_all(b"\r");
        let _ = state.terminal.write_all(&text[..length]);
        let _ = state.terminal.write_all(b"\x1b[K");
        let _ = state.terminal.flush();
        state.drawn = true;
    }

    /// The line's text, as much of it as there is room for; its length.
    fn write(&self, text: &mut [u8], since: Duration) -> usize {
        let Shared { entries, time, timeout, .. } = &*self.0;
        let room = text.len();
        let mut rest = text;
        let (entries, time) = (entries.load(Ordering::Relaxed), time.load(Ordering::Relaxed));
        let since = since.as_secs();
        // What does not fit is left out.
        let _ = write!(rest, "esp0: {since} s, {entries} entries");
        if time > 0 {
            let (ms, us) = (time / 1_000_000, time / 1000 % 1000);
            let _ = write!(rest, ", {ms}.{us:03} ms of the guest's time");
        }
        if let Some(timeout) = timeout {
            let left = timeout.as_secs().saturating_sub(since);
            let _ = write!(rest, ", at most {left} s left");
        }
        room - rest.len()
    }
}

impl State {
    fn erase(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = self.terminal.write_all(b"\r\x1b[K");
            let _ = self.terminal.flush();
        }
    }
}

/// The thread that draws a line, until this is dropped. It is begun before the sandbox's filter.
pub(super) struct Going {
    line: Line,
    thread: Option<JoinHandle<()>>,
}

impl Going {
    pub(super) fn begin(line: &Line) -> Self {
        let own = line.clone();
        let (begins, begun) = std::sync::mpsc::channel();
        let masked = STOPS.map(|signal| block_signal(signal).is_ok());
        let thread = std::thread::Builder::new().spawn(move || {
            // As long as it begins, it asks the system for more.
            let _ = begins.send(());
            drop(begins);
            own.draw_until_over();
        });
        for (signal, _) in STOPS.into_iter().zip(masked).filter(|(_, masked)| *masked) {
            // It was open before.
            let _ = unblock_signal(signal);
        }
        let thread = thread.ok();
        if thread.is_some() {
            let _ = begun.recv();
        }
        Going { line: line.clone(), thread }
    }
}

impl Line {
    fn draw_until_over(&self) {
        let begun = Instant::now();
        let mut state = self.state();
        while !state.over {
            let waited = self.0.wake.wait_timeout(state, PACE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !state.over {
                self.draw(&mut state, begun.elapsed());
            }
        }
        state.erase();
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.line.state().over = true;
        self.line.0.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // It had nothing to do but to draw.
            let _ = thread.join();
        }
    }
}

/// What is printed, on the same terminal perhaps: the line is taken away first.
pub(super) struct Beside<W> {
    pub(super) out: W,
    pub(super) line: Option<Line>,
}

impl<W: Write> Write for Beside<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(line) = &self.line else { return self.out.write(bytes) };
        let mut state = line.state();
        state.erase();
        let count = self.out.write(bytes)?;
        if let Some(last) = bytes[..count].last() {
            state.at_the_edge = *last == b'\n';
        }
        state.printed = Instant::now();
        // Whatever is held back is to be seen before the line is.
        self.out.flush()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that keeps what it is sent.
    #[derive(Clone, Default)]
    struct Sent(Arc<Mutex<Vec<u8>>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sent {
        fn text(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn line(columns: usize) -> (Line, Sent) {
        let sent = Sent::default();
        let line = Line::on(Box::new(sent.clone()), columns, Some(Duration::from_secs(60)));
        (line, sent)
    }

    fn draw(line: &Line) {
        line.draw(&mut line.state(), Duration::from_secs(9));
    }

    /// As if nothing had been printed for long.
    fn wait(line: &Line) {
        let long = PATIENCE * 2;
        line.state().printed = Instant::now().checked_sub(long).expect("it has been up so long");
    }

    #[test]
    fn the_line_says_how_far_the_run_is_and_fits_the_terminal() {
        let (whole, sent) = line(0);
        whole.tell(1234, 5_678_900);
        wait(&whole);
        draw(&whole);
        let text = "esp0: 9 s, 1234 entries, 5.678 ms of the guest's time, at most 51 s left";
        assert_eq!(sent.text(), format!("\r{text}\x1b[K"));
        let (narrow, sent) = line(20);
        wait(&narrow);
        draw(&narrow);
        assert_eq!(sent.text(), "\resp0: 9 s, 0 entrie\x1b[K");
    }

    #[test]
    fn whoever_prints_takes_the_line_away_and_it_stays_away_for_a_while() {
        let (line, sent) = line(0);
        let mut out = Beside { out: sent.clone(), line: Some(line.clone()) };
        wait(&line);
        draw(&line);
        sent.text();
        out.write_all(b"#1 int 0x80\n").unwrap();
        assert_eq!(sent.text(), "\r\x1b[K#1 int 0x80\n");
        draw(&line);
        assert_eq!(sent.text(), "", "lines are being printed");
        wait(&line);
        out.write_all(b"half a ").unwrap();
        wait(&line);
        draw(&line);
        assert_eq!(sent.text(), "half a ", "the cursor stands behind it");
        out.write_all(b"line\n").unwrap();
        wait(&line);
        draw(&line);
        assert!(sent.text().starts_with("line\n\resp0: "));
    }

    #[test]
    fn nothing_is_left_of_it_when_the_run_is_over() {
        let (line, sent) = line(0);
        wait(&line);
        let going = Going::begin(&line);
        let until = Instant::now() + Duration::from_secs(30);
        while !line.state().drawn && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(going);
        let text = sent.text();
        assert!(text.starts_with("\resp0: ") && text.ends_with("\r\x1b[K"), "{text:?}");
    }
}
