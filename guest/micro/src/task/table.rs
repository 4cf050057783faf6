//! All tasks, and who is next.
//!
//! Round robin: the next one that is ready, counting on from the one that ran. Looking through the
//! whole table is slow and obviously right.

use super::block;
use super::record::{State, Task};
use arch::OneCpu;
use core::cell::Cell;

/// The number of the idle task, which is in the table but never ready: it runs when nobody is.
pub(super) const IDLE: u32 = 0;

const MAX: usize = 64;
const _: () = assert!(MAX <= block::MAX as usize);

// SAFETY: used by kernel code with interrupts closed.
static TASKS: OneCpu<[Cell<Option<&'static Task>>; MAX]> =
    unsafe { OneCpu::new([const { Cell::new(None) }; MAX]) };

/// A number that no task has.
pub(super) fn free_number() -> Option<u32> {
    (IDLE + 1..MAX as u32).find(|&number| slot(number).get().is_none())
}

/// Puts a task into the table, under its number.
pub(super) fn add(task: &'static Task) {
    slot(task.number()).set(Some(task));
}

/// Lets all those go on whose time has come.
pub(crate) fn wake_sleepers() {
    for task in programs() {
        if let State::Sleeping(moment) = task.state()
            && moment.has_come()
        {
            task.wake();
        }
    }
}

/// Goes on with the next task that is ready: the same if there is no other, idle if there is none.
/// Returns when the caller's turn has come again.
pub(crate) fn switch() {
    let current = Task::current();
    let (before, after) = TASKS.split_at(current.number() as usize + 1);
    let next = after
        .iter()
        .chain(before)
        .filter_map(Cell::get)
        .find(|task| task.number() != IDLE && task.state() == State::Ready)
        .or(slot(IDLE).get())
        .unwrap_or(current);
    current.switch_to(next);
}

/// Whether a program is ready to run.
pub(super) fn anyone_ready() -> bool {
    programs().any(|task| task.state() == State::Ready)
}

/// Clears ended tasks away. To be called from a task that does not end.
pub(super) fn clear_away_ended() {
    for task in programs().filter(|task| task.state() == State::Ended) {
        slot(task.number()).set(None);
        // SAFETY: it is not the caller, it is out of the table, and with interrupts closed nobody
        // but the caller runs: references to other tasks live no longer than a search here.
        unsafe { task.remove() };
    }
}

/// Whether there are no programs left.
pub(super) fn is_empty() -> bool {
    programs().next().is_none()
}

fn programs() -> impl Iterator<Item = &'static Task> {
    TASKS[IDLE as usize + 1..].iter().filter_map(Cell::get)
}

fn slot(number: u32) -> &'static Cell<Option<&'static Task>> {
    &TASKS[number as usize]
}
