//! What the kernel tells about tasks, and what tasks may be allowed to do.

/// [`Call::Wait`](crate::call::Call::Wait): return 0 rather than wait.
pub const WAIT_NOT: u32 = 1;

/// Priorities: a task runs only if no other with a higher one is ready.
pub const PRIORITIES: u32 = 8;

/// The priority that boot modules start with.
pub const NORMAL: u32 = 3;

/// How many tasks there can be, the idle task included.
pub const TASKS: u32 = 128;

/// The identifier of a task is its place in the table, and above these bits how often the place was
/// used before: an identifier that is out of date names nobody.
pub const PLACE_BITS: u32 = 8;

const _: () = assert!(TASKS <= 1 << PLACE_BITS);

/// The bits of a notification that the kernel sends: a child has ended.
pub const CHILD_ENDED: u32 = 1 << 31;

/// The longest message in bytes.
pub const MESSAGE: u32 = crate::layout::PAGE;

/// Rights. A boot module has them all; a child has what its parent had when it was made.
pub mod right {
    /// To open I/O ports and to attach to interrupts.
    pub const DEVICES: u32 = 1;
    /// To power the machine off.
    pub const POWER: u32 = 2;
    /// All.
    pub const ALL: u32 = DEVICES | POWER;
}

/// How a task ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Report {
    /// Its identifier.
    pub task: u32,
    /// [`EXITED`], [`FAULTED`] or [`KILLED`].
    pub how: u32,
    /// What it passed to `exit`.
    pub status: i32,
    /// The exception that it caused.
    pub vector: u32,
    /// The exception's error code.
    pub error: u32,
    /// The address of the instruction that caused it.
    pub eip: u32,
    /// For a page fault: the address that could not be used.
    pub address: u32,
}

/// [`Report::how`]: by `exit`.
pub const EXITED: u32 = 0;
/// [`Report::how`]: by doing what the processor does not allow.
pub const FAULTED: u32 = 1;
/// [`Report::how`]: by `kill`.
pub const KILLED: u32 = 2;

/// What `ps` shows of a task.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Info {
    /// Its identifier.
    pub task: u32,
    /// Its parent's.
    pub parent: u32,
    /// What it does, as a letter: `R`eady, `S`leeping, `W`aiting for a child, `C`alling or sending,
    /// receiving `M`essages, `Z`ombie.
    pub state: u32,
    /// Its priority.
    pub priority: u32,
    /// The address just above its kernel stack.
    pub kernel_stack_top: u32,
    /// How many bytes of its kernel stack have ever been used: the high-water mark.
    pub kernel_stack_used: u32,
    /// How many pages of its user stack are there.
    pub user_stack_pages: u32,
    /// How many pages its program has, the stack included.
    pub pages: u32,
    /// How many timer ticks found it running.
    pub ticks: u32,
    /// Its name, ended by zeros.
    pub name: [u8; 16],
}

/// What the kernel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Tasks in the table, zombies included, the idle task not.
    pub tasks: u32,
    /// Page frames in use: programs, page tables, task blocks.
    pub frames: u32,
    /// Page frames that could still be had.
    pub frames_free: u32,
    /// Switches from task to task.
    pub switches: u32,
    /// Switches away from a task that was in the kernel with interrupts open.
    pub kernel_preemptions: u32,
    /// Page faults that were resolved: stacks that grew, and pages that were copied on write.
    pub faults_resolved: u32,
}

/// A boot module.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ModuleInfo {
    /// Its length in bytes.
    pub length: u32,
    /// Its string, ended by zeros, cut off if it is too long.
    pub string: [u8; 124],
}
