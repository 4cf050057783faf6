//! The shell that `--interactive` leads to, typed at through a terminal; and its editor, key by key.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

#[path = "../../guest/user/src/bin/sh/edit.rs"]
mod edit;

use edit::{Editor, Event, completion};

/// Longer than any answer takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// A terminal with esp0 at its other end.
struct Terminal {
    typed: File,
    shown: Receiver<Vec<u8>>,
    /// What was shown and not yet expected.
    text: String,
    esp0: Child,
}

impl Terminal {
    /// None where this machine has no terminals to give; the reason is printed.
    fn open(arguments: &[&str]) -> Option<Self> {
        let opened = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).and_then(|ours| {
            grantpt(&ours)?;
            unlockpt(&ours)?;
            let name = ptsname(&ours, Vec::new())?;
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

    fn types(&mut self, text: &str) {
        self.typed.write_all(text.as_bytes()).expect("a terminal takes what is typed");
    }

    /// Waits until this is shown; all that stood before it.
    #[track_caller]
    fn expect(&mut self, wanted: &str) -> String {
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

#[test]
fn a_shell_is_typed_at_edited_interrupted_and_left() {
    let Some(mut terminal) = Terminal::open(&["run", "--interactive"]) else { return };
    let first = terminal.expect("\n");
    assert!(first.contains("Ctrl-A x"), "{first:?}");
    terminal.expect("type `help`");
    terminal.expect("$ ");
    // The first letter comes last: Home, `s`.
    terminal.types("leeper 1\x1b[Hs\r");
    terminal.expect("slept through 1 ticks");
    terminal.expect("$ ");
    // The line before, its number changed.
    terminal.types("\x1b[A\x7f2\r");
    terminal.expect("slept through 2 ticks");
    terminal.expect("$ ");
    terminal.types("run sleepe\t3\r");
    terminal.expect("sleeper 3");
    terminal.expect("slept through 3 ticks");
    terminal.expect("$ ");
    terminal.types("sleeper 1000000\r");
    terminal.expect("good night");
    terminal.types("\x03");
    terminal.expect("^C");
    terminal.expect("sleeper: killed");
    terminal.expect("$ ");
    // Ctrl-C where nothing runs gives the line up; what was interrupted before ends nothing now.
    terminal.types("sleep 1000000\x03");
    terminal.expect("^C");
    terminal.types("sleeper 1\r");
    terminal.expect("slept through 1 ticks");
    terminal.types("sleep 1000000\r");
    terminal.expect("sleep 1000000\r\n");
    terminal.types("\x03");
    terminal.expect("sh: killed");
    terminal.expect("$ ");
    terminal.types(&("y".repeat(300) + "\r"));
    terminal.expect("a line has at most 255 bytes, and this one has 300: it is not done");
    terminal.expect("$ ");
    terminal.types("exit 0\r");
    terminal.expect("verdict: ok ");
    assert_eq!(terminal.esp0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn ctrl_a_x_ends_the_run_from_anywhere() {
    let Some(mut terminal) = Terminal::open(&["run", "--interactive"]) else { return };
    terminal.expect("$ ");
    terminal.types("half a li\x01x");
    terminal.expect("verdict: interrupted ");
    assert_eq!(terminal.esp0.wait().expect("it ends").code(), Some(130));
}

/// What comes of these keys, and what the terminal is sent for the last of them.
fn typed(editor: &mut Editor, keys: &str) -> (Vec<Event>, String) {
    editor.output();
    let events = keys.bytes().filter_map(|byte| editor.key(byte)).collect();
    (events, String::from_utf8(editor.output()).expect("text"))
}

fn line(text: &str) -> Vec<Event> {
    vec![Event::Line(text.into())]
}

#[test]
fn keys_edit_the_line_as_a_terminals_user_expects() {
    for (keys, expected) in [
        ("ls\r", "ls"),
        ("lsx\x7f\r", "ls"),
        ("ac\x1b[Db\r", "abc"),
        ("bc\x1b[Ha\r", "abc"),
        ("bc\x1bOHa\x1bOFd\r", "abcd"),
        ("axb\x1b[D\x1b[D\x1b[3~\r", "ab"),
        ("one two\x17three\r", "one three"),
        ("one two\x15three\r", "three"),
        ("one two\x1b[1;5D\x0b\r", "one "),
        ("one two\x1bb\x1bbzero \x05!\r", "zero one two!"),
        ("aä\x7fb\r", "ab"),
        ("ä\x1b[Da\r", "aä"),
        ("\x1b[5~\x1b[99;99Zx\x0c\r", "x"),
        ("ab\x1b[D\x04\x04\r", "a"),
    ] {
        let mut editor = Editor::new("$ ");
        assert_eq!(typed(&mut editor, keys).0, line(expected), "{keys:?}");
    }
    let mut editor = Editor::new("$ ");
    assert_eq!(typed(&mut editor, "half\x03").0, [Event::GivenUp]);
    assert_eq!(typed(&mut editor, "\x04").0, [Event::End]);
}

#[test]
fn earlier_lines_come_back_and_the_new_one_is_not_lost() {
    let mut editor = Editor::new("$ ");
    for text in ["one", "two", "two", "  "] {
        assert_eq!(typed(&mut editor, &format!("{text}\r")).0, line(text));
    }
    assert_eq!(typed(&mut editor, "new\x1b[A\x1b[A\r").0, line("one"));
    assert_eq!(typed(&mut editor, "new\x1b[A\x1b[A\x1b[B\x1b[B\r").0, line("new"));
    let (_, output) = typed(&mut editor, "\x1b[B");
    assert_eq!(output, "\x07", "there is nothing behind the new line");
    for number in 0..100 {
        typed(&mut editor, &format!("{number}\r"));
    }
    assert_eq!(typed(&mut editor, &("\x1b[A".repeat(64) + "\r")).0, line("36"));
}

#[test]
fn a_line_that_is_too_long_is_refused_and_not_cut() {
    let mut editor = Editor::new("$ ");
    let long = "z".repeat(edit::LONGEST);
    assert_eq!(typed(&mut editor, &format!("{long}\r")).0, line(&long));
    assert_eq!(typed(&mut editor, &format!("{long}zz\r")).0, [Event::TooLong(edit::LONGEST + 2)]);
    assert_eq!(typed(&mut editor, &format!("{long}zz\x7f\x7f\r")).0, line(&long));
    assert_eq!(typed(&mut editor, "ls\r").0, line("ls"));
}

#[test]
fn the_terminal_is_sent_a_letter_at_the_end_and_the_line_elsewhere() {
    let mut editor = Editor::new("$ ");
    editor.begin();
    assert_eq!(editor.output(), b"$ ");
    assert_eq!(typed(&mut editor, "ls").1, "ls");
    assert_eq!(typed(&mut editor, "\x7f").1, "\x08 \x08");
    assert_eq!(typed(&mut editor, "\x1b[Dc").1, "\r$ cl\x1b[K\x1b[1D");
    // No row is left that has no line of its own.
    let (_, output) = typed(&mut editor, &"w".repeat(200));
    let shown = output.rsplit('\r').next().expect("it is drawn anew");
    let columns = shown.split("\x1b[K").next().expect("its rest is cleared").len();
    assert_eq!(columns, edit::COLUMNS);
}

#[test]
fn a_word_is_completed_as_far_as_all_that_fit_agree() {
    let names: Vec<String> = ["sleep", "sleeper", "stress", "ls"].map(Into::into).into();
    assert_eq!(completion("sl", &names), ("eep", vec!["sleep", "sleeper"]));
    assert_eq!(completion("sleep", &names), ("", vec!["sleep", "sleeper"]));
    assert_eq!(completion("sleepe", &names), ("r", vec!["sleeper"]));
    assert_eq!(completion("x", &names), ("", vec![]));
    assert_eq!(completion("", &names).1.len(), 4);
    let mut editor = Editor::new("$ ");
    typed(&mut editor, "run sl");
    assert_eq!(editor.before_cursor(), "run sl");
    editor.insert("eep");
    editor.draw_again();
    assert_eq!(editor.output(), b"eep\r$ run sleep\x1b[K");
}
