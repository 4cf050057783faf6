//! Stands in for the command: what happens to us happens to it, and its end becomes ours.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::serve::{Endpoint, lock_file};
use crate::stream::{Credit, Sink, pump};
use crate::sys;
use crate::wire::{Frame, Kind, Request, SECRET, Sender};

/// A host that does not answer within this time hangs, and is replaced.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// A host that does not confirm a signal within this time hangs: the user wants out.
const SIGNAL_LIMIT: Duration = Duration::from_secs(5);
/// How often a host is spoken to while a command runs.
///
/// This wakes it, too: QEMU may lose a timer's interrupt. Where the virtual machine in it is entered and left, QEMU 10.0
/// changes the processor's pending interrupts without the lock under which its other thread adds one. The host's timer
/// is set anew only where it has gone off, so all stood still until a packet came, with the time-outs of what ran there.
const BEAT: Duration = Duration::from_secs(1);
/// A host that has left so many beats without an answer hangs, and is ended. What is counted is not the time: this process
/// may have been stopped.
///
/// QEMU waits for itself where its guest executes an instruction that crosses the end of a page which also holds the page
/// table of the next one: it holds that page's lock, and walks the table as if to write to it.
const MOST_UNANSWERED: u32 = 60;
/// How often a host may be found dead or hung before we give up.
const ATTEMPTS: u32 = 3;

pub(crate) fn run(args: Vec<OsString>) -> io::Result<u8> {
    let mut parts = args.splitn(2, |arg| arg == "--");
    let (Some([state, say, boot @ ..]), Some(argv)) = (parts.next(), parts.next()) else {
        return Err(io::Error::other("client takes STATE SAY BOOT… -- CMD ARGS…"));
    };
    let state = Path::new(state);
    // Held until we are gone: it keeps the host from ending.
    let (connection, _users, endpoint) = reach(state, boot, say)?;
    // Where instructions are counted nothing else is to happen.
    let beat = boot.iter().all(|arg| arg != "--icount").then_some(BEAT);

    let terminals = (0..3).filter(|&fd| sys::is_terminal(fd)).fold(0, |bits, fd| bits | 1 << fd);
    let raw = raw_mode(terminals);
    let forwarded = sys::signal_set(&[
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGWINCH,
    ]);
    sys::block_signals(&forwarded);

    let to_guest = Sender::new(connection.try_clone()?);
    to_guest.send(Kind::Request, 0, 0, &request(argv, terminals, raw.is_some())?.encode())?;
    let end = attend(connection, &to_guest, forwarded, beat);
    if let Some(before) = raw {
        let _ = sys::set_terminal_mode(0, &before);
    }
    match end {
        Ok(End::Exited(code)) => Ok(code),
        Ok(End::Signalled(signal)) => sys::die_by(signal),
        Err(error) => {
            let log = state.join("log");
            let (name, log) = (argv[0].display(), log.display());
            if error.kind() == io::ErrorKind::TimedOut {
                stop(state, &endpoint)?;
                return Err(io::Error::other(format!(
                    "the portable host hung while it ran {name}, and was ended: QEMU does so for some guests \
                     (docs/portable-host.md); its log is {log}"
                )));
            }
            Err(io::Error::other(format!(
                "the portable host went away while it ran {name} ({error}); its log is {log}"
            )))
        }
    }
}

enum End {
    Exited(u8),
    Signalled(i32),
}

