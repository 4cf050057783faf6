//! Gates: what an entry of the IDT says about entering ring 0 (Intel SDM vol. 3A, 6.11).

use crate::segment::{Ring, Selector};
use core::mem::size_of;

/// What happens to IF, and how wide the pushed words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Another task, by a switch that the processor does: see [`Gate::task`].
    Task = 0x5,
    /// Five words of 16 bits; interrupts are closed. A kernel of 32 bits never wants it.
    Interrupt16 = 0x6,
    /// Interrupts are closed.
    Interrupt = 0xE,
    /// Interrupts stay as they were.
    Trap = 0xF,
}

/// A gate: eight bytes of the IDT.
/// ```text
///  63           48 47      40 39    32 31           16 15            0
/// ┌───────────────┬──────────┬────────┬───────────────┬───────────────┐
/// │ offset 31…16  │ P DPL 0  │ 0      │ selector      │ offset 15…0   │
/// │               │ type     │        │               │               │
/// └───────────────┴──────────┴────────┴───────────────┴───────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Gate(u64);

impl Gate {
    /// No gate: using the vector is #NP.
    pub const ABSENT: Self = Self(0);

    /// A gate to the code at `handler`; INT n may use it from `ring` and all rings inside it.
    pub const fn new(kind: Kind, code: Selector, handler: u32, ring: Ring) -> Self {
        let access = 0x80 | (ring as u8) << 5 | kind as u8;
        let handler = handler as u64;
        Self(
            handler & 0xFFFF
                | (code.0 as u64) << 16
                | (access as u64) << 40
                | (handler >> 16) << 48,
        )
    }
}

impl Gate {
    /// A gate to the task with this TSS, for exceptions and interrupts alone.
    pub const fn task(tss: Selector) -> Self {
        Self::new(Kind::Task, tss, 0, Ring::Kernel)
    }
}

const _: () = {
    assert!(size_of::<Gate>() == 8);
    let gate = Gate::new(Kind::Interrupt, Selector(8), 0xC010_2030, Ring::User);
    assert!(gate.0 == 0xC010_EE00_0008_2030);
};
