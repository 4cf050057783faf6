//! Calls about messages: registers in, registers out.

use super::Answer;
use crate::memory::user::Claim;
use crate::task::{Id, Message, Task, message, table};
use crate::trap::frame::{Frame, Registers};
use abi::call::Error;
use abi::task::CHILD_ENDED;

fn outgoing(registers: &Registers) -> (Id, Message) {
    let message = Message {
        label: registers.ecx,
        word: registers.edx,
        third: registers.esi,
        length: registers.edi,
    };
    (Id::claimed(registers.ebx), message)
}

fn incoming(registers: &mut Registers, message: Message) {
    registers.ecx = message.label;
    registers.edx = message.word;
    registers.esi = message.third;
    registers.edi = message.length;
}

pub(super) fn call(frame: &mut Frame) -> Answer {
    let (to, message) = outgoing(&frame.registers);
    let answer = message::call(to, message)?;
    got(frame, Id::IDLE, answer)
}

pub(super) fn receive(frame: &mut Frame) -> Answer {
    let from = frame.registers.ebx;
    let (from, message) = message::receive((from != 0).then_some(Id::claimed(from)))?;
    got(frame, from, message)
}

pub(super) fn reply(frame: &mut Frame) -> Answer {
    let (to, message) = outgoing(&frame.registers);
    message::reply(to, message)?;
    Ok(0)
}

pub(super) fn reply_receive(frame: &mut Frame) -> Answer {
    let (to, message) = outgoing(&frame.registers);
    let (from, message) = message::reply_receive(to, message)?;
    got(frame, from, message)
}

/// ECX and EDX bring something, so SYSEXIT, which needs them, will not do.
fn got(frame: &mut Frame, from: Id, message: Message) -> Answer {
    incoming(&mut frame.registers, message);
    crate::sysenter::unmark(frame);
    Ok(from.number())
}

pub(super) fn notify(to: u32, bits: u32) -> Answer {
    if bits & CHILD_ENDED != 0 {
        return Err(Error::BadArgument);
    }
    let to = table::find(Id::claimed(to)).ok_or(Error::NoSuchTask)?;
    if to.report().is_some() {
        return Err(Error::PartnerEnded);
    }
    message::notify(to, bits);
    Ok(0)
}

pub(super) fn set_buffer(task: &Task, address: u32, length: u32) -> Answer {
    Claim::new(address, length)?;
    task.mail.set_buffer(address, length);
    Ok(0)
}
