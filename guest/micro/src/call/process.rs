//! Calls about tasks.

use super::Answer;
use crate::memory::frames::Frame as PageFrame;
use crate::memory::user::Claim;
use crate::program::MAX_STRING_BYTES;
use crate::task::{Id, Name, Task, life, table};
use crate::trap::frame::Frame;
use abi::call::Error;
use abi::layout::PAGE;
use abi::task::{EXITED, PRIORITIES, Report, WAIT_NOT, right};

pub(super) fn exit(status: u32) -> ! {
    life::end(Report { how: EXITED, status: status.cast_signed(), ..Report::default() })
}

pub(super) fn fork(frame: &mut Frame) -> Answer {
    life::fork(frame.as_user().ok_or(Error::BadArgument)?)
}

/// The image stays in the caller's memory until it is loaded; the strings are copied first, into a
/// page frame, for they have to outlive that memory.
pub(super) fn exec(frame: &mut Frame) -> Answer {
    let registers = &frame.registers;
    let image = Claim::new(registers.ebx, registers.ecx)?;
    let strings = Claim::new(registers.edx, registers.esi)?;
    let arguments = registers.edi as usize;
    if strings.len() > MAX_STRING_BYTES {
        return Err(Error::TooLong);
    }
    let page = PageFrame::allocate().ok_or(Error::NoMemory)?;
    // SAFETY: the frame is mapped and ours alone, as long as `page` lives.
    let page_bytes = unsafe { core::slice::from_raw_parts_mut(page.pointer(), PAGE as usize) };
    let bytes = &mut page_bytes[..strings.len() as usize];
    strings.copy_in(0, bytes)?;
    let bytes = match bytes.split_last() {
        Some((0, bytes)) => bytes,
        Some(_) => return Err(Error::BadArgument),
        None => bytes,
    };
    let split = || bytes.split(|&byte| byte == 0).filter(|_| strings.len() > 0);
    let name = Name::of_path(split().next().unwrap_or(b"nameless"));
    let start = life::exec(&image, name, split(), arguments)?;
    if let Some(frame) = frame.as_user() {
        *frame = start;
    }
    Ok(0)
}

pub(super) fn wait(task: u32, report: u32, flags: u32) -> Answer {
    if flags & !WAIT_NOT != 0 {
        return Err(Error::BadArgument);
    }
    let which = (task != 0).then_some(Id::claimed(task));
    let claim =
        (report != 0).then(|| Claim::new(report, size_of::<Report>() as u32)).transpose()?;
    let ended = life::wait(which, flags & WAIT_NOT == 0, |report| match claim {
        Some(claim) => claim.write(report),
        None => Ok(()),
    })?;
    Ok(ended.map_or(0, Id::number))
}

pub(super) fn kill(task: &'static Task, other: u32) -> Answer {
    let other = table::find(Id::claimed(other)).ok_or(Error::NoSuchTask)?;
    let is_allowed = core::ptr::eq(task, other)
        || life::descends(other, task)
        || task.rights() & right::POWER != 0;
    if !is_allowed {
        return Err(Error::NotAllowed);
    }
    life::kill(other);
    Ok(0)
}

pub(super) fn set_priority(task: &'static Task, other: u32, level: u32) -> Answer {
    let other = match other {
        0 => task,
        other => table::find(Id::claimed(other)).ok_or(Error::NoSuchTask)?,
    };
    if level >= PRIORITIES {
        return Err(Error::BadArgument);
    }
    let is_its_own = core::ptr::eq(task, other) || life::descends(other, task);
    let is_allowed = task.rights() & right::POWER != 0;
    if !is_allowed && (!is_its_own || level > task.priority()) {
        return Err(Error::NotAllowed);
    }
    other.set_priority(level);
    crate::task::scheduler::end_turn();
    Ok(0)
}

pub(super) fn restrict(task: &Task, rights: u32) -> Answer {
    task.keep_rights(rights);
    Ok(task.rights())
}
