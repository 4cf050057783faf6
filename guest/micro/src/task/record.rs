//! A task's record.
//!
//! It lies at the start of the task's block, so that the stack pointer alone tells which task is in
//! the kernel: [`Task::current`]. Its fields are cells: there are many references to a task, but
//! only one flow of control.

use super::block::{self, Block};
use super::mail::Mail;
use super::{Id, Name, stack};
use crate::clock::Moment;
use crate::memory::kernel;
use crate::memory::space::Space;
use crate::ports::Ports;
use crate::trap::frame::UserFrame;
use abi::call::Error;
use abi::task::{NORMAL, Report, right};
use arch::fpu;
use core::cell::{Cell, RefCell};
use core::fmt;

/// What a task waits for, if for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// For nothing but its turn.
    Ready,
    /// For a moment to come.
    Sleeping(Moment),
    /// For a child to end.
    WaitingForChild,
    /// For a task to take its message.
    Sending(Id),
    /// For the answer to it.
    Calling(Id),
    /// For a message, from this task or from anybody.
    Receiving(Option<Id>),
    /// For its parent to ask how it ended. It runs no more, and keeps its kernel stack.
    Ended(Report),
}

/// The first words of a record, for whoever looks at one from outside.
#[repr(C)]
struct Header {
    magic: u32,
    task: u32,
    stack_top: u32,
}

/// "TASK".
const MAGIC: u32 = u32::from_le_bytes(*b"TASK");

/// One task.
#[repr(C)]
pub(crate) struct Task {
    header: Header,
    id: Id,
    block: Block,
    /// Where its kernel stack was left when it last stopped running.
    stack_pointer: Cell<u32>,
    /// The page directory that goes with it.
    directory: Cell<u32>,
    state: Cell<State>,
    priority: Cell<u32>,
    /// The next one in the queue of those that are ready.
    pub(super) behind: Cell<Option<&'static Task>>,
    /// What came of what it waited for.
    outcome: Cell<Result<(), Error>>,
    is_killed: Cell<bool>,
    name: Cell<Name>,
    parent: Cell<Id>,
    /// Whether it was started with the machine.
    is_boot_module: Cell<bool>,
    rights: Cell<u32>,
    ports: Cell<Ports>,
    has_ports: Cell<bool>,
    ticks: Cell<u32>,
    /// Its program's memory. The idle task has none, and neither has a task that has ended.
    space: RefCell<Option<Space>>,
    /// Which user stack it has.
    user_stack: Cell<u32>,
    /// Where system calls by SYSENTER return to.
    fast_return: Cell<u32>,
    pub(crate) mail: Mail,
    /// Its FPU's registers, while another's are loaded.
    pub(super) fpu: fpu::Registers,
}