/// Passes everything on in both directions until the command has ended.
fn attend(
    mut from_guest: TcpStream,
    to_guest: &Sender,
    signals: libc::sigset_t,
    beat: Option<Duration>,
) -> io::Result<End> {
    let input_credit = Credit::new();
    {
        let (to_guest, credit, input) =
            (to_guest.clone(), input_credit.clone(), sys::duplicate(0)?);
        thread::spawn(move || pump(input, 0, &to_guest, &credit));
    }
    let confirmed = Arc::new(AtomicBool::new(true));
    let unheard = Arc::new(AtomicI32::new(0));
    {
        let (to_guest, confirmed, unheard, connection) =
            (to_guest.clone(), confirmed.clone(), unheard.clone(), from_guest.try_clone()?);
        thread::spawn(move || {
            loop {
                let signal = sys::wait_for_signal(&signals);
                if signal == libc::SIGWINCH {
                    if let Some((rows, columns)) = (0..3).find_map(sys::window_size) {
                        let size = u32::from(rows) << 16 | u32::from(columns);
                        let _ = to_guest.send(Kind::Resize, 0, size, &[]);
                    }
                    continue;
                }
                confirmed.store(false, Ordering::SeqCst);
                let (confirmed, unheard, connection) =
                    (confirmed.clone(), unheard.clone(), connection.try_clone());
                thread::spawn(move || {
                    thread::sleep(SIGNAL_LIMIT);
                    if !confirmed.load(Ordering::SeqCst) {
                        unheard.store(signal, Ordering::SeqCst);
                        let _ = connection.map(|it| it.shutdown(std::net::Shutdown::Both));
                    }
                });
                let _ = to_guest.send(Kind::Signal, 0, signal as u32, &[]);
            }
        });
    }

    let unanswered = Arc::new(AtomicU32::new(0));
    let mut beats = beat;

    let mut sinks = [None, None];
    for (sink, stream) in sinks.iter_mut().zip(1..) {
        *sink = Some(Sink::new(sys::duplicate(i32::from(stream))?, stream, to_guest.clone(), b""));
    }
    let finish = |sinks: &mut [Option<Sink>; 2]| {
        sinks.iter_mut().filter_map(Option::take).for_each(Sink::finish)
    };
    loop {
        let frame = match Frame::read(&mut from_guest) {
            Ok(frame) => frame,
            Err(error) => {
                finish(&mut sinks);
                return match unheard.load(Ordering::SeqCst) {
                    0 if unanswered.load(Ordering::SeqCst) >= MOST_UNANSWERED => {
                        Err(io::ErrorKind::TimedOut.into())
                    }
                    0 => Err(error),
                    signal => Ok(End::Signalled(signal)),
                };
            }
        };
        unanswered.store(0, Ordering::SeqCst);
        match frame.kind {
            // Before that it may wait for a file system that another command has.
            Kind::Started => {
                if let Some(every) = beats.take() {
                    let connection = from_guest.try_clone()?;
                    let (to_guest, unanswered) = (to_guest.clone(), unanswered.clone());
                    thread::spawn(move || keep_awake(&to_guest, &connection, &unanswered, every));
                }
            }
            Kind::Data => {
                let sink = &mut sinks[usize::from(frame.stream == 2)];
                if let Some(sink) = sink.as_ref().filter(|_| !frame.bytes.is_empty()) {
                    sink.write(frame.bytes);
                }
            }
            Kind::Credit => input_credit.add(frame.value as usize),
            Kind::Closed => input_credit.close(),
            Kind::Signalled => confirmed.store(true, Ordering::SeqCst),
            Kind::Exit => {
                finish(&mut sinks);
                let status = frame.value as i32;
                return Ok(if libc::WIFSIGNALED(status) {
                    End::Signalled(libc::WTERMSIG(status))
                } else {
                    End::Exited(libc::WEXITSTATUS(status) as u8)
                });
            }
            Kind::Refused => {
                finish(&mut sinks);
                eprintln!("kvm-host: {}", String::from_utf8_lossy(&frame.bytes));
                return Ok(End::Exited(frame.value as u8));
            }
            Kind::Request | Kind::Signal | Kind::Resize | Kind::Beat | Kind::Alive => {}
        }
    }
}

/// Speaks to the host at each beat. One that leaves too many without an answer is let go of.
fn keep_awake(to_guest: &Sender, connection: &TcpStream, unanswered: &AtomicU32, every: Duration) {
    loop {
        thread::sleep(every);
        if unanswered.fetch_add(1, Ordering::SeqCst) + 1 >= MOST_UNANSWERED {
            let _ = connection.shutdown(std::net::Shutdown::Both);
            return;
        }
        if to_guest.send(Kind::Beat, 0, 0, &[]).is_err() {
            return;
        }
    }
}

