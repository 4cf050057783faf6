//! One command in the emulated host: the file system it sees, its process group and its streams.
//!
//! Each command gets a 9p file system of its own, mounted for it and gone with it. One mount for all would be
//! simpler and wrong: Linux keeps a file's name, attributes and pages for as long as anything uses them, and asks
//! the server again for none of them. With one `esp0` running, the next one would be the same old file, whatever
//! was built outside in the meantime. A file system that did not exist a moment ago has nothing to be stale about.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::stream::{Credit, Sink, pump};
use crate::sys;
use crate::wire::{Frame, Kind, Request, Sender};

/// Writes go to the host at once, so that who watches a file out there sees them. What is read ahead is what makes
/// programs start fast. Linux before 6.4 does not know `readahead`; its `mmap` comes closest.
const MOUNT_OPTIONS: [&CStr; 2] = [
    c"trans=virtio,version=9p2000.L,access=any,msize=512000,cache=readahead",
    c"trans=virtio,version=9p2000.L,access=any,msize=512000,cache=mmap",
];

/// Gives this thread, and what it starts, a root of its own: the host's, with our /dev, /proc and /sys.
pub(crate) fn mount_host(channels: &Mutex<VecDeque<CString>>) -> io::Result<CString> {
    // SAFETY: unshare takes a number. It concerns this thread alone.
    sys::check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let channel = loop {
        let next = channels.lock().unwrap().pop_front();
        if let Some(channel) = next {
            let mount = |options| sys::mount(&channel, c"/host", c"9p", 0, options);
            match mount(MOUNT_OPTIONS[0]).or_else(|error| match error.kind() {
                io::ErrorKind::InvalidInput => mount(MOUNT_OPTIONS[1]),
                _ => Err(error),
            }) {
                Ok(()) => break channel,
                // The command before us has not quite let go of it.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    channels.lock().unwrap().push_back(channel);
                }
                Err(error) => {
                    channels.lock().unwrap().push_back(channel);
                    return Err(error);
                }
            }
        }
        thread::sleep(Duration::from_millis(5));
    };
    for (from, to) in [(c"/dev", c"/host/dev"), (c"/proc", c"/host/proc"), (c"/sys", c"/host/sys")]
    {
        sys::mount(from, to, c"", libc::MS_BIND | libc::MS_REC, c"")?;
    }
    std::os::unix::fs::chroot("/host")?;
    std::env::set_current_dir("/")?;
    Ok(channel)
}

/// Everything a command started, however it tried to get away.
struct Group(PathBuf);

impl Group {
    fn new() -> io::Result<Group> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = format!("/sys/fs/cgroup/command-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(&path)?;
        Ok(Group(path.into()))
    }