impl Task {
    /// A child that will enter ring 3 with this frame when its turn comes.
    pub(super) fn create_child(
        parent: &Self,
        id: Id,
        name: Name,
        space: Space,
        user_stack: u32,
        frame: UserFrame,
    ) -> Option<&'static Self> {
        let task = Self::place(id, name)?;
        task.exchange_space(Some(space));
        task.user_stack.set(user_stack);
        task.parent.set(parent.id);
        task.is_boot_module.set(parent.id == Id::IDLE);
        task.rights.set(parent.rights.get());
        task.fast_return.set(parent.fast_return.get());
        task.priority.set(parent.priority.get());
        task.stack_pointer.set(stack::for_frame(task.block.stack_top(), frame));
        Some(task)
    }

    /// The task that is what the kernel does when there is nothing to do. It is the parent of the
    /// boot modules, so it has what they are to have.
    pub(super) fn create_idle(body: extern "C" fn() -> !) -> Option<&'static Self> {
        let task = Self::place(Id::IDLE, Name::of_path(b"idle"))?;
        task.rights.set(right::ALL);
        task.stack_pointer.set(stack::for_kernel(task.block.stack_top(), body));
        Some(task)
    }

    fn place(id: Id, name: Name) -> Option<&'static Self> {
        let block = Block::create(id.place())?;
        let record = block.start() as *mut Self;
        let task = Self {
            header: Header { magic: MAGIC, task: id.number(), stack_top: block.stack_top() },
            id,
            block,
            stack_pointer: Cell::new(0),
            directory: Cell::new(kernel::directory()),
            state: Cell::new(State::Ready),
            priority: Cell::new(NORMAL),
            behind: Cell::new(None),
            outcome: Cell::new(Ok(())),
            is_killed: Cell::new(false),
            name: Cell::new(name),
            parent: Cell::new(Id::IDLE),
            is_boot_module: Cell::new(false),
            rights: Cell::new(0),
            ports: Cell::new(Ports::NONE),
            has_ports: Cell::new(false),
            ticks: Cell::new(0),
            space: RefCell::new(None),
            user_stack: Cell::new(0),
            fast_return: Cell::new(0),
            mail: Mail::empty(),
            fpu: fpu::Registers::start(),
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

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// The addresses of its kernel stack.
    pub(crate) fn kernel_stack(&self) -> core::ops::Range<u32> {
        self.block.stack()
    }

    /// How many bytes of its kernel stack have ever been used.
    pub(crate) fn kernel_stack_used(&self) -> u32 {
        self.block.stack_used()
    }

    /// Its program's memory. To be borrowed briefly: only the task itself ever changes it.
    pub(crate) fn space(&self) -> core::cell::Ref<'_, Option<Space>> {
        self.space.borrow()
    }

    /// Does something with its program's memory.
    pub(crate) fn with_space<T>(
        &self,
        what: impl FnOnce(&Space) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.space.borrow().as_ref().ok_or(Error::BadAddress).and_then(what)
    }

    /// Puts other memory, or none, in its place, and gives what was there.
    pub(crate) fn exchange_space(&self, space: Option<Space>) -> Option<Space> {
        let directory = space.as_ref().map_or(kernel::directory(), Space::directory_address);
        self.directory.set(directory);
        let before = self.space.replace(space);
        if core::ptr::eq(self, Self::current_or_null()) {
            // SAFETY: the kernel is the same in all directories.
            unsafe { arch::control::set_cr3(directory) };
        }
        before
    }

    /// [`Task::current`] as an address, which on the boot stack is nobody's.
    fn current_or_null() -> *const Self {
        block::of_running_stack() as *const Self
    }

    /// Whether its kernel stack has never overflowed.
    #[inline(always)]
    pub(super) fn is_stack_intact(&self) -> bool {
        self.block.is_marked()
    }

    /// Where its kernel stack was left when it last stopped running.
    #[inline(always)]
    pub(super) fn stack_pointer(&self) -> &Cell<u32> {
        &self.stack_pointer
    }

    /// The physical address of the page directory that goes with it.
    #[inline(always)]
    pub(super) fn directory(&self) -> u32 {
        self.directory.get()
    }

    pub(crate) fn user_stack(&self) -> u32 {
        self.user_stack.get()
    }

    pub(crate) fn name(&self) -> Name {
        self.name.get()
    }

    /// It goes on as another program, of which nothing is known yet but its name. Its memory has been exchanged.
    pub(super) fn become_program(&self, name: Name) {
        self.name.set(name);
        self.user_stack.set(0);
        self.fast_return.set(0);
        self.mail.forget_buffer();
    }

    pub(crate) fn parent(&self) -> Id {
        self.parent.get()
    }

    /// Whether it was started with the machine: then nobody else says how it ended.
    pub(super) fn is_boot_module(&self) -> bool {
        self.is_boot_module.get()
    }

    /// Its parent has ended, and another task takes it over.
    pub(super) fn go_over_to(&self, parent: Id) {
        self.parent.set(parent);
    }

    pub(crate) fn priority(&self) -> u32 {
        self.priority.get()
    }

    /// Changes its priority. One that is ready keeps its place in the queue until its next turn.
    pub(crate) fn set_priority(&self, priority: u32) {
        self.priority.set(priority);
    }

    pub(crate) fn rights(&self) -> u32 {
        self.rights.get()
    }

    /// Gives up all rights but these. It never gets one back.
    pub(crate) fn keep_rights(&self, kept: u32) {
        self.rights.set(self.rights.get() & kept);
    }

    pub(crate) fn ports(&self) -> Ports {
        self.ports.get()
    }

    /// Whether it may access any port.
    #[inline(always)]
    pub(super) fn has_ports(&self) -> bool {
        self.has_ports.get()
    }

    /// It may access these ports from now on, and no others; if it is the one that runs, at once.
    pub(crate) fn exchange_ports(&self, ports: Ports) {
        self.ports.set(ports);
        self.has_ports.set(!ports.is_empty());
        if core::ptr::eq(self, Self::current()) {
            ports.open();
        }
    }

    /// Where system calls by SYSENTER return to.
    pub(crate) fn fast_return(&self) -> u32 {
        self.fast_return.get()
    }

    pub(crate) fn set_fast_return(&self, eip: u32) {
        self.fast_return.set(eip);
    }

    pub(crate) fn ticks(&self) -> u32 {
        self.ticks.get()
    }

    /// A timer tick found it running.
    pub(crate) fn count_tick(&self) {
        self.ticks.set(self.ticks.get().wrapping_add(1));
    }

    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// It waits, and does not run until it is said what came of that.
    #[inline(always)]
    pub(super) fn wait_for(&self, what: State) {
        self.state.set(what);
    }

    /// It waits no more: this came of it.
    #[inline(always)]
    pub(super) fn go_on(&self, outcome: Result<(), Error>) {
        self.state.set(State::Ready);
        self.outcome.set(outcome);
    }

    /// It runs no more.
    pub(super) fn ends(&self, report: Report) {
        self.state.set(State::Ended(report));
    }

    /// How it ended, if it has.
    pub(crate) fn report(&self) -> Option<Report> {
        match self.state.get() {
            State::Ended(report) => Some(report),
            _ => None,
        }
    }

    pub(crate) fn outcome(&self) -> Result<(), Error> {
        self.outcome.get()
    }

    /// Whether it is to end as soon as it leaves the kernel.
    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed.get()
    }

    /// It is to end as soon as it leaves the kernel.
    pub(super) fn condemn(&self) {
        self.is_killed.set(true);
    }

    /// Gives back the record and kernel stack of a task that has ended.
    ///
    /// # Safety
    /// The task is not the one that runs, is in no table, and nobody keeps a reference to it.
    pub(super) unsafe fn remove(&'static self) {
        let record = core::ptr::from_ref(self).cast_mut();
        // SAFETY: nobody will look at the record again. It is taken out before its block goes.
        let Self { block, .. } = unsafe { record.read() };
        block.remove();
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>2} {:<10}", self.id.number(), self.name.get())
    }
}

const _: () = assert!(size_of::<Task>() <= abi::layout::PAGE as usize);
