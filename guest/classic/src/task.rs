//! A task: one page.
//!
//! ```text
//!  ESP0 = page + 4096 ─►  ┌─────────────────────────┐
//!                         │ SS ESP EFLAGS CS EIP    │  pushed by the CPU at each entry from ring 3
//!                         │ the rest of the frame   │  pushed by `trap`
//!                         │ what the kernel calls   │
//!                         │            ▼            │
//!                         │                         │
//!                         ├─────────────────────────┤
//!                         │ TSS, LDT                │
//!                         │ state, pid, …           │  the task's structure: `Task`
//!  page ───────────────►  └─────────────────────────┘
//! ```
//! So the stack that a task enters the kernel on comes and goes with the task, and a zombie has one
//! until its parent has asked for it.

use crate::memory::{self, directory};
use crate::segments::{self, KERNEL_DATA, TASKS, make_ldt};
use arch::OneCpu;
use arch::page::PAGE;
use arch::segment::Descriptor;
use arch::tss::{Registers, Tss};
use core::cell::Cell;

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It runs, or would.
    Ready,
    /// It waits for the next tick.
    Paused,
    /// It waits for a child to end.
    Waiting,
    /// It has ended; the parent has not asked for its status.
    Zombie,
}

/// The structure at the bottom of a task's page.
#[repr(C)]
pub(crate) struct Task {
    pub(crate) state: Cell<State>,
    /// Its number: which TSS, which LDT, which part of the linear address space.
    pub(crate) number: usize,
    pub(crate) pid: u32,
    parent: Cell<u32>,
    pub(crate) status: Cell<i32>,
    /// The limit of its segments, in pages.
    pages: Cell<u32>,
    ldt: Cell<[Descriptor; 3]>,
    tss: Tss,
}

/// Bytes from one task's part of the linear address space to the next one's.
pub(crate) const SPACE: u32 = 64 << 20;
/// The pages of 640 KiB: the limit of tasks 0 and 1, and of all until they exec.
const LOW_PAGES: u32 = 160;
/// No task has this pid.
const NOBODY: u32 = !0;

// SAFETY: these are used by kernel code with interrupts closed.
static TABLE: OneCpu<[Cell<Option<&'static Task>>; TASKS]> =
    unsafe { OneCpu::new([const { Cell::new(None) }; TASKS]) };
// SAFETY: as above.
static CURRENT: OneCpu<Cell<usize>> = unsafe { OneCpu::new(Cell::new(0)) };
// SAFETY: as above.
static LAST_PID: OneCpu<Cell<u32>> = unsafe { OneCpu::new(Cell::new(0)) };

/// Task 0's page is part of the kernel; all others are taken from free memory.
#[repr(C, align(4096))]
struct Page(Cell<[u8; PAGE as usize]>);

// SAFETY: used as task 0's page, and for nothing else.
static TASK_0: OneCpu<Page> = unsafe { OneCpu::new(Page(Cell::new([0; PAGE as usize]))) };

/// Where task 0's page is.
pub(crate) fn page_of_task_0() -> u32 {
    TASK_0.0.as_ptr() as u32
}

/// Makes the kernel on its initial stack task 0.
pub(crate) fn start() {
    Task::place(page_of_task_0(), 0, 0, NOBODY, LOW_PAGES);
    segments::become_task_0();
}

impl Task {
    /// Writes a structure to the bottom of a page, and enters it everywhere.
    fn place(page: u32, number: usize, pid: u32, parent: u32, pages: u32) -> &'static Self {
        let base = number as u32 * SPACE;
        let task = Self {
            state: Cell::new(State::Ready),
            number,
            pid,
            parent: Cell::new(parent),
            status: Cell::new(0),
            pages: Cell::new(pages),
            ldt: Cell::new(make_ldt(base, pages)),
            tss: Tss::new(KERNEL_DATA),
        };
        let record = page as *mut Self;
        // SAFETY: a page that nobody else uses; it stays until `remove`.
        let task = unsafe {
            record.write(task);
            &*record
        };
        task.tss.set_esp0(page + PAGE);
        task.set_registers(Registers::ZERO);
        segments::add(number, &task.tss, &task.ldt);
        TABLE[number].set(Some(task));
        task
    }

    /// Adds a child, on a page of its own, that goes on with these registers.
    pub(crate) fn add_child(
        &self,
        page: u32,
        number: usize,
        registers: Registers,
    ) -> &'static Self {
        LAST_PID.set(LAST_PID.get() + 1);
        let child = Self::place(page, number, LAST_PID.get(), self.pid, self.pages.get());
        child.set_registers(registers);
        child
    }

    /// Chooses what the first switch to it loads. CR3 and the LDT follow from its number.
    fn set_registers(&self, registers: Registers) {
        let (cr3, ldt) = (directory(), segments::ldt(self.number).0.into());
        self.tss.set_registers(Registers { cr3, ldt, ..registers });
    }

    /// The task that runs.
    pub(crate) fn current() -> &'static Self {
        Self::get(CURRENT.get()).expect("what runs is a task")
    }

    /// The task with that number.
    pub(crate) fn get(number: usize) -> Option<&'static Self> {
        TABLE[number].get()
    }

    /// All but task 0.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        TABLE[1..].iter().filter_map(Cell::get)
    }

    /// Its children, those that have ended too.
    pub(crate) fn children(&self) -> impl Iterator<Item = &'static Self> {
        Self::all().filter(|child| child.parent.get() == self.pid)
    }

    /// Its first linear address.
    pub(crate) fn base(&self) -> u32 {
        self.number as u32 * SPACE
    }

    /// How many bytes its segments reach.
    pub(crate) fn size(&self) -> u32 {
        self.pages.get() * PAGE
    }

    /// Lets its segments span all of its part, for a program.
    pub(crate) fn widen(&self) {
        self.pages.set(SPACE / PAGE);
        self.ldt.set(make_ldt(self.base(), self.pages.get()));
    }

    /// From now on it is this one that runs: the switch follows.
    pub(crate) fn set_current(&self) {
        CURRENT.set(self.number);
    }

    /// It has ended, and its parent is to hear how.
    pub(crate) fn become_zombie(&self, status: i32) {
        self.status.set(status);
        self.state.set(State::Zombie);
    }

    /// Its parent has ended before it.
    pub(crate) fn go_over_to_init(&self) {
        self.parent.set(1);
    }

    /// Takes it out everywhere; its page becomes free.
    pub(crate) fn remove(&'static self) {
        TABLE[self.number].set(None);
        segments::remove(self.number);
        memory::free_page(core::ptr::from_ref(self) as u32);
    }
}

const _: () = assert!(size_of::<Task>() <= 256);
