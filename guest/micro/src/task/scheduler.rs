//! Who is next; waiting, and being woken.
//!
//! A queue for each priority. The first task of the highest queue that has one runs; when its turn
//! is over it goes to the end of its queue. A task that waits is in no queue.
//!
//! A task gives the processor away in two ways: by [`wait`], inside a system call, or because
//! [`wants_switch`] says so when an entry is about to be left. An entry that interrupted the kernel
//! itself is left in the same way, which is pre-emption inside a system call.

use super::record::{State, Task};
use super::{Id, switch, table};
use crate::clock;
use crate::memory::frames;
use abi::call::Error;
use abi::task::{Counters, PRIORITIES};
use arch::OneCpu;
use core::cell::Cell;

/// Tasks that are ready, in the order of their turns.
struct Queue {
    first: Cell<Option<&'static Task>>,
    last: Cell<Option<&'static Task>>,
}

struct Scheduler {
    queues: [Queue; PRIORITIES as usize],
    /// One bit for each queue that is not empty.
    occupied: Cell<u32>,
    wants_switch: Cell<bool>,
    switches: Cell<u32>,
    kernel_preemptions: Cell<u32>,
    faults_resolved: Cell<u32>,
}

// SAFETY: used by kernel code with interrupts closed.
static SCHEDULER: OneCpu<Scheduler> = unsafe {
    OneCpu::new(Scheduler {
        queues: [const { Queue { first: Cell::new(None), last: Cell::new(None) } };
            PRIORITIES as usize],
        occupied: Cell::new(0),
        wants_switch: Cell::new(false),
        switches: Cell::new(0),
        kernel_preemptions: Cell::new(0),
        faults_resolved: Cell::new(0),
    })
};

/// Lets a task have turns: it waits for nothing else, and is in no queue.
pub(super) fn enqueue(task: &'static Task) {
    let queue = &SCHEDULER.queues[task.priority() as usize];
    task.behind.set(None);
    match queue.last.replace(Some(task)) {
        Some(last) => last.behind.set(Some(task)),
        None => queue.first.set(Some(task)),
    }
    SCHEDULER.occupied.set(SCHEDULER.occupied.get() | 1 << task.priority());
}

/// Takes the next one out of its queue.
fn take_next() -> Option<&'static Task> {
    let highest = SCHEDULER.occupied.get().checked_ilog2()?;
    let queue = &SCHEDULER.queues[highest as usize];
    let task = queue.first.get()?;
    queue.first.set(task.behind.take());
    if queue.first.get().is_none() {
        queue.last.set(None);
        SCHEDULER.occupied.set(SCHEDULER.occupied.get() & !(1 << highest));
    }
    Some(task)
}

/// Whether anybody is ready, the one that runs aside.
pub(super) fn is_anyone_ready() -> bool {
    SCHEDULER.occupied.get() != 0
}

/// Waits for something: until [`wake`] says what came of it.
pub(crate) fn wait(state: State) -> Result<(), Error> {
    let current = Task::current();
    if current.is_killed() {
        return Err(Error::Killed);
    }
    current.wait_for(state);
    switch_to_next();
    current.outcome()
}

/// Whether anybody is ready who is more important than this task.
#[inline(always)]
pub(super) fn is_anyone_above(task: &Task) -> bool {
    SCHEDULER.occupied.get() >> task.priority() > 1
}

/// Waits, and lets the task go on at once for which this is done, if nobody is more important.
pub(crate) fn wait_for_the_good_of(state: State, other: &'static Task) -> Result<(), Error> {
    let current = Task::current();
    if !is_anyone_above(other) {
        return hand_over(current, state, other);
    }
    other.go_on(Ok(()));
    enqueue(other);
    current.wait_for(state);
    switch_to_next();
    current.outcome()
}

/// The same where nobody is more important: the other task, which waits, goes on at once.
#[inline(always)]
pub(super) fn hand_over(current: &Task, state: State, other: &'static Task) -> Result<(), Error> {
    current.wait_for(state);
    other.go_on(Ok(()));
    count_switch();
    switch::switch(current, other);
    current.outcome()
}

/// Ends a task's waiting. It runs soon, at once if it is more important than the one that does.
pub(crate) fn wake(task: &'static Task, outcome: Result<(), Error>) {
    task.go_on(outcome);
    enqueue(task);
    if task.priority() > Task::current().priority() || Task::current().id() == Id::IDLE {
        SCHEDULER.wants_switch.set(true);
    }
}

/// The turn of the task that runs is over.
pub(crate) fn end_turn() {
    SCHEDULER.wants_switch.set(true);
}

/// Whether another task is to run, once the entry at hand is handled.
pub(crate) fn wants_switch() -> bool {
    SCHEDULER.wants_switch.get()
}

/// Goes on with the next task, and comes back at this one's next turn.
pub(crate) fn give_way(from_kernel: bool) {
    SCHEDULER.wants_switch.set(false);
    let current = Task::current();
    if current.id() != Id::IDLE {
        let highest = SCHEDULER.occupied.get().checked_ilog2();
        if highest.is_none_or(|highest| highest < current.priority()) {
            return;
        }
        enqueue(current);
        if from_kernel {
            SCHEDULER.kernel_preemptions.set(SCHEDULER.kernel_preemptions.get().wrapping_add(1));
        }
    }
    switch_to_next();
}

/// Goes on with the next task that is ready, idle if there is none.
#[inline(never)]
fn switch_to_next() {
    let next = take_next().or_else(|| table::at(0)).expect("the idle task has gone");
    count_switch();
    let current = Task::current();
    if !core::ptr::eq(next, current) {
        switch::switch(current, next);
    }
}

fn count_switch() {
    SCHEDULER.switches.set(SCHEDULER.switches.get().wrapping_add(1));
}

/// The last switch of a task that has ended.
pub(super) fn leave_for_ever() -> ! {
    switch_to_next();
    unreachable!("a task that has ended was switched to")
}

/// The timer's interrupt: wakes whose time has come, and ends the turn of the task that runs.
pub(crate) fn tick() {
    clock::advance();
    Task::current().count_tick();
    wake_sleepers();
    end_turn();
}

/// Lets all those go on whose time has come.
fn wake_sleepers() {
    for task in table::all() {
        if let State::Sleeping(moment) = task.state()
            && moment.has_come()
        {
            wake(task, Ok(()));
        }
    }
}

/// Sleeps until a moment.
pub(crate) fn sleep_until(moment: clock::Moment) -> Result<(), Error> {
    wait(State::Sleeping(moment))
}

/// How often a switch has happened: tells whether one happened meanwhile.
pub(crate) fn switches() -> u32 {
    SCHEDULER.switches.get()
}

/// A page fault was resolved.
pub(crate) fn count_fault() {
    SCHEDULER.faults_resolved.set(SCHEDULER.faults_resolved.get().wrapping_add(1));
}

/// What the kernel counts.
pub(crate) fn counters() -> Counters {
    let (frames, frames_free) = frames::counts();
    Counters {
        tasks: table::all().count() as u32,
        frames,
        frames_free,
        switches: SCHEDULER.switches.get(),
        kernel_preemptions: SCHEDULER.kernel_preemptions.get(),
        faults_resolved: SCHEDULER.faults_resolved.get(),
    }
}
