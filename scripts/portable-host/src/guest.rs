//! The user space of the emulated host: brings the machine up, then runs each client's command.
//!
//! Each command gets a 9p file system of its own, mounted for it and gone with it. One mount for all would be
//! simpler and wrong: Linux keeps a file's name, attributes and pages for as long as anything uses them, and asks
//! the server again for none of them. With one `esp0` running, the next one would be the same old file, whatever
//! was built outside in the meantime. A file system that did not exist a moment ago has nothing to be stale about.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::serve::READY;
use crate::stream::{Credit, Sink, pump};
use crate::sys;
use crate::wire::{Frame, Kind, Request, SECRET, Sender};

/// QEMU's user-mode network gives the first guest this address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub(crate) const PORT: u16 = 1;
/// Writes go to the host at once, so that who watches a file out there sees them. What is read ahead is what makes
/// programs start fast. Linux before 6.4 does not know `readahead`; its `mmap` comes closest.
const MOUNT_OPTIONS: [&CStr; 2] = [
    c"trans=virtio,version=9p2000.L,access=any,msize=512000,cache=readahead",
    c"trans=virtio,version=9p2000.L,access=any,msize=512000,cache=mmap",
];

pub(crate) fn init() -> io::Result<u8> {
    // SAFETY: no thread has been started yet, so the child may go on as if it were the only one.
    let agent = unsafe { sys::check(libc::fork())? };
    if agent == 0 {
        if let Err(error) = serve() {
            println!("esp0: the guest failed: {error}");
        }
        std::process::exit(1);
    }
    // PID 1 inherits every orphan, and has nothing else to do.
    // SAFETY: waitpid takes numbers; a null pointer asks for no status.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } != agent {}
    // SAFETY: reboot takes a number. QEMU is told not to boot again, so this ends it.
    unsafe { libc::reboot(libc::RB_AUTOBOOT) };
    Ok(1)
}

fn serve() -> io::Result<()> {
    let mount = |kind: &CStr, target: &CStr, data: &CStr| {
        fs::create_dir_all(Path::new(OsStr::from_bytes(target.to_bytes())))?;
        sys::mount(kind, target, kind, 0, data)
    };
    mount(c"devtmpfs", c"/dev", c"")?;
    mount(c"proc", c"/proc", c"")?;
    mount(c"sysfs", c"/sys", c"")?;
    mount(c"devpts", c"/dev/pts", c"mode=620,ptmxmode=666,gid=5")?;
    mount(c"tmpfs", c"/dev/shm", c"mode=1777")?;
    mount(c"cgroup2", c"/sys/fs/cgroup", c"")?;
    for (link, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        let _ = std::os::unix::fs::symlink(target, Path::new("/dev").join(link));
    }
    fs::create_dir_all("/host")?;
    fs::write("/proc/sys/kernel/hostname", "esp0-kvm-host")?;
    raise_limits();

    load_modules("/modules")?;
    start_other_cpus()?;
    bring_up(c"lo", Ipv4Addr::LOCALHOST, 8)?;
    bring_up(c"eth0", ADDRESS, 24)?;
    fs::set_permissions("/dev/kvm", fs::Permissions::from_mode(0o666))
        .map_err(|error| io::Error::other(format!("no /dev/kvm: {error}")))?;

    let mut secrets = [[0; SECRET]; 2];
    let mut file = File::open("/secret")?;
    file.read_exact(&mut secrets[0])?;
    file.read_exact(&mut secrets[1])?;
    let channels = Arc::new(Mutex::new(channels()?));
    let listener = TcpListener::bind((ADDRESS, PORT))?;
    println!("{READY}");
    for connection in listener.incoming() {
        let (connection, channels) = (connection?, channels.clone());
        thread::spawn(move || {
            if let Err(error) = attend(connection, &channels, &secrets) {
                println!("esp0: a connection failed: {error}");
            }
        });
    }
    Ok(())
}

fn raise_limits() {
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: setrlimit reads the structure it is given.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

/// Loads the modules of a folder, in the order of their names.
fn load_modules(folder: &str) -> io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.map(|item| Ok(item?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        let file = File::open(&path)?;
        // SAFETY: finit_module takes a file descriptor, a NUL-terminated string and flags.
        let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
        let error = io::Error::last_os_error();
        if result < 0 && error.raw_os_error() != Some(libc::EEXIST) {
            return Err(io::Error::other(format!("cannot load {}: {error}", path.display())));
        }
    }
    Ok(())
}

/// The kernel was told to start with one CPU. QEMU 10.0 has a race: when a PCI device's registers are mapped while
/// another emulated CPU runs, that one's next device access can go to the wrong device (a lost timer interrupt and a
/// hung boot) or end in QEMU's assertion `section_index < d->map.sections_nb`. By now all devices are mapped.
fn start_other_cpus() -> io::Result<()> {
    for number in 1.. {
        let switch = format!("/sys/devices/system/cpu/cpu{number}/online");
        if !Path::new(&switch).exists() {
            break;
        }
        fs::write(switch, "1")?;
    }
    Ok(())
}

fn bring_up(name: &CStr, address: Ipv4Addr, prefix: u32) -> io::Result<()> {
    let inet = |address: Ipv4Addr| libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: an ifreq of zeroes is valid; its name is shorter than the field; sockaddr_in and sockaddr have the
    // same size, and the kernel reads from the union what the request says.
    unsafe {
        let socket = OwnedFd::from_raw_fd(sys::check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0))?);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
            *to = *from as libc::c_char;
        }
        let call = |number, request: &libc::ifreq| {
            sys::check(libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_ref(request)))
                .map_err(|error| io::Error::other(format!("cannot bring up {}: {error}", name.to_string_lossy())))
        };
        request.ifr_ifru.ifru_addr = std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet(address));
        call(libc::SIOCSIFADDR, &request)?;
        let mask = inet(Ipv4Addr::from(u32::MAX << (32 - prefix)));
        request.ifr_ifru.ifru_addr = std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(mask);
        call(libc::SIOCSIFNETMASK, &request)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        call(libc::SIOCSIFFLAGS, &request)?;
    }
    Ok(())
}

