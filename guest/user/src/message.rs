//! Messages between tasks.

use crate::call::{Registers, int80};
use abi::call::{Call, Error};

/// What one task sends to another: a label, a word, and a second word or bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub label: u32,
    /// The first word.
    pub word: u32,
    /// The second word, or the address of the bytes.
    pub third: u32,
    /// How many bytes, if there are any.
    pub length: u32,
}

/// The sender of notifications.
pub const KERNEL: u32 = 0;

impl Message {
    /// A label and two words.
    pub const fn short(label: u32, word: u32, third: u32) -> Self {
        Self { label, word, third, length: 0 }
    }

    /// A label, a word, and bytes, which have to stay where they are until it is sent.
    pub fn long(label: u32, word: u32, bytes: &[u8]) -> Self {
        Self { label, word, third: bytes.as_ptr() as u32, length: bytes.len() as u32 }
    }
}

fn exchange(call: Call, to: u32, message: Message) -> Result<(u32, Message), Error> {
    let Message { label, word, third, length } = message;
    let mut registers =
        Registers { eax: call as u32, ebx: to, ecx: label, edx: word, esi: third, edi: length };
    // SAFETY: the only memory that is written is the buffer that `set_buffer` was given.
    unsafe { int80(&mut registers) };
    match Error::from_result(registers.eax.cast_signed()) {
        Some(error) => Err(error),
        None => {
            let Registers { eax, ecx, edx, esi, edi, .. } = registers;
            Ok((eax, Message { label: ecx, word: edx, third: esi, length: edi }))
        }
    }
}

/// Sends a message and waits for the answer, whose bytes go to the buffer.
pub fn call(to: u32, message: Message) -> Result<Message, Error> {
    exchange(Call::Call, to, message).map(|(_, answer)| answer)
}

/// As [`call`], with a place for the answer's bytes; gives the answer and how many there are.
pub fn call_for(to: u32, message: Message, buffer: &mut [u8]) -> Result<(Message, usize), Error> {
    set_buffer(buffer)?;
    let answer = call(to, message);
    set_buffer(&mut [])?;
    answer.map(|answer| (answer, answer.length as usize))
}

/// Waits for a message from a task (0: any); gives who sent it.
pub fn receive(from: u32) -> Result<(u32, Message), Error> {
    exchange(Call::Receive, from, Message::default())
}

/// Answers.
pub fn reply(to: u32, message: Message) -> Result<(), Error> {
    exchange(Call::Reply, to, message).map(|_| ())
}

/// Answers, and waits for the next message.
pub fn reply_receive(to: u32, message: Message) -> Result<(u32, Message), Error> {
    exchange(Call::ReplyReceive, to, message)
}

/// Sends bits, without waiting.
pub fn notify(to: u32, bits: u32) -> Result<(), Error> {
    exchange(Call::Notify, to, Message::short(bits, 0, 0)).map(|_| ())
}

/// Where the bytes of messages to this task go. It has to stay there as long as any can come.
pub fn set_buffer(buffer: &mut [u8]) -> Result<(), Error> {
    let (address, length) = (buffer.as_mut_ptr() as u32, buffer.len() as u32);
    exchange(Call::Buffer, address, Message::short(length, 0, 0)).map(|_| ())
}
