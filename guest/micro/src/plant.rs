//! The bugs, by name: `plant=NAME` on the command line makes one thing wrong.
//!
//! A claim that cannot be refuted proves nothing, so for the claims about kernels there is a bug
//! here that makes it false. Each is one `if` where it belongs: look for
//! `Plant::Name.is_planted()`. None of them says a word: to find it is the observer's business.

use arch::OneCpu;
use core::cell::Cell;

macro_rules! plants {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// What can be wrong with this kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Plant { $($(#[$meta])* $variant,)* }

        impl Plant {
            /// The plant of that name.
            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

plants! {
    /// K1: the switch to task 2 leaves ESP0 at another task's stack.
    SharedStack = "shared_stack",
    /// K2: a thread gets a copy of the address space, not a share in it.
    ThreadCopies = "thread_copies",
    /// K3: the record at the start of task 2's block is somebody else's.
    WrongRecord = "wrong_record",
    /// K5: nothing is ever pre-empted inside a system call.
    NoPreemption = "no_preemption",
    /// K6: a task that sends writes to the suspended stack of the one that receives.
    SuspendedStackWritten = "suspended_stack_written",
    /// K7: each timer interrupt copies the frame to the task's record, switch or not.
    ContextAlwaysSaved = "context_always_saved",
    /// K9: interrupts are never open in the kernel while it handles a fault.
    NoNesting = "no_nesting",
    /// K10: the page below a kernel stack is mapped.
    NoGuard = "no_guard",
    /// K11: a user stack has all its pages from the start.
    StacksDoNotGrow = "stacks_do_not_grow",
    /// K12: a page of the kernel is open to ring 3.
    KernelPageOpen = "kernel_page_open",
    /// K13: the address that `write` gets is used before it has been looked at.
    PointerTrusted = "pointer_trusted",
    /// K14: `write` reads its first byte by itself instead of by the copy routine.
    DirectAccess = "direct_access",
    /// K15: a new task gets the kernel stack of a zombie that nobody has reaped.
    ZombieStackReused = "zombie_stack_reused",
    /// H9: the EFLAGS that a program had are lost in a system call.
    FlagsLost = "flags_lost",
    /// H10: the timer drops what a string instruction had left to do.
    StringCutShort = "string_cut_short",
}

// SAFETY: set once, before the first task runs.
static PLANTED: OneCpu<Cell<Option<Plant>>> = unsafe { OneCpu::new(Cell::new(None)) };

/// Takes what the command line asks for.
///
/// # Panics
/// If there is no plant of that name.
pub(crate) fn choose(name: Option<&str>) {
    let Some(name) = name else { return };
    match Plant::named(name) {
        Some(plant) => PLANTED.set(Some(plant)),
        None => panic!("there is no plant={name}"),
    }
}

impl Plant {
    /// Whether it is the one thing that is wrong, and has not gone wrong before.
    pub(crate) fn is_planted_once(self) -> bool {
        self.is_planted() && PLANTED.take().is_some()
    }

    /// Whether it is the one thing that is wrong.
    pub(crate) fn is_planted(self) -> bool {
        PLANTED.get() == Some(self)
    }
}
