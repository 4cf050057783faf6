//! What is forbidden in the sandbox, tried from inside: each in a process of its own, which is this test again.

use esp0::sandbox::{Phase, filter, withdraw};
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};

/// Says to the test what it is to try.
const TRY: &str = "ESP0_TRY_IN_SANDBOX";
/// How a process ends that the sandbox ends.
const REFUSED: i32 = 2;

/// What is tried, and the number of the system call that it takes.
const FORBIDDEN: [(&str, fn(), i64); 6] = [
    ("open", || drop(File::open("/etc/passwd")), libc::SYS_openat),
    ("make a file", || drop(File::create("/tmp/esp0-sandbox")), libc::SYS_openat),
    ("socket", || drop(TcpListener::bind("127.0.0.1:0")), libc::SYS_socket),
    ("program", || drop(Command::new("true").exec()), 0),
    (
        "thread",
        || drop(std::thread::Builder::new().spawn(|| ()).map(|t| t.join())),
        libc::SYS_clone3,
    ),
    ("remove", || drop(std::fs::remove_file("/tmp/no-such-file")), libc::SYS_unlink),
];

#[test]
fn what_no_run_needs_ends_it_with_a_sentence() {
    if let Ok(wanted) = std::env::var(TRY) {
        withdraw().expect("privileges can be given up");
        filter(Phase::Run).expect("system calls can be filtered");
        filter(Phase::Report).expect("and more of them");
        let mut out = std::io::stderr();
        writeln!(out, "inside").expect("what is open can be written");
        if let Some((_, attempt, _)) = FORBIDDEN.iter().find(|(name, _, _)| *name == wanted) {
            attempt();
            writeln!(out, "it was possible").expect("as before");
        }
        std::process::exit(0);
    }
    let attempt = |name: &str| {
        let own = std::env::current_exe().expect("this test is a program");
        let output = Command::new(own)
            .args(["--exact", "what_no_run_needs_ends_it_with_a_sentence", "--nocapture"])
            .env(TRY, name)
            .stdin(Stdio::null())
            .output()
            .expect("it can be started again");
        // With all signals blocked, as while a thread is made, it ends without the sentence.
        assert!(matches!(output.status.signal(), None | Some(libc::SIGSYS)), "{name}");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(attempt("nothing"), (Some(0), "inside\n".into()));
    for (name, _, call) in FORBIDDEN {
        let (status, text) = attempt(name);
        assert!(!text.contains("possible"), "{name}: {text}");
        if name == "thread" {
            assert_eq!(status, None, "{name}: {text}");
            continue;
        }
        assert_eq!(status, Some(REFUSED), "{name}: {text}");
        let sentence = text.strip_prefix("inside\n").unwrap_or("");
        assert!(sentence.starts_with("esp0: the sandbox refused system call "), "{name}: {text}");
        // Before it starts a program the library resets signals, which is refused as well.
        if call != 0 {
            let word = sentence.split(&[' ', ','][..]).filter(|word| !word.is_empty()).nth(6);
            assert_eq!(word, Some(call.to_string().as_str()), "{name}: {text}");
        }
    }
}
