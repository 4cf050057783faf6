//! A terminal to run esp0 at.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than any answer takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// A terminal with esp0 at its other end.
pub(crate) struct Terminal {
    typed: File,
    shown: Receiver<Vec<u8>>,
    /// What was shown and not yet expected.
    text: String,
    esp0: Child,
}

impl Terminal {
    /// None where this machine has no terminals to give; the reason is printed.
    pub(crate) fn open(arguments: &[&str]) -> Option<Self> {
        Terminal::of_size(0, 0, arguments)
    }

    /// The same of so many rows and columns; of none nobody knows.
    pub(crate) fn of_size(rows: u16, columns: u16, arguments: &[&str]) -> Option<Self> {
        let opened = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).and_then(|ours| {
            grantpt(&ours)?;
            unlockpt(&ours)?;
            let name = ptsname(&ours, Vec::new())?;
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&ours, size)?;
            Ok((ours, name))
        });
        let (ours, name) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                println!("skipped: there is no pseudoterminal here ({error})");
                return None;
            }
        };
        let path = name.to_str().expect("its name is text").to_owned();
        // A test that has no terminal of its own must not get this one: it would hang up with it.
        let mine_it_is_not = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
        let theirs =
            OpenOptions::new().read(true).write(true).custom_flags(mine_it_is_not).open(&path);
        let theirs = theirs.unwrap_or_else(|error| panic!("{path} cannot be opened: {error}"));
        let copy = || theirs.try_clone().expect("a file can be shared");
        let mut command = tests::binary::command(arguments);
        let esp0 = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn();
        let typed = File::from(ours);
        let mut output = typed.try_clone().expect("a file can be shared");
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The terminal's other end is closed with an error.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let _ = sender.send(buffer[..count].to_vec());
            }
        });
        Some(Terminal { typed, shown, text: String::new(), esp0: esp0.expect("esp0 starts") })
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.typed.write_all(text.as_bytes()).expect("a terminal takes what is typed");
    }

    /// The status with which esp0 ends.
    pub(crate) fn status(&mut self) -> Option<i32> {
        self.esp0.wait().expect("it ends").code()
    }

    /// Waits until this is shown; all that stood before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, wanted: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return std::mem::replace(&mut self.text, rest);
            }
            match self.shown.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("no {wanted:?} ({error}) in\n{:?}", self.text),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        let _ = self.esp0.kill();
        let _ = self.esp0.wait();
    }
}
