//! The owner of one emulated host: starts QEMU, says when it is ready, ends it when nobody needs it.
//!
//! Files in the state folder, which only its user can enter:
//! - `alive`: locked for as long as a `serve` process lives, so there is at most one.
//! - `users`: locked shared by every client. Who gets it exclusively may end the host.
//! - `endpoint`: how to reach the host, there only while it can be reached; [`Endpoint`].
//! - `log`: the last host's console and QEMU's messages.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::wire::SECRET;
use crate::{cpio, sys, tsc};

/// What the guest prints when it takes commands.
pub(crate) const READY: &str = "esp0: ready";
/// A loaded machine with few cores is slow; a minute and a half without an end is an error all the same.
const BOOT_LIMIT: Duration = Duration::from_secs(90);

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    pub(crate) ours: [u8; SECRET],
    pub(crate) theirs: [u8; SECRET],
}

impl Endpoint {
    pub(crate) fn load(state: &Path) -> Option<Endpoint> {
        let bytes = fs::read(state.join("endpoint")).ok()?;
        let (port, rest) = bytes.split_first_chunk()?;
        let (ours, rest) = rest.split_first_chunk()?;
        let (theirs, _) = rest.split_first_chunk()?;
        Some(Endpoint { port: u16::from_le_bytes(*port), ours: *ours, theirs: *theirs })
    }

    /// Appears at once and whole.
    fn store(&self, state: &Path) -> io::Result<()> {
        let bytes = [&self.port.to_le_bytes()[..], &self.ours, &self.theirs].concat();
        private(&state.join("endpoint.new"))?.write_all(&bytes)?;
        fs::rename(state.join("endpoint.new"), state.join("endpoint"))
    }
}

/// Creates or empties a file that no other user can read.
pub(crate) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A file that is there to be locked.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

pub(crate) fn run(args: Vec<OsString>) -> io::Result<u8> {
    let [state, idle, initrd, qemu, qemu_args @ ..] = args.as_slice() else {
        return Err(io::Error::other("serve takes STATE IDLE INITRD QEMU ARGS…"));
    };
    let state = Path::new(state);
    let idle = idle.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        io::Error::other(format!(
            "ESP0_KVM_HOST_IDLE has to be a number of seconds, not {}",
            idle.display()
        ))
    })?;

    let alive = lock_file(&state.join("alive"))?;
    // A client that looks whether anybody holds the lock holds it for that moment.
    let mut tries = (0..10).map(|_| thread::sleep(Duration::from_millis(10)));
    while !sys::lock(&alive, libc::LOCK_EX | libc::LOCK_NB) {
        if tries.next().is_none() {
            return Ok(0); // Another one is at it; its client and ours wait for the same endpoint.
        }
    }
    let _ = fs::remove_file(state.join("endpoint"));
    writeln!(&alive, "{}", std::process::id())?;
    alive.set_len(u64::from(std::process::id().ilog10()) + 2)?;

    end_on_request();

    let mut log = private(&state.join("log"))?;
    let mut host = boot(state, Path::new(initrd), qemu, qemu_args, &mut log)?;
    // What follows is nobody's business: the client that started us may be gone.
    let quiet = File::options().read(true).write(true).open("/dev/null")?;
    for fd in 0..3 {
        // SAFETY: dup2 takes numbers and touches no memory; nothing here holds the standard streams.
        unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&quiet), fd) };
    }
    let users = lock_file(&state.join("users"))?;
    if let Some(status) = wait_until_idle(&mut host, &users, Duration::from_secs(idle))? {
        writeln!(log, "QEMU has ended by itself: {status}")?;
    }
    // `users` is still ours: a client that comes now waits for our end, finds no endpoint, and boots.
    let _ = fs::remove_file(state.join("endpoint"));
    let _ = host.kill();
    host.wait()?;
    Ok(0)
}

/// The number of the QEMU process, once there is one.
static QEMU: AtomicI32 = AtomicI32::new(0);

/// kvm-host --stop sends SIGTERM: QEMU is to have ended when we have.
fn end_on_request() {
    let signals = sys::signal_set(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP]);
    sys::block_signals(&signals);
    thread::spawn(move || {
        let signal = sys::wait_for_signal(&signals);
        let qemu = QEMU.load(Ordering::SeqCst);
        if qemu != 0 {
            // SAFETY: both take numbers; a null pointer asks for no status. If it has been waited for, we end as well.
            unsafe {
                libc::kill(qemu, libc::SIGKILL);
                libc::waitpid(qemu, std::ptr::null_mut(), 0);
            }
        }
        sys::die_by(signal)
    });
}

