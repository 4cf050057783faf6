//! What lies on the kernel stack while an entry is handled.
//!
//! ```text
//!              ┌──────────────────┐
//!              │ SS, ESP          │ +60  pushed by the CPU, if it came from ring 3
//!              │ EFLAGS, CS, EIP  │ +48  pushed by the CPU
//!              │ error, vector    │ +40
//!              │ general registers│ +12  pushed by PUSHA
//!              │ DS, ES, FS       │ +0
//! &Frame ────► └──────────────────┘
//! ```

use arch::segment::{Ring, Selector};

/// All words of an entry.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[rustfmt::skip]
pub(crate) struct Frame {
    pub(crate) fs: u32, pub(crate) es: u32, pub(crate) ds: u32,
    pub(crate) edi: u32, pub(crate) esi: u32, pub(crate) ebp: u32, pub(crate) unused: u32,
    pub(crate) ebx: u32, pub(crate) edx: u32, pub(crate) ecx: u32, pub(crate) eax: u32,
    pub(crate) vector: u32, pub(crate) error: u32,
    pub(crate) eip: u32, pub(crate) cs: u32, pub(crate) eflags: u32,
    pub(crate) esp: u32, pub(crate) ss: u32,
}

impl Frame {
    /// Whether ring 3 was interrupted. If not, there is no ESP and no SS.
    pub(crate) fn is_from_user(&self) -> bool {
        Selector(self.cs as u16).ring() == Ring::User
    }
}
