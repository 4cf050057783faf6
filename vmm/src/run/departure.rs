//! The state before an event.
//!
//! Where the vCPU is let go from a known boundary for one instruction or one interrupt, what it stops at
//! next came from there. That boundary is kept here, and nowhere else, until the next exit.

use ia32::{State, Vector};

/// The boundary that the vCPU was let go from.
#[derive(Clone, Debug)]
pub(super) struct Departure {
    /// The state there.
    pub(super) before: Box<State>,
    /// What was to happen.
    pub(super) cause: Cause,
    /// Memory, too, is known as it was there, and nothing else may come before the probe: in exact mode.
    pub(super) watched: bool,
}

/// What was to happen at a boundary.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// An interrupt that was injected.
    Interrupt(Vector),
    /// The instruction there. Its bytes are kept in exact mode.
    Instruction(Vec<u8>),
    /// The guest steps itself: the #DB after the instruction.
    OwnStep,
}

impl Departure {
    /// An interrupt was injected in `before`.
    pub(super) fn by_interrupt(vector: Vector, before: State) -> Self {
        Departure { before: Box::new(before), cause: Cause::Interrupt(vector), watched: false }
    }

    /// The instruction at `before` is to happen.
    pub(super) fn by_instruction(before: State) -> Self {
        Departure {
            before: Box::new(before),
            cause: Cause::Instruction(Vec::new()),
            watched: false,
        }
    }

    /// An interrupt was injected, and the vCPU has not run since.
    pub(super) fn is_interrupt(&self) -> bool {
        self.interrupt().is_some()
    }

    /// The interrupt that was injected.
    pub(super) fn interrupt(&self) -> Option<Vector> {
        match self.cause {
            Cause::Interrupt(vector) => Some(vector),
            Cause::Instruction(_) | Cause::OwnStep => None,
        }
    }

    /// The instruction that was to happen has switched tasks, if the vCPU is in `now`: TR names another TSS. What came of
    /// it is no event of the state before.
    pub(super) fn has_another_task(&self, now: &State) -> bool {
        matches!(self.cause, Cause::Instruction(_)) && self.before.tr.selector != now.tr.selector
    }

    /// The instruction that was to happen has not, if the vCPU is in `now`.
    pub(super) fn stands_still(&self, now: &State) -> bool {
        let before = &self.before;
        before.eip == now.eip && before.cpl() == now.cpl() && before.general == now.general
    }
}
