//! The system calls: what a program can ask for. One table, a few lines each.
//!
//! Arguments come in registers and are believed in nothing: a pointer is a
//! [`Claim`](crate::memory::user::Claim), a task identifier may name nobody, a number may be any.
//!
//! | file | the calls |
//! | --- | --- |
//! | `process` | exit, fork, exec, thread, wait, kill, memory, priority |
//! | `message` | call, receive, reply, notify |
//! | `system` | write, time, devices, and what the kernel tells about itself |

mod message;
mod process;
mod system;

use crate::sysenter;
use crate::task::{Task, life, scheduler};
use crate::trap::frame::Frame;
use abi::call::{Call, Error};
use abi::task::{FAULTED, Report};
use abi::vector;

/// What a call gives back in EAX.
type Answer = Result<u32, Error>;

/// Does what the frame's registers ask for, and puts the result into its EAX.
#[inline(never)]
pub(crate) fn dispatch(frame: &mut Frame) {
    let result = match Call::from_number(frame.registers.eax) {
        Some(call) => answer(Task::current(), call, frame),
        None => Err(Error::NoSuchCall),
    };
    frame.registers.eax = match result {
        Ok(value) => value,
        Err(error) => error as u32,
    };
}

/// The same for an entry by SYSENTER. A program has said beforehand where that returns to. And SYSEXIT
/// is no return that anybody could see, so it leads to the task that came in: if another ran
/// meanwhile, or is about to, IRET it is.
pub(crate) fn dispatch_sysenter(frame: &mut Frame) {
    frame.eip = Task::current().fast_return();
    if frame.eip == 0 {
        let vector = u32::from(vector::GENERAL_PROTECTION);
        life::end(Report { how: FAULTED, vector, ..Report::default() });
    }
    let switches = scheduler::switches();
    dispatch(frame);
    if switches != scheduler::switches() || scheduler::wants_switch() {
        sysenter::unmark(frame);
    }
}

fn answer(task: &'static Task, call: Call, frame: &mut Frame) -> Answer {
    let registers = &frame.registers;
    let [first, second, third] = [registers.ebx, registers.ecx, registers.edx];
    let fourth = registers.esi;
    match call {
        Call::Exit => process::exit(first),
        Call::Fork => process::fork(frame),
        Call::Exec => process::exec(frame),
        Call::Wait => process::wait(first, second, third),
        Call::Thread => life::thread(first, second),
        Call::Kill => process::kill(task, first),
        Call::Grow => task.with_space(|space| space.grow(first.cast_signed())),
        Call::Priority => process::set_priority(task, first, second),
        Call::Restrict => process::restrict(task, first),
        Call::GetPid => Ok(task.id().number()),

        Call::Call => message::call(frame),
        Call::Receive => message::receive(frame),
        Call::Reply => message::reply(frame),
        Call::ReplyReceive => message::reply_receive(frame),
        Call::Notify => message::notify(first, second),
        Call::Buffer => message::set_buffer(task, first, second),

        Call::Write => system::write(task, first, second),
        Call::Yield => system::yield_now(),
        Call::Sleep => system::sleep(first),
        Call::Uptime => Ok(crate::clock::ticks() & i32::MAX as u32),
        Call::Counters => system::counters(first),
        Call::Inspect => system::inspect(first, second),
        Call::Module => system::module(first, second, third, fourth),
        Call::ModuleInfo => system::module_info(first, second),
        Call::Ports => crate::device::lend_ports(task, first, second).map(|()| 0),
        Call::Attach => crate::device::attach(task, first, second).map(|()| 0),
        Call::Acknowledge => crate::device::acknowledge(task, first).map(|()| 0),
        Call::PowerOff => system::power_off(task, first),
        Call::Recurse => system::recurse(first),
        Call::Fast => system::fast(task, first),
    }
}
