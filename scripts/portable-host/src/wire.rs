//! What the client and the guest say to each other over one TCP connection.
//!
//! First the client sends the host's secret and the guest answers with another one, so that neither talks
//! to a stranger who happens to have the port. Then frames, both ways:
//!
//! ```text
//!   ┌──────┬────────┬───────────┬───────────┬──────────────┐
//!   │ kind │ stream │ value u32 │ count u32 │ count bytes  │   little-endian
//!   └──────┴────────┴───────────┴───────────┴──────────────┘
//! ```
//!
//! A stream's sender may have at most [`WINDOW`] bytes under way and gets `Credit` back for what was
//! written out at the far end. So a reader that is slow on one stream never holds up another stream or a signal.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

pub(crate) const WINDOW: usize = 256 * 1024;
pub(crate) const SECRET: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// client → guest, first: what to run, see [`Request`]
    Request,
    /// guest → client: it runs
    Started,
    /// both ways: bytes of a stream; none means its end
    Data,
    /// both ways: so many bytes of the stream have been written out
    Credit,
    /// both ways: nobody reads this stream any more
    Closed,
    /// client → guest: send this signal to the command's process group
    Signal,
    /// guest → client: a signal has been sent
    Signalled,
    /// client → guest: the terminal has so many rows (high half) and columns
    Resize,
    /// guest → client, last: the command's wait status
    Exit,
    /// guest → client, last: the command could not be started; the exit status to use and the reason
    Refused,
    /// client → guest: is anybody there?
    Beat,
    /// guest → client: somebody is
    Alive,
}

impl Kind {
    const ALL: [Kind; 12] = [
        Kind::Request,
        Kind::Started,
        Kind::Data,
        Kind::Credit,
        Kind::Closed,
        Kind::Signal,
        Kind::Signalled,
        Kind::Resize,
        Kind::Exit,
        Kind::Refused,
        Kind::Beat,
        Kind::Alive,
    ];
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) stream: u8,
    pub(crate) value: u32,
    pub(crate) bytes: Vec<u8>,
}

const HEADER: usize = 10;

impl Frame {
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Frame> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        let u32_at =
            |at| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let kind = *Kind::ALL.get(usize::from(header[0])).ok_or(io::ErrorKind::InvalidData)?;
        let mut bytes = vec![0; u32_at(6) as usize];
        from.read_exact(&mut bytes)?;
        Ok(Frame { kind, stream: header[1], value: u32_at(2), bytes })
    }
}

/// The sending half of the connection, shared by threads.
#[derive(Clone)]
pub(crate) struct Sender(Arc<Mutex<TcpStream>>);

impl Sender {
    pub(crate) fn new(connection: TcpStream) -> Sender {
        Sender(Arc::new(Mutex::new(connection)))
    }

    pub(crate) fn send(&self, kind: Kind, stream: u8, value: u32, bytes: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(HEADER + bytes.len());
        frame.push(kind as u8);
        frame.push(stream);
        frame.extend(value.to_le_bytes());
        frame.extend(u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes());
        frame.extend(bytes);
        self.0.lock().unwrap().write_all(&frame)
    }
}

/// A command as the client's caller would have run it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) env: Vec<Vec<u8>>,
    pub(crate) cwd: Vec<u8>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: u32,
    pub(crate) nofile: u32,
    /// bit n: stream n is the terminal
    pub(crate) terminal: u32,
    /// the client's terminal is in raw mode, so the guest's does the line editing and the echo
    pub(crate) raw: bool,
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    /// seconds and nanoseconds of the real-time clock
    pub(crate) now: (u64, u32),
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut number = |value: u32| out.extend(value.to_le_bytes());
        let flags = u32::from(self.raw);
        let size = u32::from(self.rows) << 16 | u32::from(self.columns);
        let (high, low) = ((self.now.0 >> 32) as u32, self.now.0 as u32);
        for value in [
            self.uid,
            self.gid,
            self.umask,
            self.nofile,
            self.terminal,
            flags,
            size,
            high,
            low,
            self.now.1,
        ] {
            number(value);
        }
        number(self.groups.len() as u32);
        self.groups.iter().for_each(|&group| number(group));
        number(self.argv.len() as u32);
        number(self.env.len() as u32);
        for bytes in self.argv.iter().chain(&self.env).chain([&self.cwd]) {
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
        }
        out
    }

    pub(crate) fn decode(mut from: &[u8]) -> Option<Request> {
        fn number(from: &mut &[u8]) -> Option<u32> {
            let (first, rest) = from.split_first_chunk()?;
            *from = rest;
            Some(u32::from_le_bytes(*first))
        }
        fn bytes(from: &mut &[u8]) -> Option<Vec<u8>> {
            let length = number(from)? as usize;
            let (first, rest) = from.split_at_checked(length)?;
            *from = rest;
            Some(first.to_vec())
        }
        let from = &mut from;
        let mut fixed = [0; 10];
        for value in &mut fixed {
            *value = number(from)?;
        }
        let [uid, gid, umask, nofile, terminal, flags, size, high, low, nanoseconds] = fixed;
        let groups = (0..number(from)?).map(|_| number(from)).collect::<Option<_>>()?;
        let (arguments, variables) = (number(from)?, number(from)?);
        Some(Request {
            argv: (0..arguments).map(|_| bytes(from)).collect::<Option<_>>()?,
            env: (0..variables).map(|_| bytes(from)).collect::<Option<_>>()?,
            cwd: bytes(from)?,
            uid,
            gid,
            groups,
            umask,
            nofile,
            terminal,
            raw: flags & 1 != 0,
            rows: (size >> 16) as u16,
            columns: size as u16,
            now: (u64::from(high) << 32 | u64::from(low), nanoseconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_wire() {
        let request = Request {
            argv: vec![b"printf".to_vec(), Vec::new(), b"-- \n\"'\xff".to_vec()],
            env: vec![b"A=b=c".to_vec()],
            cwd: b"/a b".to_vec(),
            uid: 1000,
            gid: u32::MAX,
            groups: vec![4, 27],
            umask: 0o22,
            nofile: 1024,
            terminal: 0b110,
            raw: true,
            rows: 24,
            columns: 80,
            now: (1 << 33, 5),
        };
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }

    #[test]
    fn a_truncated_request_is_refused() {
        assert_eq!(Request::decode(&[1, 2, 3]), None);
    }

    #[test]
    fn kinds_are_numbered_in_the_order_of_the_table() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }
}
