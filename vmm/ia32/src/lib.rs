//! What the IA-32 manuals say about entering a kernel and leaving it: as plain data, and as an
//! executable model.
//!
//! The model answers one question: given a state, memory and an event, what must the processor do?
//! [`take`] delivers an event, or executes an IRET or a far transfer to another task, and follows
//! each fault that arises, down to shutdown. [`attempt`] stops at the first fault. Both are pure and
//! total: nothing panics, nothing is allocated, memory is only read.
//!
//! ```
//! use ia32::{Interruption, Processor, State, take};
//! # let state = State { cr0: 1, ..State::default() };
//! # let memory = [0u8; 16];
//! let outcome = take(&state, &memory, Interruption::external(0x20), &Processor::INTEL);
//! // outcome.end         how it ended
//! // outcome.state       the registers afterwards, outcome.undefined the bits that are open
//! // outcome.writes      what memory receives, each write with its owner
//! // outcome.path()      the decisions taken, for coverage
//! # assert!(!outcome.is_completed());
//! ```
//!
//! What the manuals leave undefined is a mask in the result, and where they do not decide the
//! outcome at all, [`Outcome::unspecified`] says why. What is not modelled is reported as
//! [`AttemptEnd::Unmodelled`]: real mode, PAE, shadow stacks, the virtual-mode extensions, and far
//! transfers that stay within a task. No TLB is modelled: translations are those that the tables in
//! memory give. No instruction is fetched, so a page fault on a handler's first byte is the next
//! event, not part of this one.
//!
//! The crate knows nothing of KVM, of a guest, or of how a state was obtained. Everything in it can
//! be held beside the manuals: the *Intel 64 and IA-32 Architectures Software Developer's Manual*
//! (SDM) and the *AMD64 Architecture Programmer's Manual* (APM). Each item names its section.
//!
//! It covers 32-bit protected mode. The kernels under test never use it: what is checked and what
//! checks it share no code.
#![no_std]
#![forbid(unsafe_code)]

mod access;
mod branch;
mod deliver;
mod descriptor;
mod difference;
mod eflags;
mod escalate;
mod event;
mod execution;
mod explain;
mod far;
mod frame;
mod gate;
mod inner_stack;
mod iret;
mod memory;
mod outcome;
pub mod paging;
mod processor;
mod saved;
mod selector;
mod stack;
mod state;
mod task_load;
mod task_switch;
mod tss;
mod vector;
mod virtual_8086;
mod writes;

pub use branch::{Branch, BranchTaken, Path, STEPS, Trace};
pub use descriptor::{Descriptor, DescriptorKind};
pub use difference::Difference;
pub use eflags::Eflags;
pub use escalate::{Escalation, attempt, deliver, escalate, iret, take, take_into};
pub use event::{
    FarTransfer, Interruption, InterruptionKind, Iret, OperandSize, Operation, Severity,
    SoftwareInterrupt,
};
pub use explain::{Explanation, explain};
pub use frame::{FrameShape, Word};
pub use gate::{Gate, GateKind, InvalidGate};
pub use memory::{Linear, ReadMemory, WriteMemory};
pub use outcome::{
    Attempt, AttemptEnd, Attempts, MAX_ATTEMPTS, Outcome, RaisedFault, Undefined, Unmodelled,
    Unspecified,
};
pub use processor::{Processor, Vendor};
pub use selector::{Selector, Table};
pub use state::{General, Segment, SegmentRegister, State, TableRegister};
pub use tss::{StackSlot, TssLayout, TssWidth};
pub use vector::{Class, Vector};
pub use writes::{CAPACITY, ExpectedByte, Owner, Write, Writes};
