//! Calls about the machine, and about the kernel itself.

use super::Answer;
use crate::clock::Moment;
use crate::interrupts;
use crate::memory::space::stack_range;
use crate::memory::user::Claim;
use crate::task::{State, Task, scheduler, table};
use crate::{modules, options};
use abi::call::Error;
use abi::task::{Counters, Info, ModuleInfo, TASKS, right};
use arch::console;
use core::hint::black_box;

/// The longest sleep, in ticks: moments further away would look like the past.
const MAX_SLEEP: u32 = i32::MAX as u32;

/// How many bytes of a `write` are copied at a time.
const PIECE: usize = 256;

/// Short texts go out in one piece. In long ones interrupts are open during each copy, so the
/// writer can be pre-empted in the middle of the call.
pub(super) fn write(task: &Task, address: u32, length: u32) -> Answer {
    let text = Claim::new(address, length)?;
    let mut buffer = [0; PIECE];
    let is_long = length as usize > PIECE;
    let mut done = 0;
    while done < length {
        let piece = &mut buffer[..PIECE.min((length - done) as usize)];
        let copied = match is_long {
            true => interrupts::open(|| text.copy_in(done, piece)),
            false => text.copy_in(done, piece),
        };
        match copied {
            Ok(()) => console::write(piece),
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        done += piece.len() as u32;
        if task.is_killed() {
            break;
        }
    }
    Ok(done)
}

pub(super) fn yield_now() -> Answer {
    scheduler::end_turn();
    Ok(0)
}

pub(super) fn sleep(ticks: u32) -> Answer {
    match ticks {
        0 => yield_now(),
        1..=MAX_SLEEP => scheduler::sleep_until(Moment::in_ticks(ticks)).map(|()| 0),
        _ => Err(Error::BadArgument),
    }
}

pub(super) fn counters(address: u32) -> Answer {
    Claim::new(address, size_of::<Counters>() as u32)?.write(&scheduler::counters())?;
    Ok(0)
}

pub(super) fn inspect(place: u32, address: u32) -> Answer {
    let claim = Claim::new(address, size_of::<Info>() as u32)?;
    if place >= TASKS {
        return Err(Error::BadArgument);
    }
    let Some(task) = table::at(place) else { return Ok(0) };
    claim.write(&info(task))?;
    Ok(task.id().number())
}

fn info(task: &Task) -> Info {
    let space = task.space();
    let pages = space.as_ref().map_or((0, 0), |space| {
        (space.count_pages(stack_range(task.user_stack())), space.count_all_pages())
    });
    let state = match task.state() {
        State::Ready => b'R',
        State::Sleeping(_) => b'S',
        State::WaitingForChild => b'W',
        State::Sending(_) | State::Calling(_) => b'C',
        State::Receiving(_) => b'M',
        State::Ended(_) => b'Z',
    };
    Info {
        task: task.id().number(),
        parent: task.parent().number(),
        state: state.into(),
        priority: task.priority(),
        kernel_stack_top: task.kernel_stack().end,
        kernel_stack_used: task.kernel_stack_used(),
        user_stack_pages: pages.0,
        pages: pages.1,
        ticks: task.ticks(),
        name: task.name().bytes(),
    }
}

pub(super) fn module(index: u32, offset: u32, address: u32, length: u32) -> Answer {
    let module = modules::get(index).ok_or(Error::BadArgument)?;
    let rest = module.bytes.get(offset as usize..).ok_or(Error::BadArgument)?;
    let bytes = &rest[..rest.len().min(length as usize)];
    let claim = Claim::new(address, bytes.len() as u32)?;
    for (number, piece) in bytes.chunks(abi::layout::PAGE as usize).enumerate() {
        let offset = number as u32 * abi::layout::PAGE;
        claim.copy_out(offset, piece)?;
        interrupts::point();
    }
    Ok(bytes.len() as u32)
}

pub(super) fn module_info(index: u32, address: u32) -> Answer {
    let claim = Claim::new(address, size_of::<ModuleInfo>() as u32)?;
    let module = modules::get(index).ok_or(Error::BadArgument)?;
    let mut info = ModuleInfo { length: module.bytes.len() as u32, string: [0; 124] };
    let length = module.string.len().min(info.string.len());
    info.string[..length].copy_from_slice(&module.string.as_bytes()[..length]);
    claim.write(&info)?;
    Ok(0)
}

pub(super) fn power_off(task: &Task, status: u32) -> Answer {
    if task.rights() & right::POWER == 0 {
        return Err(Error::NotAllowed);
    }
    arch::println!("micro: powered off by task {task}");
    arch::power::off(status as u8)
}

/// Calls itself, as a kernel does that has too much on its mind.
pub(super) fn recurse(depth: u32) -> Answer {
    if !options::allows_recursion() {
        return Err(Error::NotAllowed);
    }
    Ok(descend(depth))
}

#[inline(never)]
fn descend(depth: u32) -> u32 {
    let mut room = [depth; 16];
    black_box(&mut room);
    match depth {
        0 => 0,
        _ => descend(depth - 1) + room[0].min(1),
    }
}

pub(super) fn fast(task: &Task, address: u32) -> Answer {
    if !options::has_sysenter() {
        return Err(Error::NotAllowed);
    }
    if address >= abi::layout::KERNEL {
        return Err(Error::BadAddress);
    }
    task.set_fast_return(address);
    Ok(0)
}
