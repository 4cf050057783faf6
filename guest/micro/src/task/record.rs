//! A task's record.
//!
//! It lies at the start of the task's block, so that the stack pointer alone tells which task is in
//! the kernel: [`Task::current`]. Its fields are cells: there are many references to a task, but
//! only one flow of control.

use super::block::{self, Block};
use super::{stack, table};
use crate::clock::Moment;
use crate::memory::kernel;
use crate::memory::space::AddressSpace;
use crate::segments;
use abi::layout::KERNEL_STACK;
use core::cell::Cell;
use core::fmt;
use core::ops::Range;

/// What the processor does when it leaves the kernel. To forget it would be to forget a switch.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same task goes on.
    Stay,
    /// Its turn is over.
    Switch,
}

/// What a task waits for, if for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// For nothing but its turn.
    Ready,
    /// For a moment to come.
    Sleeping(Moment),
    /// For being cleared away. Its kernel stack may still be in use, so somebody else has to do it.
    Ended,
}

/// One task.
pub(crate) struct Task {
    block: Block,
    name: Name,
    state: Cell<State>,
    /// Where its kernel stack was left when it last stopped running.
    stack_pointer: Cell<u32>,
    /// Its program's memory. The idle task has none.
    space: Option<AddressSpace>,
}

impl Task {
    /// A task that will enter ring 3 at `entry`, with `stack` in ESP, when its turn comes.
    pub(crate) fn create(
        name: &str,
        space: AddressSpace,
        entry: u32,
        stack: u32,
    ) -> Option<&'static Self> {
        let task = Self::place(table::free_number()?, name, Some(space))?;
        task.stack_pointer.set(stack::for_program(task.block.stack_top(), entry, stack));
        table::add(task);
        Some(task)
    }

    /// The task that is what the kernel does when there is nothing to do.
    pub(super) fn create_idle(body: extern "C" fn() -> !) -> Option<&'static Self> {
        let task = Self::place(table::IDLE, "idle", None)?;
        task.stack_pointer.set(stack::for_kernel(task.block.stack_top(), body));
        Some(task)
    }

    fn place(number: u32, name: &str, space: Option<AddressSpace>) -> Option<&'static Self> {
        let block = Block::create(number)?;
        let record = block.start() as *mut Self;
        let task = Self {
            block,
            name: Name::new(name),
            state: Cell::new(State::Ready),
            stack_pointer: Cell::new(0),
            space,
        };
        // SAFETY: the first page of a new block is mapped, aligned, and nobody else's. It stays
        // until `remove`, which is told that no reference is left.
        unsafe {
            record.write(task);
            Some(&*record)
        }
    }

    /// The task on whose kernel stack this runs.
    pub(crate) fn current() -> &'static Self {
        // SAFETY: but for the first steps in `crate::start`, which ask for no task, the kernel runs
        // on stacks in blocks, and the record lies at the start of each.
        unsafe { &*(block::of_running_stack() as *const Self) }
    }

    /// Its number, the idle task's being 0.
    pub(crate) fn number(&self) -> u32 {
        self.block.number()
    }

    /// The addresses of its kernel stack.
    pub(crate) fn kernel_stack(&self) -> Range<u32> {
        self.block.stack_top() - KERNEL_STACK..self.block.stack_top()
    }

    /// Its program's memory.
    pub(crate) fn space(&self) -> Option<&AddressSpace> {
        self.space.as_ref()
    }

    pub(super) fn state(&self) -> State {
        self.state.get()
    }

    pub(super) fn wake(&self) {
        self.state.set(State::Ready);
    }

    /// Lets it sleep.
    pub(crate) fn sleep_until(&self, moment: Moment) -> Next {
        self.state.set(State::Sleeping(moment));
        Next::Switch
    }

    /// Ends it: it will not run again.
    pub(crate) fn end(&self) -> Next {
        self.state.set(State::Ended);
        Next::Switch
    }

    /// Leaves this task where it is, in the kernel, and goes on with another where that was left.
    /// Comes back when somebody does the same with this one.
    pub(super) fn switch_to(&self, next: &Self) {
        if core::ptr::eq(self, next) {
            return;
        }
        segments::enter_ring_0_at(next.block.stack_top());
        let directory = next.space.as_ref().map_or(kernel::directory(), AddressSpace::address);
        // SAFETY: the kernel is the same in all directories. The other stack was left by `switch`,
        // or made to look so; its block is there, since the task is.
        unsafe {
            arch::control::set_cr3(directory);
            stack::switch(self.stack_pointer.as_ptr(), next.stack_pointer.get());
        }
    }

    /// Goes on with this task, and leaves the boot stack for good: there is no way back.
    pub(super) fn be_the_first(&self) -> ! {
        let mut nobody = 0;
        segments::enter_ring_0_at(self.block.stack_top());
        // SAFETY: the stack is new. Its task needs no other directory than the kernel's.
        unsafe { stack::switch(&raw mut nobody, self.stack_pointer.get()) };
        unreachable!("the boot stack is used again")
    }

    /// Gives back all that an ended task had: record, kernel stack, program.
    ///
    /// # Safety
    /// The task is not the one that runs, is in no table, and nobody keeps a reference to it.
    pub(super) unsafe fn remove(&'static self) {
        let record = core::ptr::from_ref(self).cast_mut();
        // SAFETY: nobody will look at the record again. It is taken out before its block goes.
        let Self { block, space, .. } = unsafe { record.read() };
        drop(space);
        block.remove();
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>2} {:<10}", self.number(), self.name.as_str())
    }
}

/// A name, cut off if it is too long.
struct Name {
    text: [u8; 16],
    length: usize,
}

impl Name {
    fn new(name: &str) -> Self {
        let mut text = [0; 16];
        let length = name.floor_char_boundary(text.len());
        text[..length].copy_from_slice(&name.as_bytes()[..length]);
        Self { text, length }
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..self.length]).unwrap_or("?")
    }
}

const _: () = assert!(size_of::<Task>() <= abi::layout::PAGE as usize);
