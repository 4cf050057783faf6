//! The program `esp0`, as a user starts it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What the program left behind.
#[derive(Debug)]
pub struct Output {
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// The last line that it printed.
    pub fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or("")
    }

    /// It ended with `status`.
    ///
    /// # Panics
    /// If not, with all that it said.
    #[track_caller]
    pub fn assert_status(&self, status: i32) {
        assert_eq!(
            self.status,
            Some(status),
            "expected exit status {status}\n--- stdout\n{}--- stderr\n{}",
            self.stdout,
            self.stderr
        );
    }
}

/// Runs `esp0` with these arguments, its output in pipes.
///
/// # Panics
/// If it was not built. Cargo builds it with the tests of the whole workspace, beside which these
/// are: target/PROFILE/deps/kvm-… and target/PROFILE/esp0.
pub fn esp0(arguments: &[&str]) -> Output {
    let own = std::env::current_exe().expect("a test knows where it is");
    let folder = own.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
    let program: PathBuf = folder.join("esp0");
    assert!(
        program.is_file(),
        "{} is not there: run `cargo build` first, or `cargo test` for the whole workspace",
        program.display()
    );
    let output = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
