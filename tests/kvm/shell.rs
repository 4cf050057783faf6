//! The shell that `--interactive` leads to, typed at through a terminal; and its editor, key by key.

use crate::terminal::Terminal;

#[path = "../../guest/user/src/bin/sh/edit.rs"]
mod edit;

use edit::{Editor, Event, completion};

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
    assert_eq!(terminal.status(), Some(0));
}

#[test]
fn ctrl_a_x_ends_the_run_from_anywhere() {
    let Some(mut terminal) = Terminal::open(&["run", "--interactive"]) else { return };
    terminal.expect("$ ");
    terminal.types("half a li\x01x");
    terminal.expect("verdict: interrupted ");
    assert_eq!(terminal.status(), Some(130));
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
