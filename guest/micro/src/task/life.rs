//! How tasks come to be, how they end, and who hears of it.
//!
//! ```text
//!   fork, thread ──► lives ──► exit, fault, kill ──► ended ──► wait ──► gone
//!                      │ exec: other memory            │ keeps record and kernel stack
//! ```
//! A task that has ended keeps its record and its kernel stack until its parent has asked how: the
//! stack is the one on which it made its last switch, so it cannot go any earlier by itself. Its
//! memory goes at once. If the parent ends first, init takes its children over, or, in a system
//! without init, the idle task.

use super::record::{State, Task};
use super::{Id, Name, fpu, message, scheduler, table};
use crate::device;
use crate::elf::Image;
use crate::memory::space::{self, Space};
use crate::program;
use crate::trap::frame::UserFrame;
use crate::trap::reason::Reason;
use abi::call::Error;
use abi::task::{CHILD_ENDED, EXITED, FAULTED, Report};
use arch::{OneCpu, println};
use core::cell::Cell;

/// Who takes over the children of tasks that have ended.
// SAFETY: used by kernel code with interrupts closed.
static INIT: OneCpu<Cell<Id>> = unsafe { OneCpu::new(Cell::new(Id::IDLE)) };

/// Makes a task the one that orphans go to.
pub(crate) fn set_init(id: Id) {
    INIT.set(id);
}

/// Whether there was an init, and is no more.
pub(super) fn has_lost_init() -> bool {
    INIT.get() != Id::IDLE && table::find(INIT.get()).is_none()
}

/// Makes a task that will enter ring 3 with this frame when its turn comes, a child of `parent`.
pub(crate) fn create(
    parent: &Task,
    name: Name,
    space: Space,
    user_stack: u32,
    frame: UserFrame,
) -> Result<&'static Task, Error> {
    let id = table::free_id().ok_or(Error::NoMemory)?;
    let task = Task::create_child(parent, id, name, space, user_stack, frame);
    let task = task.ok_or(Error::NoMemory)?;
    table::add(task);
    scheduler::enqueue(task);
    Ok(task)
}

/// A copy of the task that runs: its memory, copy-on-write, and its registers with 0 in EAX.
pub(crate) fn fork(frame: &UserFrame) -> Result<u32, Error> {
    let current = Task::current();
    let space = current.with_space(Space::fork)?;
    let mut frame = *frame;
    frame.frame.registers.eax = 0;
    let child = create(current, current.name(), space, current.user_stack(), frame)?;
    fpu::copy(current, child);
    child.mail.copy_buffer(&current.mail);
    Ok(child.id().number())
}

/// A task with the same memory, that calls `entry(argument)` on a stack of its own.
pub(crate) fn thread(entry: u32, argument: u32) -> Result<u32, Error> {
    let current = Task::current();
    let space = current.with_space(Space::share)?;
    let stack = space.take_stack()?;
    // As a call leaves it: the argument, and below it where to return to, which is nowhere.
    let top = space::stack_range(stack).end - 16;
    let created =
        space.write(top, &argument.to_le_bytes()).and_then(|()| space.share()).and_then(|space| {
            let frame = UserFrame::start(entry, top - 4);
            create(current, current.name(), space, stack, frame)
        });
    match created {
        Ok(task) => Ok(task.id().number()),
        Err(error) => {
            space.give_stack_back(stack);
            Err(error)
        }
    }
}

/// Goes on as another program. Gives the frame to go on with; on an error the old program does.
pub(crate) fn exec<'a>(
    image: &dyn Image,
    name: Name,
    strings: impl Iterator<Item = &'a [u8]>,
    arguments: usize,
) -> Result<UserFrame, Error> {
    let current = Task::current();
    let program = program::load(image, strings, arguments)?;
    give_memory_up(Some(program.space));
    current.become_program(name);
    fpu::forget(current);
    Ok(UserFrame::start(program.entry, program.stack))
}

/// Puts other memory, or none, in place of what the task that runs has.
fn give_memory_up(other: Option<Space>) {
    let current = Task::current();
    let stack = current.user_stack();
    let before = current.exchange_space(other);
    if let Some(space) = before {
        space.give_stack_back(stack);
        // Pre-emptible, if nobody shares it: nobody else can reach it any more.
        drop(space);
    }
}

/// Ends the task that runs.
pub(crate) fn end(report: Report) -> ! {
    let current = Task::current();
    let report = Report { task: current.id().number(), ..report };
    if current.is_boot_module() {
        tell(current, &report);
    }
    give_memory_up(None);
    // From here on to the last switch nothing comes between.
    fpu::forget(current);
    device::detach_all(current);
    message::fail_partners(current);
    for child in table::all().filter(|task| task.parent() == current.id()) {
        child.go_over_to(INIT.get());
        if child.report().is_some() {
            tell_parent(child);
        }
    }
    current.ends(report);
    tell_parent(current);
    scheduler::leave_for_ever()
}

/// Says how a task ended that was started with the machine.
fn tell(task: &Task, report: &Report) {
    match report.how {
        EXITED => println!("micro: task {task} exit {}", report.status),
        FAULTED => println!("micro: task {task} {}", Reason(report)),
        _ => println!("micro: task {task} killed"),
    }
}

/// A task has ended: its parent may be waiting for that.
fn tell_parent(task: &Task) {
    let Some(parent) = table::find(task.parent()) else { return };
    match parent.state() {
        State::WaitingForChild => scheduler::wake(parent, Ok(())),
        _ => message::notify(parent, CHILD_ENDED),
    }
}

/// Waits until a child has ended, any if `which` is none, and lets the caller look at the report.
/// If that goes well the child is gone. With `may_wait` false it gives `None` rather than wait.
pub(crate) fn wait(
    which: Option<Id>,
    may_wait: bool,
    look: impl Fn(&Report) -> Result<(), Error>,
) -> Result<Option<Id>, Error> {
    let current = Task::current();
    loop {
        let mut children = table::all().filter(|task| {
            task.parent() == current.id() && which.is_none_or(|which| which == task.id())
        });
        let Some(first) = children.next() else { return Err(Error::NoChild) };
        let ended = core::iter::once(first).chain(children).find(|task| task.report().is_some());
        if let Some((child, report)) = ended.and_then(|task| Some((task, task.report()?))) {
            look(&report)?;
            let id = child.id();
            table::remove(child);
            return Ok(Some(id));
        }
        if !may_wait {
            return Ok(None);
        }
        scheduler::wait(State::WaitingForChild)?;
    }
}

/// Frees all children of the idle task that have ended.
pub(super) fn reap_for_idle() {
    let ended = |task: &&Task| task.parent() == Id::IDLE && task.report().is_some();
    while let Some(task) = table::all().find(ended) {
        table::remove(task);
    }
}

/// Ends another task, as soon as it is about to leave the kernel; what it waits for, it waits for
/// no more.
pub(crate) fn kill(task: &'static Task) {
    if task.report().is_some() {
        return;
    }
    task.condemn();
    if task.state() != State::Ready {
        message::give_up(task);
        scheduler::wake(task, Err(Error::Killed));
    }
}

/// Whether a task descends from another.
pub(crate) fn descends(task: &Task, ancestor: &Task) -> bool {
    let mut above = task.parent();
    while let Some(parent) = table::find(above) {
        if core::ptr::eq(parent, ancestor) {
            return true;
        }
        above = parent.parent();
    }
    false
}
