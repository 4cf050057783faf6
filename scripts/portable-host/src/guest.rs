//! The user space of the emulated host: brings the machine up, then runs each client's command.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::command::{mount_host, run};
use crate::serve::READY;
use crate::sys;
use crate::wire::{Frame, Kind, Request, SECRET, Sender};

/// QEMU's user-mode network gives the first guest this address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const PORT: u16 = 1;

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
    for (link, target) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        let _ = std::os::unix::fs::symlink(target, Path::new("/dev").join(link));
    }
    fs::create_dir_all("/host")?;
    fs::write("/proc/sys/kernel/hostname", "esp0-kvm-host")?;
    raise_limits();

    load_modules("/modules")?;
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
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|item| Ok(item?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        let file = File::open(&path)?;
        // SAFETY: finit_module takes a file descriptor, a NUL-terminated string and flags.
        let result =
            unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
        let error = io::Error::last_os_error();
        if result < 0 && error.raw_os_error() != Some(libc::EEXIST) {
            return Err(io::Error::other(format!("cannot load {}: {error}", path.display())));
        }
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
        let socket =
            OwnedFd::from_raw_fd(sys::check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0))?);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
            *to = *from as libc::c_char;
        }
        let call = |number, request: &libc::ifreq| {
            sys::check(libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_ref(request)))
                .map_err(|error| {
                    io::Error::other(format!("cannot bring up {}: {error}", name.to_string_lossy()))
                })
        };
        request.ifr_ifru.ifru_addr =
            std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet(address));
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
