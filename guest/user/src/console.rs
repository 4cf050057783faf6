//! The console server, as its clients see it.

use crate::arguments::variable;
use crate::message::{self, Message};
use abi::service::{console, error};

/// The console server's task, if the environment names one. Otherwise the kernel's console is used.
pub fn server() -> Option<u32> {
    variable("console")?.parse().ok()
}

/// Has bytes written; gives whether that went well.
pub fn write(server: u32, bytes: &[u8]) -> bool {
    let message = Message::long(console::WRITE, 0, bytes);
    bytes.is_empty() || message::call(server, message).is_ok_and(|answer| answer.label == error::NO)
}

/// What was typed.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Bytes of it.
    pub count: usize,
    /// A notification was sent for Ctrl-C since the last answer.
    pub interrupted: bool,
}

/// Waits until something is typed. None: there is no console any more, or no room was given.
pub fn read(server: u32, buffer: &mut [u8]) -> Option<Keys> {
    let question = Message::short(console::READ, buffer.len() as u32, 0);
    let (answer, count) = message::call_for(server, question, buffer).ok()?;
    (count > 0).then_some(Keys { count, interrupted: answer.word != 0 })
}
