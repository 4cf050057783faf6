//! The socket that gdb comes to.
//!
//! It is bound and listens before the guest runs, and before esp0 gives up making sockets. One gdb is served at a
//! time; another that comes meanwhile is sent away. Nothing here blocks for ever: a gdb that does not read is
//! waited for a while, and whoever wants the end of the run gets it.

use crate::machine::StopRequest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a gdb that does not read is waited for.
const SLOWEST: Duration = Duration::from_secs(20);
/// How often it is asked whether somebody wants the end of the run.
const LOOK: Duration = Duration::from_millis(100);
/// How often the socket is looked at while the guest runs.
const GLANCE: Duration = Duration::from_millis(10);
/// gdb gives up an answer of which it has heard nothing for two seconds.
const HUM: Duration = Duration::from_secs(1);

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    /// As gdb's `target remote` takes it.
    name: String,
}

impl Listener {
    /// Listens at `HOST:PORT`, at `:PORT` of the loopback, or at `unix:PATH`.
    ///
    /// # Errors
    /// What the operating system says, or that it is no address.
    pub fn open(address: &str) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            // A socket that a run before has left; nothing else is taken away.
            if std::fs::symlink_metadata(&path).is_ok_and(|it| it.file_type().is_socket())
                && std::os::unix::net::UnixStream::connect(&path).is_err()
            {
                std::fs::remove_file(&path)?;
            }
            let name = path.display().to_string();
            return Ok(Listener { socket: UnixListener::bind(path)?.into(), name });
        }
        let address = match address.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None if address.parse::<u16>().is_ok() => format!("127.0.0.1:{address}"),
            None => address.to_owned(),
        };
        let addresses: Vec<_> = address.to_socket_addrs()?.collect();
        let listener = TcpListener::bind(&addresses[..])?;
        let name = listener.local_addr()?.to_string();
        // What is accepted inherits it: packets are short, and each waits for an answer.
        rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
        Ok(Listener { socket: listener.into(), name })
    }

    /// What to give to gdb's `target remote`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for a gdb; none if the end of the run is wanted first.
    pub(super) fn accept(&self, stop: &StopRequest) -> io::Result<Option<Line<'_>>> {
        while !stop.is_requested() {
            if ready(self.socket.as_fd(), PollFlags::IN, LOOK)? {
                match accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    Ok(socket) => return Ok(Some(Line::new(socket, self, stop.clone()))),
                    // Whoever knocked has left again.
                    Err(Errno::CONNABORTED | Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(None)
    }

    /// Sends another gdb away.
    fn turn_away(&self) {
        if ready(self.socket.as_fd(), PollFlags::IN, Duration::ZERO).unwrap_or(false)
            && accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).is_ok()
        {
            eprintln!("esp0: another gdb came to {} and was sent away", self.name);
        }
    }
}

/// The line to one gdb.
#[derive(Debug)]
pub(super) struct Line<'a> {
    socket: OwnedFd,
    listener: &'a Listener,
    stop: StopRequest,
    /// Read, and not yet taken.
    inbox: RefCell<VecDeque<u8>>,
    /// Written, and not yet sent.
    outbox: RefCell<Vec<u8>>,
    closed: Cell<bool>,
    looked: Cell<Option<Instant>>,
    /// gdb waits for the answer to a command, and heard of it then.
    hummed: Cell<Option<Instant>>,
}

impl<'a> Line<'a> {
    fn new(socket: OwnedFd, listener: &'a Listener, stop: StopRequest) -> Self {
        Line {
            socket,
            listener,
            stop,
            inbox: RefCell::default(),
            outbox: RefCell::default(),
            closed: Cell::new(false),
            looked: Cell::new(None),
            hummed: Cell::new(None),
        }
    }

    /// Takes in what has come, without waiting.
    fn receive(&self) {
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(0) => return self.closed.set(true),
                Ok(count) => self.inbox.borrow_mut().extend(&buffer[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.closed.set(true),
            }
        }
    }

    /// The next byte, waited for; none when gdb has gone or the end of the run is wanted.
    pub(super) fn next(&self) -> Option<u8> {
        loop {
            if let Some(byte) = self.take() {
                return Some(byte);
            }
            if self.is_over() {
                return None;
            }
            let _ = ready(self.socket.as_fd(), PollFlags::IN, LOOK);
            self.listener.turn_away();
            self.receive();
        }
    }

