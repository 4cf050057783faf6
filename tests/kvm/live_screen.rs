//! The guest's text screen on the terminal, while it runs.

use crate::terminal::Terminal;
use std::io::Write as _;
use tempfile::NamedTempFile;
use tests::{compiled, esp0};

/// A kernel that prints on the screen alone, a letter a tick; none where there is no compiler for it.
fn kernel() -> Option<NamedTempFile> {
    let mut file = NamedTempFile::new().expect("a file can be made");
    file.write_all(&compiled("ON_SCREEN")?).expect("the kernel can be written");
    Some(file)
}

#[test]
fn the_screen_is_drawn_while_the_guest_runs_and_the_terminal_is_given_back() {
    let Some(kernel) = kernel() else { return };
    let path = kernel.path().to_str().expect("its name is text");
    let run = ["run", path, "--screen", "--until", "login: ready", "--timeout", "60"];
    let Some(mut terminal) = Terminal::of_size(40, 100, &run) else { return };
    // The rows below are for what esp0 prints.
    terminal.expect("\x1b[2J\x1b[27;40r");
    let before = terminal.expect("login: ready");
    assert!(before.matches("\x1b[4;1H").count() > 1, "it is drawn more than once: {before:?}");
    assert!(before.contains(" entries, 0 findings, 0 notes"), "{before:?}");
    let end = terminal.expect("verdict: ok ");
    assert!(end.contains("\x1b[r\x1b[40;1H"), "the whole terminal scrolls again: {end:?}");
    assert_eq!(terminal.status(), Some(0));
}

#[test]
fn what_is_typed_goes_to_the_guest_and_ctrl_a_x_ends_it() {
    let Some(kernel) = kernel() else { return };
    let path = kernel.path().to_str().expect("its name is text");
    let run = ["run", path, "--screen", "--interactive"];
    let Some(mut terminal) = Terminal::of_size(30, 80, &run) else { return };
    terminal.expect("login: ready");
    terminal.types("\x01x");
    terminal.expect("verdict: interrupted ");
    assert_eq!(terminal.status(), Some(130));
}

#[test]
fn without_room_for_it_one_sentence_says_so() {
    let Some(kernel) = kernel() else { return };
    let path = kernel.path().to_str().expect("its name is text");
    let output = esp0(&["run", path, "--screen"]);
    output.assert_status(2);
    assert!(output.stderr.contains("draws on a terminal, and standard output is none"));
    let Some(mut terminal) = Terminal::of_size(24, 80, &["run", path, "--screen"]) else { return };
    terminal.expect("80 columns and 30 rows at least: this one has 80 and 24");
    assert_eq!(terminal.status(), Some(2));
}