/// A connection to a host that answers, the lock that keeps it there, and how it was reached. Boots one where there is none.
fn reach(state: &Path, boot: &[OsString], say: &OsStr) -> io::Result<(TcpStream, File, Endpoint)> {
    let mut booting: Option<Boot> = None;
    let mut attempts = 0;
    loop {
        let users = lock_file(&state.join("users"))?;
        sys::lock(&users, libc::LOCK_SH);
        if is_alive(state)?
            && let Some(endpoint) = Endpoint::load(state)
        {
            match greet(&endpoint) {
                Ok(connection) => {
                    users.set_modified(SystemTime::now())?;
                    return Ok((connection, users, endpoint));
                }
                Err(error) => {
                    if stop(state, &endpoint)? {
                        eprintln!(
                            "kvm-host: the portable host does not answer ({error}); replacing it"
                        );
                        attempts += 1;
                    }
                }
            }
        }
        drop(users);
        match &mut booting {
            None => {
                if !say.is_empty() {
                    eprintln!("kvm-host: {}", say.display());
                }
                booting = Some(Boot::start(boot)?);
            }
            Some(boot) => {
                if let Some(status) = boot.process.try_wait()? {
                    if !status.success() {
                        return Err(io::Error::other(boot.complaint(status)));
                    }
                    // It left the work to another one, or the host has already ended again.
                    if !is_alive(state)? {
                        attempts += 1;
                        booting = None;
                    }
                }
            }
        }
        if attempts >= ATTEMPTS {
            let log = state.join("log");
            return Err(io::Error::other(format!(
                "the portable host does not stay up; see {}",
                log.display()
            )));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn is_alive(state: &Path) -> io::Result<bool> {
    let alive = lock_file(&state.join("alive"))?;
    Ok(!sys::lock(&alive, libc::LOCK_SH | libc::LOCK_NB))
}

/// Exchanges the secrets.
fn greet(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let mut connection = TcpStream::connect(("127.0.0.1", endpoint.port))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(ANSWER_LIMIT))?;
    connection.write_all(&endpoint.ours)?;
    let mut answer = [0; SECRET];
    connection.read_exact(&mut answer)?;
    if answer != endpoint.theirs {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    connection.set_read_timeout(None)?;
    Ok(connection)
}

/// Ends a host that is alive and does not answer at this endpoint; whether it did. QEMU dies with its owner.
///
/// One that has only just begun finds the endpoint, and the number, that a dead one has left: it takes away the endpoint
/// and then writes its number, and is none that does not answer.
fn stop(state: &Path, refused: &Endpoint) -> io::Result<bool> {
    let mut killed = false;
    while is_alive(state)? {
        let owner = fs::read_to_string(state.join("alive"))?;
        // In this order: while the endpoint is there, the number is that of the host that does not answer.
        if Endpoint::load(state).as_ref() != Some(refused) {
            return Ok(killed);
        }
        if let Ok(owner) = owner.trim().parse()
            && serves(owner, state)
        {
            // SAFETY: kill takes numbers and touches no memory.
            killed |= unsafe { libc::kill(owner, libc::SIGKILL) } == 0;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(true)
}

/// The process is the owner of the host in this folder.
fn serves(process: libc::pid_t, state: &Path) -> bool {
    let Ok(command) = fs::read(format!("/proc/{process}/cmdline")) else { return false };
    let mut words = command.split(|byte| *byte == 0);
    words.nth(1) == Some(b"serve") && words.next() == Some(state.as_os_str().as_bytes())
}

/// `scripts/kvm-host --boot` in the background, which becomes `serve`.
struct Boot {
    process: Child,
    said: std::sync::mpsc::Receiver<String>,
}

impl Boot {
    fn start(command: &[OsString]) -> io::Result<Boot> {
        let [program, args @ ..] = command else {
            return Err(io::Error::other("there is no command to boot with"));
        };
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: both calls are async-signal-safe. The host is to outlive our caller's Ctrl-C, and to hold on to
        // none of the caller's pipes, whose readers would wait for its end.
        unsafe {
            command.pre_exec(|| {
                sys::check(libc::setsid())?;
                libc::syscall(
                    libc::SYS_close_range,
                    3,
                    libc::c_uint::MAX,
                    libc::CLOSE_RANGE_CLOEXEC,
                );
                Ok(())
            });
        }
        let mut process = command.spawn()?;
        let mut stderr = process.stderr.take().unwrap();
        let (say, said) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            let _ = say.send(text);
        });
        Ok(Boot { process, said })
    }

    fn complaint(&self, status: ExitStatus) -> String {
        let text = self.said.recv().unwrap_or_default();
        match text.trim_end().trim_start_matches("kvm-host: ") {
            "" => format!("the portable host ended as it began ({status})"),
            said => said.to_owned(),
        }
    }
}

fn request(argv: &[OsString], terminal: u32, raw: bool) -> io::Result<Request> {
    // SAFETY: all of these take numbers, or fill in the value they are given, which lives through the call.
    let (uid, gid, umask, nofile) = unsafe {
        let umask = libc::umask(0);
        libc::umask(umask);
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        (libc::getuid(), libc::getgid(), umask, limit.rlim_cur.min(1 << 20) as u32)
    };
    let mut groups = vec![0; 65536];
    // SAFETY: the buffer is as long as is said.
    let count = sys::check(unsafe { libc::getgroups(groups.len() as i32, groups.as_mut_ptr()) })?;
    groups.truncate(count as usize);
    let (rows, columns) = (0..3).find_map(sys::window_size).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Inside, the KVM is the machine's own: a nested kvm-host has nothing to boot.
    let inside = ("ESP0_KVM_HOST".into(), "native".into());
    let variables = std::env::vars_os().filter(|(name, _)| name != "ESP0_KVM_HOST").chain([inside]);
    Ok(Request {
        argv: argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        env: variables
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
            .collect(),
        cwd: std::env::current_dir()?.into_os_string().into_vec(),
        uid,
        gid,
        groups,
        umask,
        nofile,
        terminal,
        raw,
        rows,
        columns,
        now: (now.as_secs(), now.subsec_nanos()),
    })
}

/// Hands the terminal over to the guest's line discipline, where it is ours to hand over: both ways and in the
/// foreground. With the output in a pipe, keys such as Ctrl-C have to keep their meaning for the whole pipeline.
fn raw_mode(terminals: u32) -> Option<libc::termios> {
    if terminals & 0b11 != 0b11 || sys::in_background(&io::stdin()) {
        return None;
    }
    let before = sys::terminal_mode(0).ok()?;
    let mut mode = before;
    // SAFETY: cfmakeraw changes the structure it is given.
    unsafe { libc::cfmakeraw(&raw mut mode) };
    sys::set_terminal_mode(0, &mode).ok()?;
    Some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the endpoint and the number of a host that died, and somebody who holds its lock.
    fn left_behind(name: &str, owner: u32) -> (std::path::PathBuf, File, Endpoint) {
        let state = std::env::temp_dir().join(format!("esp0-{name}-{}", std::process::id()));
        fs::create_dir_all(&state).unwrap();
        let bytes = [&[1u8, 2][..], &[3; 2 * SECRET]].concat();
        fs::write(state.join("endpoint"), bytes).unwrap();
        fs::write(state.join("alive"), format!("{owner}\n")).unwrap();
        let alive = lock_file(&state.join("alive")).unwrap();
        assert!(sys::lock(&alive, libc::LOCK_EX | libc::LOCK_NB));
        let endpoint = Endpoint::load(&state).unwrap();
        (state, alive, endpoint)
    }

    #[test]
    fn a_host_that_has_only_just_begun_is_not_ended_for_a_dead_ones_endpoint() {
        // The number in the file is somebody else's by now: ours.
        let (state, alive, endpoint) = left_behind("begun", std::process::id());
        let folder = state.clone();
        let begins = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            fs::remove_file(folder.join("endpoint")).unwrap();
        });
        assert!(!stop(&state, &endpoint).unwrap(), "nobody was to be ended");
        assert!(is_alive(&state).unwrap());
        begins.join().unwrap();
        drop(alive);
        fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn one_that_ends_by_itself_meanwhile_is_waited_for() {
        let (state, alive, endpoint) = left_behind("ends", u32::MAX >> 1);
        let ends = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(alive);
        });
        assert!(stop(&state, &endpoint).unwrap());
        ends.join().unwrap();
        fs::remove_dir_all(&state).unwrap();
    }
}