    /// The next byte that has come already.
    pub(super) fn take(&self) -> Option<u8> {
        self.inbox.borrow_mut().pop_front()
    }

    /// Something has come, or nothing can come any more. Asked often, it looks now and then.
    pub(super) fn calls(&self) -> bool {
        if self.looked.get().is_none_or(|at| at.elapsed() >= GLANCE) {
            self.looked.set(Some(Instant::now()));
            self.receive();
            self.listener.turn_away();
            if self.hummed.get().is_some_and(|at| at.elapsed() >= HUM) {
                self.hum();
            }
        }
        // Acknowledgements are no call.
        self.inbox.borrow().iter().any(|byte| matches!(byte, 3 | b'$')) || self.is_over()
    }

    /// gdb waits for the answer to a command, or has got it.
    pub(super) fn answers(&self, on: bool) {
        self.hummed.set(on.then(Instant::now));
    }

    /// A dot on gdb's console, for it to wait on.
    fn hum(&self) {
        self.hummed.set(Some(Instant::now()));
        self.outbox.borrow_mut().extend_from_slice(b"$O2e#e6");
        // Whoever has gone is noticed elsewhere.
        let _ = self.send();
    }

    /// gdb has gone, or the end of the run is wanted.
    pub(super) fn is_over(&self) -> bool {
        self.closed.get() || self.stop.is_requested()
    }

    /// Sends what was written.
    fn send(&self) -> io::Result<()> {
        let bytes = std::mem::take(&mut *self.outbox.borrow_mut());
        let mut left = &bytes[..];
        let begun = Instant::now();
        while !left.is_empty() {
            match rustix::io::write(&self.socket, left) {
                Ok(count) => left = &left[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if begun.elapsed() < SLOWEST && !self.stop.is_requested() => {
                    ready(self.socket.as_fd(), PollFlags::OUT, LOOK)?;
                }
                Err(error) => {
                    self.closed.set(true);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

impl gdbstub::conn::Connection for &Line<'_> {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.outbox.borrow_mut().push(byte);
        Ok(())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.outbox.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// Whether a socket is ready within this time.
fn ready(socket: BorrowedFd<'_>, what: PollFlags, time: Duration) -> io::Result<bool> {
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
    match poll(&mut [PollFd::new(&socket, what)], Some(&time)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gdbstub::conn::Connection;
    use std::io::Read;
    use std::net::TcpStream;

    #[test]
    fn bytes_go_both_ways_and_the_end_is_known() {
        let listener = Listener::open("127.0.0.1:0").unwrap();
        let mut gdb = TcpStream::connect(listener.name()).unwrap();
        let line = listener.accept(&StopRequest::default()).unwrap().unwrap();
        std::io::Write::write_all(&mut gdb, b"+$?#3f").unwrap();
        let came: Vec<u8> = (0..6).filter_map(|_| line.next()).collect();
        assert_eq!(came, b"+$?#3f");
        (&line).write_all(b"$S05#b8").unwrap();
        (&line).flush().unwrap();
        let mut answer = [0; 7];
        gdb.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"$S05#b8");
        drop(gdb);
        assert_eq!(line.next(), None);
        assert!(line.is_over());
    }

    #[test]
    fn a_second_gdb_is_sent_away() {
        let listener = Listener::open("127.0.0.1:0").unwrap();
        let _first = TcpStream::connect(listener.name()).unwrap();
        let line = listener.accept(&StopRequest::default()).unwrap().unwrap();
        let mut second = TcpStream::connect(listener.name()).unwrap();
        assert!(!line.calls());
        assert_eq!(second.read(&mut [0; 8]).unwrap_or(0), 0, "it is closed");
    }

    #[test]
    fn a_socket_that_was_left_is_taken_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gdb");
        let address = format!("unix:{}", path.display());
        drop(Listener::open(&address).unwrap());
        drop(Listener::open(&address).unwrap());
        let file = folder.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        assert!(Listener::open(&format!("unix:{}", file.display())).is_err());
        assert!(Listener::open("nowhere").is_err());
    }
}