/// The 9p devices. Each carries one mount at a time.
fn channels() -> io::Result<VecDeque<CString>> {
    let mut found = Vec::new();
    for device in fs::read_dir("/sys/bus/virtio/drivers/9pnet_virtio")? {
        if let Ok(mut tag) = fs::read(device?.path().join("mount_tag")) {
            tag.retain(|&byte| byte != 0);
            found.push(CString::new(tag)?);
        }
    }
    found.sort();
    Ok(found.into())
}

fn attend(
    mut connection: TcpStream,
    channels: &Mutex<VecDeque<CString>>,
    secrets: &[[u8; SECRET]; 2],
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut secret = [0; SECRET];
    connection.read_exact(&mut secret)?;
    if secret != secrets[0] {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    connection.write_all(&secrets[1])?;
    let frame = Frame::read(&mut connection)?;
    let request = Request::decode(&frame.bytes).ok_or(io::ErrorKind::InvalidData)?;
    let to_client = Sender::new(connection.try_clone()?);
    set_clock(request.now);

    let result = mount_host(channels).and_then(|channel| {
        let result = run(connection, &to_client, &request);
        // Back at the end of the queue: the kernel lets go of the mount when the last thread in it ends.
        channels.lock().unwrap().push_back(channel);
        result
    });
    match result {
        Ok(status) => to_client.send(Kind::Exit, 0, status as u32, &[]),
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::NotFound => 127,
                _ => 126,
            };
            to_client.send(Kind::Refused, 0, code, error.to_string().as_bytes())
        }
    }
}

/// An emulated clock drifts, and time stamps are compared with those of files made outside.
fn set_clock((seconds, nanoseconds): (u64, u32)) {
    let now = Duration::new(seconds, nanoseconds);
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if now.abs_diff(here) > Duration::from_millis(100) {
        let time = libc::timespec { tv_sec: seconds as i64, tv_nsec: i64::from(nanoseconds) };
        // SAFETY: clock_settime reads the structure it is given.
        unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    }
}

/// Gives this thread, and what it starts, a root of its own: the host's, with our /dev, /proc and /sys.
fn mount_host(channels: &Mutex<VecDeque<CString>>) -> io::Result<CString> {
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
    for (from, to) in [(c"/dev", c"/host/dev"), (c"/proc", c"/host/proc"), (c"/sys", c"/host/sys")] {
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
        while fs::remove_dir(&self.0).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs the command to its end and returns its wait status.
fn run(mut from_client: TcpStream, to_client: &Sender, request: &Request) -> io::Result<i32> {
    let Some(program) = request.argv.first() else {
        return Err(io::Error::other("there is no command"));
    };
    let name = String::from_utf8_lossy(program).into_owned();
    let explain =
        |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {}", sys::reason(&error)));
    let cwd = CString::new(request.cwd.clone())?;
    if let Err(error) = fs::metadata(OsStr::from_bytes(&request.cwd)) {
        return Err(io::Error::other(format!("cannot enter {}: {}", cwd.to_string_lossy(), sys::reason(&error))));
    }
    let group = Group::new()?;
    let members = OpenOptions::new().write(true).open(group.0.join("cgroup.procs"))?;

    let mut command = Command::new(OsStr::from_bytes(program));
    command.args(request.argv[1..].iter().map(|arg| OsStr::from_bytes(arg))).env_clear();
    for variable in &request.env {
        if let Some(equals) = variable.iter().position(|&byte| byte == b'=') {
            command.env(OsStr::from_bytes(&variable[..equals]), OsStr::from_bytes(&variable[equals + 1..]));
        }
    }

    let terminal = if request.terminal == 0 { None } else { Some(Terminal::open(request)?) };
    let mut ours: [Option<File>; 3] = [None, None, None];
    let mut theirs = Vec::new();
    for (stream, end) in ours.iter_mut().enumerate() {
        theirs.push(match &terminal {
            Some(terminal) if request.terminal & 1 << stream != 0 => Stdio::from(terminal.user.try_clone()?),
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
    let [stdin, stdout, stderr] = <[Stdio; 3]>::try_from(theirs).map_err(|_| io::ErrorKind::Other)?;
    command.stdin(stdin).stdout(stdout).stderr(stderr);

    let controlling = request.terminal.trailing_zeros() as i32;
    let (uid, gid, groups, umask) = (request.uid, request.gid, request.groups.clone(), request.umask);
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
        None => Terminal { host: File::open("/dev/null")?, user: File::open("/dev/null")?, raw: false },
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
                    Kind::Closed if matches!(frame.stream, 1 | 2) => credits[usize::from(frame.stream) - 1].close(),
                    Kind::Signal => {
                        send(&ended, frame.value as i32);
                        let _ = to_client.send(Kind::Signalled, 0, 0, &[]);
                    }
                    Kind::Resize => {
                        sys::set_window_size(host.as_raw_fd(), (frame.value >> 16) as u16, frame.value as u16);
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
        let host = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open("/dev/ptmx")?;
        let unlock: libc::c_int = 0;
        // SAFETY: TIOCSPTLCK reads the number; TIOCGPTPEER returns a new file descriptor, which is ours alone.
        let user = unsafe {
            sys::check(libc::ioctl(host.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock))?;
            let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
            File::from(OwnedFd::from_raw_fd(sys::check(libc::ioctl(host.as_raw_fd(), libc::TIOCGPTPEER, flags))?))
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