fn boot(
    state: &Path,
    initrd: &Path,
    qemu: &OsString,
    args: &[OsString],
    log: &mut File,
) -> io::Result<Child> {
    let mut last = String::new();
    // Somebody may take the port between our asking for one and QEMU's taking it.
    for _ in 0..3 {
        let mut secrets = [[0; SECRET]; 2];
        let mut random = File::open("/dev/urandom")?;
        random.read_exact(&mut secrets[0])?;
        random.read_exact(&mut secrets[1])?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let endpoint = Endpoint { port, ours: secrets[0], theirs: secrets[1] };

        let mut archive = fs::read(initrd)?;
        cpio::entry(&mut archive, "secret", 0o600, Some(&secrets.concat()));
        cpio::trailer(&mut archive);
        private(&state.join("initrd"))?.write_all(&archive)?;

        let tsc = tsc::khz();
        let mut command = Command::new(qemu);
        for arg in args {
            let arg =
                arg.to_str().ok_or_else(|| io::Error::other("QEMU's arguments are not UTF-8"))?;
            let initrd = state.join("initrd");
            command.arg(
                with_tsc(arg, tsc)
                    .replace("{port}", &port.to_string())
                    .replace("{initrd}", &initrd.to_string_lossy()),
            );
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: prctl is async-signal-safe. QEMU must not outlive us, however we end.
        unsafe {
            command.pre_exec(|| {
                sys::check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)).map(drop)
            })
        };
        let mut host = command
            .spawn()
            .map_err(|error| io::Error::other(format!("cannot run {}: {error}", qemu.display())))?;
        QEMU.store(host.id() as i32, Ordering::SeqCst);
        match wait_until_ready(&mut host, log)? {
            Ok(()) => {
                let _ = fs::remove_file(state.join("initrd"));
                endpoint.store(state)?;
                return Ok(host);
            }
            Err(output) => {
                let _ = host.kill();
                let _ = host.wait();
                let port_taken = output.contains("host forwarding");
                last = output;
                if !port_taken {
                    break;
                }
            }
        }
    }
    let tail: Vec<_> = last.lines().rev().take(8).collect();
    let tail: Vec<_> = tail.into_iter().rev().collect();
    Err(io::Error::other(format!(
        "the portable host did not boot; its last words (all in {}):\n{}",
        state.join("log").display(),
        tail.join("\n")
    )))
}

/// `arg` with the counter's frequency where `{tsc}` stands; without the word in which it stands where that is not known.
fn with_tsc(arg: &str, khz: Option<u64>) -> String {
    const WORD: &str = " tsc_early_khz={tsc}";
    match khz {
        Some(khz) => arg.replace("{tsc}", &khz.to_string()),
        None => arg.replace(WORD, ""),
    }
}

/// Copies what QEMU and the guest's console say to the log, for as long as they say something.
fn wait_until_ready(host: &mut Child, log: &mut File) -> io::Result<Result<(), String>> {
    let (lines, received) = mpsc::channel();
    let readers: [Box<dyn Read + Send>; 2] =
        [Box::new(host.stdout.take().unwrap()), Box::new(host.stderr.take().unwrap())];
    for reader in readers {
        let (mut log, lines) = (log.try_clone()?, lines.clone());
        thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                let _ = writeln!(log, "{line}");
                let _ = lines.send(line);
            }
        });
    }
    drop(lines);
    let (start, mut output) = (Instant::now(), String::new());
    loop {
        match received.recv_timeout(BOOT_LIMIT.saturating_sub(start.elapsed())) {
            Ok(line) if line.contains(READY) => return Ok(Ok(())),
            Ok(line) => output += &(line + "\n"),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(Err(output)),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Ok(Err(
                    output + &format!("(nothing more within {} s)", BOOT_LIMIT.as_secs())
                ));
            }
        }
    }
}

/// Returns with `users` locked, or, when QEMU has ended by itself, with its status.
fn wait_until_idle(
    host: &mut Child,
    users: &File,
    idle: Duration,
) -> io::Result<Option<ExitStatus>> {
    let mut last_use = SystemTime::now();
    loop {
        let status = host.try_wait()?;
        if status.is_some() {
            return Ok(status);
        }
        if sys::lock(users, libc::LOCK_EX | libc::LOCK_NB) {
            // A client leaves its time behind, for it may have come and gone between two looks.
            last_use = last_use.max(users.metadata()?.modified()?);
            if last_use.elapsed().unwrap_or_default() >= idle {
                return Ok(None);
            }
            sys::lock(users, libc::LOCK_UN);
        } else {
            last_use = SystemTime::now();
        }
        thread::sleep(Duration::from_millis(200));
    }
}
