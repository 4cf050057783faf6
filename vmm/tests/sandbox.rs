//! What is forbidden in the sandbox, tried from inside: each in a process of its own, which is this test again.

use esp0::sandbox::{Phase, filter, withdraw};
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};

/// Says to the test in which phases it is to try what.
const TRY: &str = "ESP0_TRY_IN_SANDBOX";
/// How a process ends that the sandbox ends.
const REFUSED: i32 = 2;

/// The ways through the phases: a run, one that gdb asks for, the doctor's and the claims', a replay's.
const WAYS: [(&str, &[Phase]); 4] = [
    ("run", &[Phase::Run, Phase::Report]),
    ("debug", &[Phase::Debug]),
    ("machines", &[Phase::Machines]),
    ("cases", &[Phase::Cases]),
];

/// What is tried, by name, with a socket that was open before, and the number of the system call that it takes. It says
/// whether it was possible, if it comes so far.
type Attempt = (&'static str, fn(&UnixStream) -> bool, i64);

/// To open a file for reading.
const READ: &str = "open";

const FORBIDDEN: [Attempt; 9] = [
    (READ, |_| File::open("/etc/passwd").is_ok(), libc::SYS_openat),
    ("open KVM again", |_| File::options().write(true).open("/dev/kvm").is_ok(), libc::SYS_openat),
    ("make a file", |_| File::create("/tmp/esp0-sandbox").is_ok(), libc::SYS_openat),
    ("socket", |_| TcpListener::bind("127.0.0.1:0").is_ok(), libc::SYS_socket),
    ("send", |_| UnixStream::pair().is_ok(), libc::SYS_socketpair),
    ("program", |_| Command::new("true").exec().raw_os_error().is_none(), 0),
    (
        "thread",
        |_| std::thread::Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok()),
        libc::SYS_clone3,
    ),
    ("remove", |_| std::fs::remove_file("/tmp/no-such-file").is_ok(), libc::SYS_unlink),
    // FIONBIO: a request that is none of KVM's, nor of a terminal's.
    ("another ioctl", |socket| socket.set_nonblocking(true).is_ok(), libc::SYS_ioctl),
];

#[test]
fn what_no_run_needs_ends_it_with_a_sentence() {
    if let Ok(wanted) = std::env::var(TRY) {
        let (way, wanted) = wanted.split_once(':').expect("a way and an attempt");
        let (socket, _other) = UnixStream::pair().expect("there are sockets");
        let (_, phases) = WAYS.iter().find(|(name, _)| *name == way).expect("a way");
        withdraw().expect("privileges can be given up");
        for phase in *phases {
            filter(*phase).expect("system calls can be filtered");
        }
        let mut out = std::io::stderr();
        writeln!(out, "inside").expect("what is open can be written");
        if let Some((_, attempt, _)) = FORBIDDEN.iter().find(|(name, _, _)| *name == wanted) {
            let word = if attempt(&socket) { "possible" } else { "refused" };
            writeln!(out, "it was {word}").expect("as before");
        }
        std::process::exit(0);
    }
    for (way, phases) in WAYS {
        assert_eq!(attempt(way, "nothing"), (Some(0), "inside\n".into()), "{way}");
        for (name, _, call) in FORBIDDEN {
            // With many threads the C library looks at files by itself, and takes an error for an answer.
            if name == READ && matches!(phases, [Phase::Machines | Phase::Cases]) {
                assert_eq!(
                    attempt(way, name),
                    (Some(0), "inside\nit was refused\n".into()),
                    "{way}"
                );
            } else {
                is_refused(way, name, call);
            }
        }
    }
}

fn is_refused(way: &str, name: &str, call: i64) {
    let (status, text) = attempt(way, name);
    assert!(!text.contains("it was"), "{way}, {name}: {text}");
    if name == "thread" {
        assert_eq!(status, None, "{way}, {name}: {text}");
        return;
    }
    assert_eq!(status, Some(REFUSED), "{way}, {name}: {text}");
    let sentence = text.strip_prefix("inside\n").unwrap_or("");
    assert!(sentence.starts_with("esp0: the sandbox refused system call "), "{name}: {text}");
    // Before it starts a program the library resets signals, which is refused as well.
    if call != 0 {
        let word = sentence.split(&[' ', ','][..]).filter(|word| !word.is_empty()).nth(6);
        assert_eq!(word, Some(call.to_string().as_str()), "{way}, {name}: {text}");
    }
}

/// Its exit status, and what it said.
fn attempt(way: &str, name: &str) -> (Option<i32>, String) {
    let own = std::env::current_exe().expect("this test is a program");
    let output = Command::new(own)
        .args(["--exact", "what_no_run_needs_ends_it_with_a_sentence", "--nocapture"])
        .env(TRY, format!("{way}:{name}"))
        .stdin(Stdio::null())
        .output()
        .expect("it can be started again");
    // With all signals blocked, as while a thread is made, it ends without the sentence.
    assert!(matches!(output.status.signal(), None | Some(libc::SIGSYS)), "{name}");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
