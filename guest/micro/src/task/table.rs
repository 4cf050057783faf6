//! All tasks, by their place. Looking through the whole table is slow and obviously right; it is
//! done when a task starts or ends, never at a switch.

use super::block;
use super::id::Id;
use super::record::Task;
use abi::task::TASKS;
use arch::OneCpu;
use core::cell::Cell;

struct Place {
    task: Cell<Option<&'static Task>>,
    /// How many tasks were here before.
    generation: Cell<u32>,
}

const _: () = assert!(TASKS <= block::MAX);

// SAFETY: used by kernel code with interrupts closed.
static TABLE: OneCpu<[Place; TASKS as usize]> = unsafe {
    OneCpu::new(
        [const { Place { task: Cell::new(None), generation: Cell::new(0) } }; TASKS as usize],
    )
};

/// Where to look for a free place first: they are used in turn, so that one which has just become
/// free rests for a while.
// SAFETY: as above.
static NEXT: OneCpu<Cell<u32>> = unsafe { OneCpu::new(Cell::new(1)) };

/// An identifier that no task has or had.
pub(super) fn free_id() -> Option<Id> {
    let free = |place: &u32| TABLE[*place as usize].task.get().is_none();
    let place = (NEXT.get()..TASKS).chain(1..NEXT.get()).find(free)?;
    NEXT.set(place % (TASKS - 1) + 1);
    Some(Id::new(place, TABLE[place as usize].generation.get()))
}

/// Puts a task into its place.
pub(super) fn add(task: &'static Task) {
    TABLE[task.id().place() as usize].task.set(Some(task));
}

/// The task with this identifier. The idle task is nobody's business.
pub(crate) fn find(id: Id) -> Option<&'static Task> {
    at(id.place()).filter(|task| task.id() == id && id != Id::IDLE)
}

/// The task in a place.
pub(crate) fn at(place: u32) -> Option<&'static Task> {
    TABLE.get(place as usize).and_then(|place| place.task.get())
}

/// All but the idle task.
pub(crate) fn all() -> impl Iterator<Item = &'static Task> {
    TABLE[1..].iter().filter_map(|place| place.task.get())
}

/// The task whose kernel stack ends at this address, if there is one.
pub(crate) fn with_stack_top(top: u32) -> Option<&'static Task> {
    all().find(|task| task.kernel_stack().end == top)
}

/// Frees the record and kernel stack of a task that has ended.
pub(super) fn remove(task: &'static Task) {
    assert!(task.report().is_some(), "task {task} has not ended");
    let place = &TABLE[task.id().place() as usize];
    place.task.set(None);
    place.generation.set(place.generation.get() + 1);
    // SAFETY: it has ended, so it is not the caller and in no queue; it is out of the table, and
    // references to other tasks live no longer than a look-up here.
    unsafe { task.remove() };
}
