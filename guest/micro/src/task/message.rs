//! Messages: call, receive, reply, and notifications.
//!
//! There are no queues and no buffers in the kernel: a message goes straight from one task to
//! another, when one is sending and the other receiving, so that one of both always waits.
//! ```text
//!  client  ── call ──►  Sending ──►  Calling ─────────────► goes on, with the answer
//!                          ▲            ▲                 ▲
//!  server  ── receive ──►  takes it ────┘ … works … reply ┘
//! ```
//! A short message is a label and two words, in registers. A long one has bytes instead of the
//! second word, at most a page of them; they are copied once, from address space to address space,
//! into the buffer that the receiver has named. A notification is a word of bits that wait for
//! the receiver; sending one never waits.
//!
//! Whoever waits for a task that ends hears of it at once. What is handed over lies in the
//! receiver's record, not on its kernel stack: a suspended stack is never written to.

use super::mail::Message;
use super::record::{State, Task};
use super::{Id, scheduler, table};
use crate::memory::kernel::virtual_address;
use crate::memory::space::Space;
use crate::memory::user::Claim;
use abi::call::Error;
use abi::layout::PAGE;
use abi::task::MESSAGE;

/// Sends a message and waits for the answer.
pub(crate) fn call(to: Id, message: Message) -> Result<Message, Error> {
    let current = Task::current();
    let receiver = table::find(to).ok_or(Error::NoSuchTask)?;
    if core::ptr::eq(receiver, current) {
        return Err(Error::BadArgument);
    }
    match receiver.state() {
        State::Ended(_) => return Err(Error::PartnerEnded),
        State::Receiving(from) if from.is_none_or(|from| from == current.id()) => {
            if current.is_killed() {
                return Err(Error::Killed);
            }
            deliver(current, receiver, message)?;
            scheduler::wait_for_the_good_of(State::Calling(to), receiver)?;
        }
        _ => {
            current.mail.outgoing.set(message);
            let senders = &receiver.mail.senders;
            senders.set(senders.get() + 1);
            scheduler::wait(State::Sending(to))?;
        }
    }
    Ok(current.mail.incoming.get())
}

/// Waits for a message, from one task or from anybody; gives the sender, [`Id::IDLE`] for a
/// notification.
pub(crate) fn receive(from: Option<Id>) -> Result<(Id, Message), Error> {
    let current = Task::current();
    if let Some(taken) = take(current, from) {
        return Ok(taken);
    }
    check_sender(from)?;
    scheduler::wait(State::Receiving(from))?;
    Ok((current.mail.from.get(), current.mail.incoming.get()))
}

/// Answers a call, and waits for the next message from anybody. If the answer cannot be delivered,
/// that is the caller's affair.
pub(crate) fn reply_receive(to: Id, message: Message) -> Result<(Id, Message), Error> {
    let current = Task::current();
    let caller = deliver_reply(to, message).ok();
    if let Some(taken) = take(current, None) {
        caller.inspect(|caller| scheduler::wake(caller, Ok(())));
        return Ok(taken);
    }
    let state = State::Receiving(None);
    match caller {
        Some(caller) if !current.is_killed() => scheduler::wait_for_the_good_of(state, caller)?,
        Some(caller) => {
            scheduler::wake(caller, Ok(()));
            return Err(Error::Killed);
        }
        None => scheduler::wait(state)?,
    }
    Ok((current.mail.from.get(), current.mail.incoming.get()))
}

/// Answers a call; does not wait.
pub(crate) fn reply(to: Id, message: Message) -> Result<(), Error> {
    let caller = deliver_reply(to, message)?;
    scheduler::wake(caller, Ok(()));
    Ok(())
}

/// Adds bits to a task's notification.
pub(crate) fn notify(task: &'static Task, bits: u32) {
    let pending = &task.mail.bits;
    pending.set(pending.get() | bits);
    if task.state() == State::Receiving(None) {
        let (from, message) = take_bits(task);
        task.mail.from.set(from);
        task.mail.incoming.set(message);
        scheduler::wake(task, Ok(()));
    }
}

/// A task ends: all who wait for it hear of it.
pub(super) fn fail_partners(ending: &Task) {
    let id = ending.id();
    for task in table::all() {
        let waits = match task.state() {
            State::Sending(other) | State::Calling(other) => other == id,
            State::Receiving(from) => from == Some(id),
            _ => false,
        };
        if waits {
            scheduler::wake(task, Err(Error::PartnerEnded));
        }
    }
}

/// A task that waits is killed: if it waited to send, it does so no longer.
pub(super) fn give_up(task: &Task) {
    if let State::Sending(to) = task.state() {
        forget_sender(to);
    }
}

