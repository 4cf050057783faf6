//! The ways into ring 0, and the way out.
//!
//! | file | what it tells |
//! | --- | --- |
//! | `table` | the IDT: 255 interrupt gates, three of them open to ring 3, and a task gate |
//! | `entry` | the assembly: from a gate to Rust, and back by IRET |
//! | `frame` | what then lies on the stack |
//! | `reason` | what went wrong, in words and for the parent |
//! | `double_fault` | the end of the kernel, when one of its stacks overflows |
//!
//! System calls go to [`system_call`], and all others meet in [`trap`]: timer, fault. It decides what the event means,
//! lets somebody handle it, and switches tasks if that ended the turn. It can be on a stack two or
//! three times: a system call that copies with interrupts open, the page fault of that copy, and
//! the timer during that.

pub(crate) mod double_fault;
pub(crate) mod entry;
pub(crate) mod frame;
pub(crate) mod reason;
mod table;

pub(crate) use table::start;

use crate::memory::user;
use crate::task::{Task, fast, fpu, life, scheduler};
use crate::{call, device, sysenter};
use abi::task::{KILLED, Report};
use abi::vector;
use arch::eflags::Eflags;
use arch::{control, pic};
use frame::Frame;

/// Errors of a page fault: it was a write.
const WRITE: u32 = 1 << 1;

/// Handles a system call: the short way, if it is a short message, else like any other entry.
pub(crate) extern "fastcall" fn system_call(frame: &mut Frame) {
    if frame.is_from_virtual_8086() {
        life::end(reason::report(frame));
    }
    if !frame.is_from_user() {
        unexpected(frame);
    }
    if sysenter::is_marked(frame) {
        call::dispatch_sysenter(frame);
    } else if fast::exchange(frame).is_none() {
        call::dispatch(frame);
    }
    leave_to_user();
}

/// Handles one entry into ring 0.
pub(crate) extern "fastcall" fn trap(frame: &mut Frame) {
    let from_user = frame.is_from_user();
    match frame.vector() {
        vector::TIMER => {
            pic::end_of_interrupt(vector::TIMER);
            scheduler::tick();
        }
        line @ vector::IRQ..=vector::SPURIOUS_SECOND => device::interrupt(line),
        vector::PAGE_FAULT => page_fault(frame),
        vector::DEVICE_NOT_AVAILABLE if from_user && fpu::open() => {}
        vector::DEBUG if sysenter::was_stepped_into(frame) => {
            // On the small stack, where no task can be found.
            frame.eflags &= !Eflags::TF.bits();
            return;
        }
        // The program is not to blame for these two.
        vector::NMI | vector::MACHINE_CHECK => unexpected(frame),
        ..vector::EXCEPTIONS if from_user => life::end(reason::report(frame)),
        _ => unexpected(frame),
    }
    leave(frame);
}

/// Before an entry is left: switches, if it is time, and ends a task that was killed.
fn leave(frame: &mut Frame) {
    if frame.is_from_virtual_8086() {
        life::end(reason::report(frame));
    }
    // What had interrupts open can be left for another task: a program, or the kernel on a long
    // path. Everything else is in the middle of something short.
    if frame.is_from_user() {
        leave_to_user();
    } else if scheduler::wants_switch() && frame.had_interrupts_open() {
        scheduler::give_way(true);
    }
}

/// The same where the entry is left to ring 3.
#[inline(always)]
fn leave_to_user() {
    if scheduler::wants_switch() {
        scheduler::give_way(false);
    }
    if Task::current().is_killed() {
        life::end(Report { how: KILLED, ..Report::default() });
    }
}

/// A stack that grows, a page that is written to for the first time since a fork, or a mistake.
fn page_fault(frame: &mut Frame) {
    let address = control::cr2();
    let from_user = frame.is_from_user();
    // The kernel uses the memory of programs in its copy routine, and nowhere else.
    let exit = if from_user { None } else { user::fix_up(frame.eip) };
    if !from_user && exit.is_none() {
        unexpected(frame);
    }
    let report = reason::report(frame);
    let open = !from_user && frame.had_interrupts_open();
    let write = frame.error & WRITE != 0;
    match Task::current().with_space(|space| space.resolve(address, write, open)) {
        Ok(_) => scheduler::count_fault(),
        Err(error) => match exit {
            None => life::end(report),
            Some(exit) => {
                frame.eip = exit;
                frame.registers.eax = error as u32;
            }
        },
    }
}

/// The kernel did what the processor does not allow, or the machine is broken.
fn unexpected(frame: &Frame) -> ! {
    let ring = if frame.is_from_user() { 3 } else { 0 };
    panic!("{} in ring {ring}", reason::Reason(&reason::report(frame)))
}
