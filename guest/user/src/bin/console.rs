//! `console` drives the serial port: see [`abi::service::console`].
//!
//! What is typed arrives as an interrupt, which the kernel makes a notification of. The server reads
//! all that the port has and hands it on as it came: whoever reads edits and echoes, as a shell does that
//! draws its own line. One key is the server's: Ctrl-C, while nobody waits for keys, is for the task that read
//! last, and gets there as a notification, since that task waits for something else. What is written goes out
//! at once.

#![no_std]
#![no_main]

extern crate alloc;

use abi::port::{COM1, CONSOLE, CONSOLE_PRESENT};
use abi::service::{console, error, names};
use abi::task::{MESSAGE, right};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use arch::port;
use user::call;
use user::message::{self, KERNEL, Message};

user::program!(main);

/// The serial port's interrupt, and the bit of the notification that comes of it.
const IRQ: u32 = 4;
const TYPED: u32 = 1;

/// Registers of the port: data, interrupt enable, line control, modem control, line status.
const DATA: u16 = COM1;
const INTERRUPTS: u16 = COM1 + 1;
const LINE_CONTROL: u16 = COM1 + 3;
const MODEM_CONTROL: u16 = COM1 + 4;
const LINE_STATUS: u16 = COM1 + 5;
/// Line status: a byte has arrived; a byte can be sent.
const ARRIVED: u8 = 1 << 0;
const SENDABLE: u8 = 1 << 5;

/// Ctrl-C.
const INTERRUPT: u8 = 3;
/// What is typed while nobody reads is kept, up to so many bytes; the bell rings for those that are not.
const AHEAD: usize = 4096;
const BELL: u8 = 7;

fn main(_: user::Arguments) -> i32 {
    if call::ports(COM1, 8).is_err() || call::ports(CONSOLE, 1).is_err() {
        return 1;
    }
    let mut server = Server::new();
    if call::attach(IRQ, TYPED).is_err() {
        return 1;
    }
    call::restrict(right::ALL & !right::DEVICES);
    if let Some(names) = user::variable("names").and_then(|id| id.parse().ok()) {
        let _ = message::call(names, Message::long(names::REGISTER, 0, b"console"));
    }
    server.serve()
}

struct Server {
    /// Whether there is a port that takes whole strings.
    has_fast_port: bool,
    /// What was typed and not yet read.
    typed: VecDeque<u8>,
    /// Who waits for keys, and how much room there is.
    readers: VecDeque<(u32, usize)>,
    /// Who read last; and whether it was sent a notification since.
    last_reader: Option<u32>,
    interrupted: bool,
}

impl Server {
    fn new() -> Self {
        let values = [(LINE_CONTROL, 0x03), (MODEM_CONTROL, 0x0B), (INTERRUPTS, 0x01)];
        for (register, value) in values {
            // SAFETY: the registers of a port that moves no memory, and that is open to us.
            unsafe { port::write(register, value) };
        }
        // SAFETY: as above.
        let has_fast_port = unsafe { port::read(CONSOLE) } == CONSOLE_PRESENT;
        Self {
            has_fast_port,
            typed: VecDeque::new(),
            readers: VecDeque::new(),
            last_reader: None,
            interrupted: false,
        }
    }

    fn serve(&mut self) -> i32 {
        let mut buffer = alloc::vec![0; MESSAGE as usize];
        if message::set_buffer(&mut buffer).is_err() {
            return 1;
        }
        let mut last = message::receive(0);
        loop {
            let Ok((from, message)) = last else { return 1 };
            let answer = match message.label {
                _ if from == KERNEL => {
                    self.take_typed();
                    let _ = call::acknowledge(IRQ);
                    None
                }
                console::WRITE => {
                    self.write(&buffer[..message.length as usize]);
                    Some(Message::default())
                }
                console::READ => {
                    self.readers.push_back((from, message.word as usize));
                    None
                }
                _ => Some(Message::short(error::BAD, 0, 0)),
            };
            self.serve_readers();
            last = match answer {
                Some(answer) => message::reply_receive(from, answer),
                None => message::receive(0),
            };
        }
    }

    /// Gives what was typed to whoever waits for it, up to the end of a line: what comes behind that is
    /// for whatever the line starts.
    fn serve_readers(&mut self) {
        while !self.typed.is_empty() {
            let Some((reader, room)) = self.readers.pop_front() else { return };
            let line = self.typed.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let count = line.map_or(self.typed.len(), |end| end + 1).min(room);
            let keys: Vec<u8> = self.typed.drain(..count).collect();
            let interrupted = core::mem::take(&mut self.interrupted);
            let answer = Message::long(error::NO, interrupted.into(), &keys);
            // A reader that has gone is no reason to stop.
            let _ = message::reply(reader, answer);
            self.last_reader = Some(reader);
        }
    }

    /// Reads all that has arrived.
    fn take_typed(&mut self) {
        // SAFETY: the registers of a port that moves no memory, and that is open to us.
        while unsafe { port::read(LINE_STATUS) } & ARRIVED != 0 {
            // SAFETY: as above.
            let byte = unsafe { port::read(DATA) };
            match self.last_reader {
                Some(reader) if byte == INTERRUPT && self.readers.is_empty() => {
                    self.typed.clear();
                    self.write(b"^C\n");
                    self.interrupted = message::notify(reader, console::INTERRUPTED).is_ok();
                }
                _ if self.typed.len() < AHEAD => self.typed.push_back(byte),
                _ => self.write(&[BELL]),
            }
            if matches!(byte, b'\r' | b'\n') {
                self.serve_readers();
            }
        }
    }

    fn write(&self, bytes: &[u8]) {
        if self.has_fast_port {
            // SAFETY: the console port takes bytes and does nothing else.
            return unsafe { port::write_all(CONSOLE, bytes) };
        }
        for &byte in bytes {
            // SAFETY: the registers of a port that moves no memory, and that is open to us.
            unsafe {
                while port::read(LINE_STATUS) & SENDABLE == 0 {}
                port::write(DATA, byte);
            }
        }
    }
}
