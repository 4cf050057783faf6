//! The short way of a short message.
//!
//! What a microkernel does most often is worth a path of its own: a call to a task that already
//! waits for one, and the answer to a task that waits for nothing else. Both end with a switch
//! straight to the partner. Everything here is also in [`super::message`], and whatever is not
//! quite so simple (bytes to copy, a partner that is busy, somebody more important who is ready)
//! is left to it: then nothing has been changed, and `None` comes back.

use super::record::{State, Task};
use super::{Id, scheduler, table};
use crate::trap::frame::{Frame, Registers};
use abi::call::Call;

/// Does what the frame's registers ask for, if it is as simple as that.
#[inline(always)]
pub(crate) fn exchange(frame: &mut Frame) -> Option<()> {
    const CALL: u32 = Call::Call as u32;
    const REPLY_RECEIVE: u32 = Call::ReplyReceive as u32;
    match frame.registers.eax {
        CALL => call(&mut frame.registers),
        REPLY_RECEIVE => reply_receive(&mut frame.registers),
        _ => None,
    }
}

#[inline(always)]
fn call(registers: &mut Registers) -> Option<()> {
    let partner = table::find(Id::claimed(registers.ebx))?;
    if partner.state() != State::Receiving(None) {
        return None;
    }
    hand_over(registers, State::Calling(partner.id()), partner)
}

#[inline(always)]
fn reply_receive(registers: &mut Registers) -> Option<()> {
    let current = Task::current();
    let partner = table::find(Id::claimed(registers.ebx))?;
    if partner.state() != State::Calling(current.id()) || !current.mail.is_empty() {
        return None;
    }
    hand_over(registers, State::Receiving(None), partner)
}

/// Gives the partner what is in the registers, and the processor; takes what comes back.
#[inline(always)]
fn hand_over(registers: &mut Registers, state: State, partner: &'static Task) -> Option<()> {
    let current = Task::current();
    if registers.edi != 0 || current.is_killed() || scheduler::is_anyone_above(partner) {
        return None;
    }
    let Registers { ecx, edx, esi, .. } = *registers;
    partner.mail.set_incoming(current.id(), [ecx, edx, esi, 0]);
    registers.eax = match scheduler::hand_over(current, state, partner) {
        Ok(()) => {
            let (from, message) = current.mail.incoming();
            [registers.ecx, registers.edx, registers.esi, registers.edi] = message;
            if matches!(state, State::Calling(_)) { 0 } else { from.number() }
        }
        Err(error) => error as u32,
    };
    Some(())
}
