//! What comes of an event: the state and the writes, or a fault, and what the manuals leave open.

use crate::{Branch, Eflags, General, Operation, Path, State, Trace, Vector, Writes};

/// A fault that an operation raises instead of what it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaisedFault {
    /// Its vector.
    pub vector: Vector,
    /// Its error code; each fault that the model raises has one.
    pub error_code: u32,
    /// #PF: the linear address that CR2 receives.
    pub address: Option<u32>,
    /// The check that failed.
    pub branch: Branch,
}

/// What the model does not cover. It says so, and computes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmodelled {
    /// CR0.PE is 0.
    RealMode,
    /// CR4.PAE is 1 with paging on: entries of eight bytes.
    PhysicalAddressExtension,
    /// CR4.CET is 1: shadow stacks.
    ControlFlowEnforcement,
    /// CR4.VME is 1, and INT n or IRET is executed in virtual-8086 mode.
    VirtualModeExtensions,
    /// A far transfer to something that is neither a TSS nor a task gate, or from virtual-8086
    /// mode.
    FarTransferWithinTask,
    /// More writes than [`Writes`] can hold: a chain of several task switches.
    TooManyWrites,
}

/// Why the manuals do not decide what the processor does. The model's result is then one of
/// several that are allowed, and not to be held against a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unspecified {
    /// TR holds no TSS, or a null selector where its descriptor is to be changed.
    NoTaskState,
    /// The current TSS is too small to save the task in.
    OldTaskStateTooSmall,
    /// Several checks fail that the manuals do not put in an order: those of a new task's selectors,
    /// where it is model-specific (SDM vol. 3A, "Task switching", note to the table of checks), or of
    /// a return to virtual-8086 mode, where editions differ.
    CheckOrder,
    /// A fault in a new task whose segments are not all loaded was handled without a switch to yet
    /// another task (SDM vol. 3A, "Interrupt 10": the handler has to be a task).
    BrokenTask,
    /// A word of the stack runs over the end of a segment of 4 GiB (SDM vol. 3A, "Limit checking":
    /// implementation-specific).
    SegmentWrap,
    /// The stack pointer has bits that are not defined, and the stack is used.
    StackPointer,
    /// A word is read again that the event has written, and of which bits are open: EFLAGS of a task that
    /// is left and comes back.
    OpenWord,
    /// EFLAGS.AC is not defined, as in a task out of a 16-bit TSS, and decides about an access.
    AlignmentCheck,
}

/// How one attempt, or a chain of them, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The handler, the interrupted code, or the new task goes on in the outcome's state.
    Completed,
    /// One attempt only: this fault is to be delivered instead, in the outcome's state.
    Fault(RaisedFault),
    /// A chain only: the processor shuts down.
    Shutdown,
    /// A chain only: it raises faults for ever, or at least [`MAX_ATTEMPTS`](crate::MAX_ATTEMPTS)
    /// times; an unaligned ring-3 handler for #AC does this.
    Endless,
    /// The model does not cover it.
    Unmodelled(Unmodelled),
}

/// Segment registers as bits of a set: ES to GS as in [`SegmentRegister`](crate::SegmentRegister),
/// then TR and LDTR.
pub(crate) const LDTR: u8 = 7;

/// What the manuals leave open in the state after an operation: bits that are set may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undefined {
    /// Bits of general registers.
    pub general: General,
    /// Bits of EFLAGS.
    pub eflags: Eflags,
    /// Bits of CR3.
    pub cr3: u32,
    /// Registers of which only the selector is known: bits 0 to 5 as in
    /// [`SegmentRegister`](crate::SegmentRegister), 7 for LDTR. Base, limit and attributes of a
    /// register that holds null are open, as long as it cannot be used.
    pub hidden: u8,
    /// Registers of which nothing is known, selector included.
    pub selectors: u8,
}

impl Undefined {
    /// Whether the hidden part of the register with this number (7: LDTR) is open.
    pub const fn is_hidden(&self, register: u8) -> bool {
        self.hidden & (1 << register) != 0
    }
}

/// The result of [`attempt`](crate::attempt), [`take`](crate::take) and their kin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: AttemptEnd,
    /// The state afterwards. After a fault: the state in which it arises, which is the one before,
    /// unless a task switch had passed its point of no return, or an IRET has opened NMIs. With
    /// shutdown: that of the last attempt. CR2 is set as soon as a #PF is raised.
    pub state: State,
    /// What is written to memory.
    pub writes: Writes,
    /// What is open in `state`.
    pub undefined: Undefined,
    /// The manuals do not decide the outcome.
    pub unspecified: Option<Unspecified>,
    /// T is set in the TSS that was switched to: a #DB trap is due before the next instruction (SDM
    /// vol. 3B, "Task-switch exception condition").
    pub debug_trap: bool,
    /// The branches taken.
    pub trace: Trace,
    /// What was tried, first to last, and how each ended.
    pub attempts: Attempts,
}

/// The outcome of an event in the default state, which is real mode: nothing. To be filled by
/// [`take_into`](crate::take_into).
impl Default for Outcome {
    fn default() -> Self {
        Outcome {
            end: AttemptEnd::Unmodelled(Unmodelled::RealMode),
            state: State::default(),
            writes: Writes::new(),
            undefined: Undefined::default(),
            unspecified: None,
            debug_trap: false,
            trace: Trace::default(),
            attempts: Attempts::default(),
        }
    }
}

impl Outcome {
    /// The fault, if it ended in one.
    pub const fn fault(&self) -> Option<RaisedFault> {
        match self.end {
            AttemptEnd::Fault(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether it ended in code that goes on.
    pub const fn is_completed(&self) -> bool {
        matches!(self.end, AttemptEnd::Completed)
    }

    /// The branches taken, as a set.
    pub const fn path(&self) -> Path {
        self.trace.path()
    }
}

/// How many operations a chain of faults may try. Contributory, page fault, double fault: four is
/// the longest that the classes allow; #AC, which is benign, can prolong it.
pub const MAX_ATTEMPTS: usize = 8;

/// One operation of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub operation: Operation,
    /// The fault in which it ended; the last attempt has none if it was completed.
    pub fault: Option<RaisedFault>,
}

/// The operations of a chain, first to last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    list: [Option<Attempt>; MAX_ATTEMPTS],
    length: u8,
}

impl Attempts {
    pub(crate) fn push(&mut self, attempt: Attempt) {
        if let Some(free) = self.list.get_mut(usize::from(self.length)) {
            *free = Some(attempt);
            self.length += 1;
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        usize::from(self.length) == MAX_ATTEMPTS
    }

    /// How many.
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// There is none: nothing was modelled.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Each, first to last.
    pub fn iter(&self) -> impl Iterator<Item = Attempt> {
        self.list.iter().flatten().copied()
    }

    /// The last one.
    pub fn last(&self) -> Option<Attempt> {
        self.iter().last()
    }
}
