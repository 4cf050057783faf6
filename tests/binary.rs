//! The program `esp0`, as a user starts it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;

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
/// If it was not built, or not from the same sources as the tests.
pub fn esp0(arguments: &[&str]) -> Output {
    run(arguments, true, "")
}

/// Runs `esp0` with these arguments, and types `input`.
///
/// # Panics
/// As [`esp0()`].
pub fn esp0_typed(arguments: &[&str], input: &str) -> Output {
    run(arguments, true, input)
}

/// Runs `esp0` with these arguments, and closes its standard output at once.
///
/// # Panics
/// As [`esp0()`].
pub fn esp0_unread(arguments: &[&str]) -> Output {
    run(arguments, false, "")
}

/// Runs `script` in a shell, where `"$0" "$@"` is `esp0` with these arguments.
///
/// # Panics
/// As [`esp0()`].
pub fn esp0_in_shell(script: &str, arguments: &[&str]) -> Output {
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("there is a shell");
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `esp0` with these arguments and variables in its environment.
///
/// # Panics
/// As [`esp0()`].
pub fn esp0_with(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let output = Command::new(program())
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("esp0 cannot be started: {error}"));
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Starts `esp0` with these arguments, all three streams in pipes.
///
/// # Panics
/// As [`esp0()`].
pub fn started(arguments: &[&str]) -> std::process::Child {
    Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("esp0 cannot be started: {error}"))
}

/// `esp0` with these arguments, not yet started.
///
/// # Panics
/// As [`esp0()`].
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments);
    command
}

fn program() -> &'static Path {
    static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(find);
    PROGRAM.as_deref().unwrap_or_else(|why| panic!("{why}: run `cargo build`"))
}

fn run(arguments: &[&str], read: bool, input: &str) -> Output {
    let program = program();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
    let mut typed = child.stdin.take().expect("it is a pipe");
    // Who does not read has ended, and its status tells.
    let _ = typed.write_all(input.as_bytes());
    drop(typed);
    if !read {
        drop(child.stdout.take());
    }
    let output = child.wait_with_output().expect("its output can be read");
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The program beside these tests: target/PROFILE/esp0 and target/PROFILE/deps/kvm-….
///
/// `cargo test` builds it with the tests of its package. `cargo test -p tests` does not, and may find
/// one from before the last change.
fn find() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.ancestors().nth(2).ok_or("a test lies in target/PROFILE/deps")?;
    let program = folder.join("esp0");
    let Some(built) = modified(&program) else {
        return Err(format!("{} is not there", program.display()));
    };
    // Cargo's list of what it was built from: `PROGRAM: SOURCE SOURCE…`.
    let list = fs::read_to_string(folder.join("esp0.d")).unwrap_or_default();
    let newer = list.split_whitespace().skip(1).map(Path::new).find(|source| {
        source.is_file()
            && modified(source)
                .is_some_and(|changed| built < changed && Some(changed) < modified(&own))
    });
    match newer {
        Some(source) => Err(format!("{} is older than {}", program.display(), source.display())),
        None => crate::staged::staged(&program)
            .map_err(|error| format!("{} cannot be copied ({error})", program.display())),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
