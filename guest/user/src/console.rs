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

/// Waits for a line; gives how many bytes of it there are. None: the input has ended.
pub fn read_line(server: u32, buffer: &mut [u8]) -> Option<usize> {
    let question = Message::short(console::READ, buffer.len() as u32, 0);
    let (_, length) = message::call_for(server, question, buffer).ok()?;
    (length > 0).then_some(length)
}
