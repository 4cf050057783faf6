//! What is saved of the code that an event or a change of task leaves, and what made it leave its
//! task. Delivery, IRET, far transfers and the task switch all hand these on.

use crate::access::Word32;
use crate::execution::Execution;
use crate::{Eflags, ReadMemory};

/// What is saved of the interrupted code, in a frame or in the old TSS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved {
    pub(crate) eip: Word32,
    pub(crate) eflags: Word32,
    /// Bits of CS that are not defined.
    pub(crate) cs_undefined: u32,
}

/// What switches the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Jump,
    Call,
    /// An interrupt or exception, through a task gate.
    Interruption,
    /// IRET with NT set.
    Return,
}

impl Cause {
    /// The new task gets a link back to the old one.
    pub(crate) const fn nests(self) -> bool {
        matches!(self, Cause::Call | Cause::Interruption)
    }
}

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    /// EIP and EFLAGS as an instruction that changes the task saves them. Whether an RF that was set
    /// is still set by then is not said.
    pub(crate) fn saved_by_instruction(&self, length: u8) -> Saved {
        let eflags = self.state.eflags;
        Saved {
            eip: self.next_eip(length),
            eflags: Word32 {
                value: eflags.without(Eflags::RF).0,
                undefined: self.undefined.eflags.0 | (eflags & Eflags::RF).0,
            },
            cs_undefined: 0,
        }
    }

    /// EIP behind an instruction. In 16-bit code it counts up to FFFFH, and what follows is not said.
    pub(crate) fn next_eip(&self, length: u8) -> Word32 {
        let next = self.state.eip.wrapping_add(u32::from(length));
        let undefined = if self.state.cs().big() || next <= 0xffff { 0 } else { 0xffff_0000 };
        Word32 { value: next, undefined }
    }
}
