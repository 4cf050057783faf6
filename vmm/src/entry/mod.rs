//! An entry into ring 0, and a return from it, as values.
//!
//! A stop at a probe is turned into an [`Entry`]: what is known of the state before, the state
//! after, the gate, the stack that the TSS names, and the words on the stack. Nothing is judged
//! here; what cannot be known stays unknown.

mod capture;
mod crossing;
mod event;
mod exact;
mod expected;
mod fault;
mod frame;
mod switch;
mod sysenter;
mod task_gate;
mod vector;
mod walk;

pub(crate) use capture::event_arrived;
pub use capture::{Scene, capture_entry, capture_return};
pub use crossing::{CallFrame, Crossing, CrossingWay};
pub(crate) use crossing::{CallScene, capture_call, capture_far_return, far_call};
pub use event::{CodeBytes, Kind};
pub use exact::{Account, Exact, KnownBytes, Touch};
pub use expected::Expected;
pub use fault::{Fault, Named, capture_fault};
pub(crate) use fault::{Ram, named};
pub use frame::Frame;
pub(crate) use switch::{PendingSwitch, capture_switch, returns_to_a_task};
pub use switch::{SwitchCause, TaskSwitch, TssWords};
pub use sysenter::{Sysenter, SysenterRegisters};
pub(crate) use task_gate::{capture_task_gate, capture_task_return};
pub use walk::{Denied, Level, Reach, Walk};

use crate::instruction::decode_32;
use crate::instruction::raises::can_raise;
use ia32::{Gate, State, Vector};

/// The stack that the current TSS names for ring 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerStack {
    /// SS0.
    pub ss: u16,
    /// ESP0, or SP0 of a 16-bit TSS.
    pub esp: u32,
}

/// Where an event came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Privilege level that was interrupted.
    pub ring: u8,
    /// Virtual-8086 mode was interrupted.
    pub virtual_8086: bool,
    /// How that is known.
    pub source: OriginSource,
}

/// How the interrupted privilege level is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginSource {
    /// The state before the event was seen.
    Before,
    /// The return before the event went there.
    Return,
    /// Only the pushed words themselves say so.
    Frame,
}

/// One entry into ring 0 through a gate.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Counts entries from 1.
    pub sequence: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// The vector.
    pub vector: Vector,
    /// What raised the event.
    pub kind: Kind,
    /// What was interrupted.
    pub origin: Origin,
    /// The state just before the event, where it was seen: for external events, and for all while
    /// the deterministic clock steps.
    pub before: Option<Box<State>>,
    /// The state in front of the handler's first instruction.
    pub after: State,
    /// The gate.
    pub gate: Gate,
    /// SS0:ESP0; none if TR holds no TSS that can be read.
    pub inner_stack: Option<InnerStack>,
    /// What lies on the stack.
    pub frame: Frame,
    /// The guest's code around the pushed EIP.
    pub code: CodeBytes,
    /// It was raised within a task switch by hardware: which of the registers are the new task's already depends on what
    /// failed.
    pub within_switch: bool,
    /// What the model says that must come of it, where the state before was seen: in all modes but the exact
    /// one.
    pub expected: Option<Box<Expected>>,
    /// The whole of what went into the event and came out of it, where that was seen: in exact mode.
    pub exact: Option<Box<Exact>>,
    /// Linear address of the pushed SS:ESP, where SS selects from the LDT and so does not tell by
    /// itself where that is.
    pub ldt_stack: Option<u32>,
}

impl Entry {
    /// The stack changed, or should have: the event came from an outer ring.
    pub fn from_outer_ring(&self) -> bool {
        self.origin.ring > self.after.cpl()
    }

    /// Linear address of the instruction that was interrupted; for INT n, INT3 and INTO of those themselves. None if the
    /// code segment is not known.
    pub fn interrupted_instruction(&self) -> Option<u32> {
        let back = match self.kind {
            Kind::Software if self.code.is_behind_int(self.vector) => 2,
            Kind::Software | Kind::Trap if self.code.is_behind_one_byte_trap(self.vector) => 1,
            _ => 0,
        };
        self.code.linear.map(|linear| linear.wrapping_sub(back))
    }

    /// The pushed EIP is right behind the instruction that asked for the event. Behind a single step is whatever comes next,
    /// a jump's target among others.
    pub fn is_behind_its_instruction(&self) -> bool {
        match self.kind {
            Kind::Software => true,
            Kind::Trap => {
                self.vector != Vector::DB || self.code.is_behind_one_byte_trap(self.vector)
            }
            _ => false,
        }
    }

    /// Something is seen that can have raised it: it was injected, an INT n stands before EIP, or an instruction at EIP
    /// that can raise the fault.
    pub fn is_explained(&self) -> bool {
        match self.kind {
            Kind::Unexplained => false,
            Kind::Fault => {
                let (code, eip) = (self.code.instruction(), self.code.linear);
                code.is_empty()
                    || eip.is_none_or(|eip| can_raise(&decode_32(code, eip), self.vector))
            }
            _ => true,
        }
    }
}

/// An IRET that is about to be executed.
#[derive(Clone, Debug)]
pub struct Return {
    /// The number of the last entry before it.
    pub after_sequence: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// The state in front of the IRET.
    pub state: State,
    /// The words that it is going to pop.
    pub frame: Frame,
}

/// An IRET that has been executed, seen as a whole: in exact mode.
#[derive(Clone, Debug)]
pub struct Returned {
    /// The number of the last entry before it.
    pub after_sequence: u64,
    /// Instructions on the deterministic clock.
    pub time: u64,
    /// The whole of what went into it.
    pub exact: Exact,
    /// The state after it.
    pub after: State,
}

impl Return {
    /// The privilege level that the return goes to.
    pub fn ring(&self) -> u8 {
        if self.frame.shape.from_virtual_8086 {
            3
        } else {
            (self.frame.get(ia32::Word::Cs).unwrap_or(0) & 3) as u8
        }
    }
}
