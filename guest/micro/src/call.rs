//! The system calls: what a program can ask for. One table, a few lines each.
//!
//! Arguments come in registers and are believed in nothing: a pointer is a [`Claim`] until it has
//! been held against the caller's address space.

use crate::clock::Moment;
use crate::memory::user::Claim;
use crate::task::{Next, Task};
use crate::trap::frame::Frame;
use abi::call::{Call, Error};
use arch::console;

/// What a call gives back in EAX, and who runs next.
type Answer = (Result<u32, Error>, Next);

/// The longest sleep, in ticks: moments further away would look like the past.
const MAX_SLEEP: u32 = i32::MAX as u32;

/// Does what the frame's registers ask for, and puts the result into its EAX.
pub(crate) fn dispatch(frame: &mut Frame) -> Next {
    let task = Task::current();
    let [first, second] = [frame.registers.ebx, frame.registers.ecx];
    let (result, next) = match Call::from_number(frame.registers.eax) {
        Some(Call::Exit) => exit(task, first),
        Some(Call::Write) => (write(task, Claim::new(first, second)), Next::Stay),
        Some(Call::Yield) => (Ok(0), Next::Switch),
        Some(Call::GetPid) => (Ok(task.number()), Next::Stay),
        Some(Call::Sleep) => sleep(task, first),
        None => (Err(Error::NoSuchCall), Next::Stay),
    };
    frame.registers.eax = match result {
        Ok(value) => value,
        Err(error) => error as u32,
    };
    next
}

fn exit(task: &Task, status: u32) -> Answer {
    arch::println!("micro: task {task} exit {}", status.cast_signed());
    (Ok(0), task.end())
}

fn write(task: &Task, text: Claim) -> Result<u32, Error> {
    let text = text.readable_by(task)?;
    let mut buffer = [0; 256];
    for start in (0..text.len()).step_by(buffer.len()) {
        console::write(text.copy(start, &mut buffer));
    }
    Ok(text.len())
}

fn sleep(task: &Task, ticks: u32) -> Answer {
    match ticks {
        0 => (Ok(0), Next::Switch),
        1..=MAX_SLEEP => (Ok(0), task.sleep_until(Moment::in_ticks(ticks))),
        _ => (Err(Error::BadArgument), Next::Stay),
    }
}