fn forget_sender(to: Id) {
    if let Some(receiver) = table::find(to) {
        let senders = &receiver.mail.senders;
        senders.set(senders.get().saturating_sub(1));
    }
}

/// A message from somebody must still be possible.
fn check_sender(from: Option<Id>) -> Result<(), Error> {
    match from.map(table::find) {
        None => Ok(()),
        Some(None) => Err(Error::NoSuchTask),
        Some(Some(task)) if task.report().is_some() => Err(Error::PartnerEnded),
        Some(Some(_)) => Ok(()),
    }
}

/// What waits for a task already: mostly nothing.
#[inline(always)]
fn take(receiver: &'static Task, from: Option<Id>) -> Option<(Id, Message)> {
    if from.is_none() && receiver.mail.bits.get() != 0 {
        return Some(take_bits(receiver));
    }
    if receiver.mail.senders.get() == 0 {
        return None;
    }
    take_from_senders(receiver, from)
}

#[inline(never)]
fn take_from_senders(receiver: &'static Task, from: Option<Id>) -> Option<(Id, Message)> {
    while receiver.mail.senders.get() > 0 {
        let wants = |task: &&Task| {
            task.state() == State::Sending(receiver.id())
                && from.is_none_or(|from| from == task.id())
        };
        // In turn: those behind the one that was served last come first.
        let last = receiver.mail.served.get();
        let behind = table::all().filter(|task| task.id().place() > last).find(wants);
        let sender = behind.or_else(|| table::all().find(wants))?;
        receiver.mail.served.set(sender.id().place());
        match deliver(sender, receiver, sender.mail.outgoing.get()) {
            Ok(()) => {
                forget_sender(receiver.id());
                sender.wait_for(State::Calling(receiver.id()));
                return Some((sender.id(), receiver.mail.incoming.get()));
            }
            Err(error) => {
                forget_sender(receiver.id());
                scheduler::wake(sender, Err(error));
            }
        }
    }
    None
}

fn take_bits(task: &Task) -> (Id, Message) {
    (Id::IDLE, Message { label: task.mail.bits.take(), ..Message::default() })
}

/// Delivers the answer to a task that waits for it; gives that task, which is not awake yet.
#[inline(always)]
fn deliver_reply(to: Id, message: Message) -> Result<&'static Task, Error> {
    let current = Task::current();
    let caller = table::find(to).ok_or(Error::NoSuchTask)?;
    if caller.state() != State::Calling(current.id()) {
        return Err(Error::BadArgument);
    }
    match deliver(current, caller, message) {
        Ok(()) => Ok(caller),
        Err(error) => {
            scheduler::wake(caller, Err(error));
            Err(error)
        }
    }
}

/// Puts a message into the receiver's record, and its bytes into the receiver's buffer.
#[inline(always)]
fn deliver(from: &Task, to: &Task, message: Message) -> Result<(), Error> {
    if message.length > 0 {
        return deliver_long(from, to, message);
    }
    to.mail.incoming.set(message);
    to.mail.from.set(from.id());
    Ok(())
}

#[inline(never)]
fn deliver_long(from: &Task, to: &Task, message: Message) -> Result<(), Error> {
    let (buffer, room) = to.mail.buffer.get();
    if message.length > MESSAGE.min(room) {
        return Err(Error::TooLong);
    }
    copy(from, message.third, to, buffer, message.length)?;
    to.mail.incoming.set(Message { third: buffer, ..message });
    to.mail.from.set(from.id());
    Ok(())
}

/// Copies between two address spaces, one of which is in use: there the copy routine goes through
/// the program's own addresses, and in the other one through its page frames.
fn copy(from: &Task, source: u32, to: &Task, target: u32, length: u32) -> Result<(), Error> {
    let sends = core::ptr::eq(from, Task::current());
    let (here, there) = if sends { (source, target) } else { (target, source) };
    let here = Claim::new(here, length)?;
    Claim::new(there, length)?;
    let other = if sends { to } else { from };
    let mut done = 0;
    while done < length {
        let address = there + done;
        let count = (PAGE - address % PAGE).min(length - done);
        let frame = other.with_space(|space: &Space| space.resolve(address, sends, false))?;
        let pointer = virtual_address(frame + address % PAGE);
        // SAFETY: a frame of the other address space, to the end of the page at most. Interrupts
        // are closed, so it stays there; Rust knows of no references into it.
        let bytes = unsafe { core::slice::from_raw_parts_mut(pointer, count as usize) };
        match sends {
            true => here.copy_in(done, bytes)?,
            false => here.copy_out(done, bytes)?,
        }
        done += count;
    }
    Ok(())
}