    fn kill(&self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        // It can be removed once the last process is gone.
        while fs::remove_dir(&self.0)
            .is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
        {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs the command to its end and returns its wait status.
pub(crate) fn run(
    mut from_client: TcpStream,
    to_client: &Sender,
    request: &Request,
) -> io::Result<i32> {
    let Some(program) = request.argv.first() else {
        return Err(io::Error::other("there is no command"));
    };
    let name = String::from_utf8_lossy(program).into_owned();
    let explain = |what: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("{what}: {}", sys::reason(&error)))
    };
    let cwd = CString::new(request.cwd.clone())?;
    if let Err(error) = fs::metadata(OsStr::from_bytes(&request.cwd)) {
        return Err(io::Error::other(format!(
            "cannot enter {}: {}",
            cwd.to_string_lossy(),
            sys::reason(&error)
        )));
    }
    let group = Group::new()?;
    let members = OpenOptions::new().write(true).open(group.0.join("cgroup.procs"))?;

    let mut command = Command::new(OsStr::from_bytes(program));
    command.args(request.argv[1..].iter().map(|arg| OsStr::from_bytes(arg))).env_clear();
    for variable in &request.env {
        if let Some(equals) = variable.iter().position(|&byte| byte == b'=') {
            command.env(
                OsStr::from_bytes(&variable[..equals]),
                OsStr::from_bytes(&variable[equals + 1..]),
            );
        }
    }

    let terminal = if request.terminal == 0 { None } else { Some(Terminal::open(request)?) };
    let mut ours: [Option<File>; 3] = [None, None, None];
    let mut theirs = Vec::new();
    for (stream, end) in ours.iter_mut().enumerate() {
        theirs.push(match &terminal {
            Some(terminal) if request.terminal & 1 << stream != 0 => {
                Stdio::from(terminal.user.try_clone()?)
            }
            _ => {
                let (reader, writer) = io::pipe()?;
                let (kept, given) = if stream == 0 {
                    (OwnedFd::from(writer), OwnedFd::from(reader))
                } else {
                    (OwnedFd::from(reader), OwnedFd::from(writer))
                };
                *end = Some(kept.into());
                given.into()
            }
        });
    }
    let [stdin, stdout, stderr] =
        <[Stdio; 3]>::try_from(theirs).map_err(|_| io::ErrorKind::Other)?;
    command.stdin(stdin).stdout(stdout).stderr(stderr);

    let controlling = request.terminal.trailing_zeros() as i32;
    let (uid, gid, groups, umask) =
        (request.uid, request.gid, request.groups.clone(), request.umask);
    let limit = libc::rlimit { rlim_cur: u64::from(request.nofile), rlim_max: 1 << 20 };
    // SAFETY: only system calls, on values that were made before the fork.
    unsafe {
        command.pre_exec(move || {
            if libc::write(members.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1 {
                return Err(io::Error::last_os_error());
            }
            sys::check(libc::setsid())?;
            if controlling < 3 {
                sys::check(libc::ioctl(controlling, libc::TIOCSCTTY, 0))?;
            }
            sys::check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
            sys::check(libc::setgroups(groups.len(), groups.as_ptr()))?;
            sys::check(libc::setgid(gid))?;
            sys::check(libc::setuid(uid))?;
            libc::umask(umask);
            sys::check(libc::chdir(cwd.as_ptr()))?;
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(|error| explain(&name, error))?;
    drop(command); // and with it our copies of the command's ends
    let Terminal { host, user, raw } = match terminal {
        Some(terminal) => terminal,
        None => {
            Terminal { host: File::open("/dev/null")?, user: File::open("/dev/null")?, raw: false }
        }
    };
    drop(user);
    to_client.send(Kind::Started, 0, 0, &[])?;

    let leader = child.id() as i32;
    let ended = Arc::new(Mutex::new(false));
    let credits = [Credit::new(), Credit::new()];
    let mut pumps = Vec::new();
    let [input, output, errors] = ours;
    let terminal_output = [1, 2].into_iter().find(|stream| request.terminal & 1 << stream != 0);
    for (pipe, stream) in [(output, 1), (errors, 2)] {
        let from = match pipe {
            Some(pipe) => pipe,
            None if terminal_output == Some(stream) => host.try_clone()?,
            None => continue,
        };
        let (to_client, credit) = (to_client.clone(), credits[usize::from(stream) - 1].clone());
        pumps.push(thread::spawn(move || pump(from, stream, &to_client, &credit)));
    }
    // The end of a terminal's input is a key; where the client's terminal is raw, the user types it.
    let end_of_file: &[u8] = if raw { b"" } else { b"\x04" };
    let sink = match input {
        Some(pipe) => Sink::new(pipe, 0, to_client.clone(), b""),
        None => Sink::new(host.try_clone()?, 0, to_client.clone(), end_of_file),
    };

    {
        let (ended, to_client, group) = (ended.clone(), to_client.clone(), group.0.clone());
        let send = move |ended: &Mutex<bool>, signal: i32| {
            // The leader is not waited for while the lock is held, so its number is still its own.
            let ended = ended.lock().unwrap();
            if !*ended {
                // SAFETY: kill takes numbers and touches no memory.
                unsafe { libc::kill(-leader, signal) };
            }
        };
        thread::spawn(move || {
            while let Ok(frame) = Frame::read(&mut from_client) {
                match frame.kind {
                    Kind::Data => sink.write(frame.bytes),
                    Kind::Credit if matches!(frame.stream, 1 | 2) => {
                        credits[usize::from(frame.stream) - 1].add(frame.value as usize);
                    }
                    Kind::Closed if matches!(frame.stream, 1 | 2) => {
                        credits[usize::from(frame.stream) - 1].close()
                    }
                    Kind::Signal => {
                        send(&ended, frame.value as i32);
                        let _ = to_client.send(Kind::Signalled, 0, 0, &[]);
                    }
                    Kind::Beat => {
                        let _ = to_client.send(Kind::Alive, 0, 0, &[]);
                    }
                    Kind::Resize => {
                        sys::set_window_size(
                            host.as_raw_fd(),
                            (frame.value >> 16) as u16,
                            frame.value as u16,
                        );
                    }
                    _ => {}
                }
            }
            if *ended.lock().unwrap() {
                return;
            }
            // The client is gone without a word: so is whoever wanted the command.
            credits.iter().for_each(|credit| credit.close());
            send(&ended, libc::SIGHUP);
            send(&ended, libc::SIGTERM);
            thread::sleep(Duration::from_millis(500));
            let _ = fs::write(group.join("cgroup.kill"), "1");
        });
    }

    let status = wait(leader, &ended, &mut child)?;
    // What the command left running would keep the streams open, and the host from ending.
    drop(group);
    for pump in pumps {
        let _ = pump.join();
    }
    Ok(status)
}

/// Waits in two steps, so that the number stays the command's own until `ended` says that it is not.
fn wait(leader: i32, ended: &Mutex<bool>, child: &mut std::process::Child) -> io::Result<i32> {
    loop {
        // SAFETY: waitid fills in the structure it is given, for which zeroes are a valid value.
        let result = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, leader as u32, &raw mut info, libc::WEXITED | libc::WNOWAIT)
        };
        if result == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let mut ended = ended.lock().unwrap();
    *ended = true;
    Ok(child.wait()?.into_raw())
}

/// A pseudo-terminal: our side, and the command's.
struct Terminal {
    host: File,
    user: File,
    raw: bool,
}

impl Terminal {
    fn open(request: &Request) -> io::Result<Terminal> {
        let host = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open("/dev/ptmx")?;
        let unlock: libc::c_int = 0;
        // SAFETY: TIOCSPTLCK reads the number; TIOCGPTPEER returns a new file descriptor, which is ours alone.
        let user = unsafe {
            sys::check(libc::ioctl(host.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock))?;
            let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
            File::from(OwnedFd::from_raw_fd(sys::check(libc::ioctl(
                host.as_raw_fd(),
                libc::TIOCGPTPEER,
                flags,
            ))?))
        };
        // SAFETY: fchown takes numbers and touches no memory.
        sys::check(unsafe { libc::fchown(user.as_raw_fd(), request.uid, 5) })?;
        sys::set_window_size(host.as_raw_fd(), request.rows, request.columns);
        if !request.raw {
            // The client's terminal edits lines, echoes, and turns line feeds into new lines: once is enough.
            let mut mode = sys::terminal_mode(user.as_raw_fd())?;
            mode.c_lflag &= !libc::ECHO;
            mode.c_oflag &= !libc::OPOST;
            sys::set_terminal_mode(user.as_raw_fd(), &mode)?;
        }
        Ok(Terminal { host, user, raw: request.raw })
    }
}
