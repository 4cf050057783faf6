//! The system calls: `int 0x80` with the numbers that Linux gave them.

use crate::frame::Frame;
use crate::memory::BadAddress;
use crate::task::Task;
use crate::{exec, life, schedule, user};
use arch::{console, cpu};
use unistd::number;

/// Why a call failed, as a negative number in EAX.
const NO_ENTRY: i32 = -2;
const NO_CHILD: i32 = -10;
const AGAIN: i32 = -11;
const BAD_ADDRESS: i32 = -14;
const NO_SUCH_CALL: i32 = -38;

/// Does what the frame's registers ask for.
pub(crate) fn dispatch(frame: &mut Frame) {
    let [first, second, third] = [frame.ebx, frame.ecx, frame.edx];
    let result = match frame.eax {
        number::EXIT => life::exit(first.cast_signed()),
        number::FORK => Ok(life::fork(frame).map_or(AGAIN, u32::cast_signed)),
        number::WRITE => write(second, third),
        number::WAIT => wait(first),
        number::EXEC => match exec::exec(frame, [first, second, third]) {
            Ok(true) => return, // the frame is the new program's
            Ok(false) => Ok(NO_ENTRY),
            Err(error) => Err(error),
        },
        number::GETPID => Ok(Task::current().pid.cast_signed()),
        number::PAUSE => {
            schedule::pause();
            Ok(0)
        }
        _ => Ok(NO_SUCH_CALL),
    };
    frame.eax = result.unwrap_or(BAD_ADDRESS).cast_unsigned();
}

/// Writes to the console. Between two pieces interrupts are open: the timer may come, and finds a
/// task that is in the kernel.
fn write(start: u32, length: u32) -> Result<i32, BadAddress> {
    let mut buffer = [0; 64];
    user::verify(start, length, false)?;
    for offset in (0..length).step_by(buffer.len()) {
        let piece = &mut buffer[..(length - offset).min(64) as usize];
        user::read(start + offset, piece)?;
        console::write(piece);
        // SAFETY: nothing is borrowed that the timer's handler uses.
        unsafe { cpu::let_interrupts_in() };
    }
    Ok(length.cast_signed())
}

/// The status goes to where `address` points, if it is not null: onto a page that may be shared.
fn wait(address: u32) -> Result<i32, BadAddress> {
    if address != 0 {
        user::verify(address, 4, true)?;
    }
    let Some((pid, status)) = life::wait() else { return Ok(NO_CHILD) };
    if address != 0 {
        user::write(address, &status.to_le_bytes())?;
    }
    Ok(pid.cast_signed())
}
