//! The system calls that the standard library does not wrap.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What went wrong in the usual words, without the number that Rust appends.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// A second owner of a standard stream.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<File> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and touches no memory; what it returns is ours alone.
    unsafe {
        Ok(File::from(OwnedFd::from_raw_fd(check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3))?)))
    }
}

pub(crate) fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: isatty takes a number and touches no memory.
    unsafe { libc::isatty(fd) == 1 }
}

/// Whether `file` is our controlling terminal and another job has it.
pub(crate) fn in_background(file: &impl AsRawFd) -> bool {
    // SAFETY: both take a number at most and touch no memory.
    let (owner, ours) = unsafe { (libc::tcgetpgrp(file.as_raw_fd()), libc::getpgrp()) };
    owner > 0 && owner != ours
}

/// Rows and columns of the terminal.
pub(crate) fn window_size(fd: RawFd) -> Option<(u16, u16)> {
    // SAFETY: TIOCGWINSZ fills in the structure it is given, for which zeroes are a valid value.
    unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        check(libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size)).ok()?;
        Some((size.ws_row, size.ws_col))
    }
}

pub(crate) fn set_window_size(fd: RawFd, rows: u16, columns: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads the structure it is given.
    unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) };
}

pub(crate) fn terminal_mode(fd: RawFd) -> io::Result<libc::termios> {
    // SAFETY: tcgetattr fills in the structure it is given, for which zeroes are a valid value.
    unsafe {
        let mut mode: libc::termios = std::mem::zeroed();
        check(libc::tcgetattr(fd, &raw mut mode))?;
        Ok(mode)
    }
}

pub(crate) fn set_terminal_mode(fd: RawFd, mode: &libc::termios) -> io::Result<()> {
    // SAFETY: tcsetattr reads the structure it is given.
    unsafe { check(libc::tcsetattr(fd, libc::TCSADRAIN, mode)).map(drop) }
}

pub(crate) fn signal_set(signals: &[libc::c_int]) -> libc::sigset_t {
    // SAFETY: sigemptyset makes the set valid, sigaddset changes it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Blocks signals in this thread and in those it will start.
pub(crate) fn block_signals(set: &libc::sigset_t) {
    // SAFETY: pthread_sigmask reads the set.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set, std::ptr::null_mut()) };
}

pub(crate) fn wait_for_signal(set: &libc::sigset_t) -> libc::c_int {
    let mut signal = 0;
    // SAFETY: sigwait reads the set and writes the number.
    while unsafe { libc::sigwait(set, &raw mut signal) } != 0 {}
    signal
}

/// Ends this process by a signal, as the command ended, so that the caller sees the same as without us.
pub(crate) fn die_by(signal: libc::c_int) -> ! {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let set = signal_set(&[signal]);
    // SAFETY: plain system calls on values that live here; no core of ours is wanted for the command's fault.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::kill(libc::getpid(), signal);
    }
    std::process::exit(128 + signal);
}

/// Takes a lock on a file without waiting, or with.
pub(crate) fn lock(file: &File, operation: libc::c_int) -> bool {
    loop {
        // SAFETY: flock takes numbers and touches no memory.
        if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
            return true;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return false;
        }
    }
}

pub(crate) fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: libc::c_ulong,
    data: &CStr,
) -> io::Result<()> {
    // SAFETY: all are NUL-terminated strings that live through the call.
    let result = unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    };
    check(result).map(drop).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot mount {} on {}: {error}", lossy(source), lossy(target)),
        )
    })
}

fn lossy(text: &CStr) -> std::borrow::Cow<'_, str> {
    text.to_string_lossy()
}
