//! An operation on its way: the state it began with, what it has written so far, and how it can
//! stop.
//!
//! The files beside this one are its chapters, each readable beside the manual's pseudo-code:
//!
//! | file | what it computes |
//! | --- | --- |
//! | `access.rs` | memory through paging, descriptors, segment limits |
//! | `stack.rs` | pushes and pops, and whether there is room for them |
//! | `deliver.rs` | an event through an interrupt or trap gate |
//! | `inner_stack.rs` | SSn:ESPn out of the TSS |
//! | `virtual_8086.rs` | IRET within virtual-8086 mode and back to it |
//! | `iret.rs` | IRET in protected mode |
//! | `task_switch.rs`, `task_load.rs` | leaving one task, loading another |
//! | `far.rs` | far JMP and CALL to a task |
//! | `escalate.rs` | what follows a fault |
//!
//! Every check ends in `Err` when it fails, so that what stands below a check may rely on it. The
//! state is changed only where nothing can fail any more; only a task switch changes it earlier, at
//! its point of no return.

use crate::outcome::{Attempts, RaisedFault, Undefined, Unmodelled, Unspecified};
use crate::{Branch, Eflags, Operation, Processor, ReadMemory, Segment, SegmentRegister, State};
use crate::{Trace, Vector, Writes};

/// Why an operation does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Fault(RaisedFault),
    Unmodelled(Unmodelled),
}

pub(crate) type Result<T> = core::result::Result<T, Stop>;

pub(crate) struct Execution<'m, M: ?Sized> {
    pub(crate) memory: &'m M,
    pub(crate) processor: &'m Processor,
    pub(crate) state: State,
    pub(crate) writes: &'m mut Writes,
    pub(crate) undefined: Undefined,
    pub(crate) unspecified: Option<Unspecified>,
    pub(crate) debug_trap: bool,
    pub(crate) trace: &'m mut Trace,
    pub(crate) attempts: Attempts,
    /// EXT of the error codes.
    pub(crate) ext: u32,
    /// Writes below this index survive a fault.
    pub(crate) committed: usize,
    /// The state is that of a task whose segments are not all loaded.
    pub(crate) broken: bool,
}

impl<'m, M: ReadMemory + ?Sized> Execution<'m, M> {
    /// `writes` and `trace` are emptied; they are the caller's, for they are large.
    pub(crate) fn new(
        state: &State,
        memory: &'m M,
        processor: &'m Processor,
        writes: &'m mut Writes,
        trace: &'m mut Trace,
    ) -> Self {
        writes.clear();
        trace.clear();
        Execution {
            memory,
            processor,
            state: *state,
            writes,
            undefined: Undefined::default(),
            unspecified: None,
            debug_trap: false,
            trace,
            attempts: Attempts::default(),
            ext: 0,
            committed: 0,
            broken: false,
        }
    }

    /// Does one operation in the current state.
    pub(crate) fn run(&mut self, operation: &Operation) -> Result<()> {
        self.committed = self.writes.len();
        self.ext = 0;
        self.supported()?;
        match operation {
            Operation::Interruption(event) => self.deliver(event),
            Operation::Iret(iret) => self.iret(iret),
            Operation::Far(far) => self.far_transfer(far),
        }?;
        if self.writes.overflowed() {
            return Err(Stop::Unmodelled(Unmodelled::TooManyWrites));
        }
        Ok(())
    }

    fn supported(&self) -> Result<()> {
        const PAE: u32 = 1 << 5;
        const CET: u32 = 1 << 23;
        let unmodelled = if !self.state.protected() {
            Unmodelled::RealMode
        } else if self.state.paging() && self.state.cr4 & PAE != 0 {
            Unmodelled::PhysicalAddressExtension
        } else if self.state.cr4 & CET != 0 {
            Unmodelled::ControlFlowEnforcement
        } else {
            return Ok(());
        };
        Err(Stop::Unmodelled(unmodelled))
    }

    pub(crate) fn note(&mut self, branch: Branch, value: u32) {
        self.trace.note(branch, value);
    }

    /// The check `branch` has failed.
    pub(crate) fn fail<T>(
        &mut self,
        vector: Vector,
        error_code: u32,
        branch: Branch,
        value: u32,
    ) -> Result<T> {
        self.note(branch, value);
        Err(Stop::Fault(RaisedFault { vector, error_code, address: None, branch }))
    }

    /// error_code(selector, 0, EXT) of SDM vol. 2A, INT n, Operation.
    pub(crate) fn selector_code(&self, selector: u16) -> u32 {
        u32::from(selector & 0xfffc) | self.ext
    }

    /// error_code(vector, 1, EXT) of the same.
    pub(crate) fn vector_code(&self, vector: Vector) -> u32 {
        u32::from(vector.0) << 3 | 2 | self.ext
    }

    /// The manuals leave open what happens.
    pub(crate) fn leave_open(&mut self, reason: Unspecified) {
        self.unspecified.get_or_insert(reason);
    }

    /// Loads a segment register.
    pub(crate) fn set_segment(&mut self, register: SegmentRegister, segment: Segment) {
        let index = register as usize;
        self.state.segments[index] = segment;
        self.undefined.selectors &= !(1 << index);
        self.undefined.hidden &= !(1 << index);
        if !segment.present() {
            self.undefined.hidden |= 1 << index;
        }
    }

    /// Loads ESP as far as the size of the stack in SS says. What is in the upper half with a 16-bit
    /// stack segment is not defined: SDM vol. 2A gives ESP as a whole, processors keep the old half.
    pub(crate) fn load_stack_pointer(&mut self, pointer: u32) {
        if self.state.ss().big() {
            self.state.general.esp = pointer;
            self.undefined.general.esp = 0;
        } else {
            let kept = self.state.general.esp & 0xffff_0000;
            self.state.general.esp = kept | (pointer & 0xffff);
            self.undefined.general.esp = 0xffff_0000;
        }
    }

    /// Moves the stack pointer within the same stack: with a 16-bit stack only SP changes.
    pub(crate) fn move_stack_pointer(&mut self, pointer: u32) {
        let esp = self.state.general.esp;
        self.state.general.esp =
            if self.state.ss().big() { pointer } else { (esp & 0xffff_0000) | (pointer & 0xffff) };
    }

    /// Loads EFLAGS as a whole: bit 1 is always set, reserved bits never.
    pub(crate) fn set_eflags(&mut self, flags: Eflags) {
        self.state.eflags = flags.without(Eflags::RESERVED_ZERO) | Eflags::FIXED;
    }
}
