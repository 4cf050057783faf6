//! The short way of a short message.
//!
//! What a microkernel does most often is worth a path of its own: a call to a task that already
//! waits for one, and the answer to a task that waits for nothing else. Both end with a switch
//! straight to the partner. Everything here is also in [`super::message`], and whatever is not
//! quite so simple (bytes to copy, a partner that is busy, somebody more important who is ready)
//! is left to it: then nothing has been changed, and `None` comes back.

use super::record::{State, Task};
use super::{Id, scheduler, table};
use crate::plant::Plant;
use crate::trap::frame::{Frame, Registers};
use abi::call::Call;

/// Does what the frame's registers ask for, if it is as simple as that.
#[inline(always)]
pub(crate) fn exchange(frame: &mut Frame) -> Option<()> {
    let registers = &mut frame.registers;
    let wants = registers.eax;
    if wants != Call::Call as u32 && wants != Call::ReplyReceive as u32 || registers.edi != 0 {
        return None;
    }
    let current = Task::current();
    let partner = table::find(Id::claimed(registers.ebx))?;
    let (state, is_awaited) = if wants == Call::Call as u32 {
        (State::Calling(partner.id()), partner.state() == State::Receiving(None))
    } else {
        let is_caller = partner.state() == State::Calling(current.id());
        (State::Receiving(None), is_caller && current.mail.is_empty())
    };
    if !is_awaited
        || current.is_killed()
        || scheduler::is_anyone_above(partner)
        || Plant::SuspendedStackWritten.is_planted()
    {
        return None;
    }
    partner.mail.put(current.id(), registers);
    let result = scheduler::wait_for_the_good_of(state, partner);
    registers.eax = match result {
        Ok(()) => current.mail.take_into(registers, wants == Call::Call as u32),
        Err(error) => error as u32,
    };
    Some(())
}

impl super::message::Mail {
    /// Puts a short message in.
    #[inline(always)]
    fn put(&self, from: Id, registers: &Registers) {
        self.set_incoming(from, [registers.ecx, registers.edx, registers.esi, 0]);
    }

    /// Takes out what came; gives what EAX has to be: for the answer to a call 0, else the sender.
    #[inline(always)]
    fn take_into(&self, registers: &mut Registers, is_answer: bool) -> u32 {
        let (from, [label, word, third, length]) = self.incoming();
        registers.ecx = label;
        registers.edx = word;
        registers.esi = third;
        registers.edi = length;
        if is_answer { 0 } else { from.number() }
    }
}
