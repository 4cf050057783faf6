//! What lies on the kernel stack while an entry is handled.
//!
//! ```text
//!              ┌──────────────┐
//!              │ SS           │ +56  pushed by the CPU,
//!              │ ESP          │ +52  but only if it came from ring 3
//!              │ EFLAGS       │ +48
//!              │ CS           │ +44
//!              │ EIP          │ +40
//!              ├──────────────┤
//!              │ error code   │ +36  pushed by the CPU for some vectors, else 0 by the stub
//!              │ vector       │ +32  pushed by the stub
//!              ├──────────────┤
//!              │ EAX          │ +28  pushed by PUSHA
//!              │ ECX          │ +24
//!              │ EDX          │ +20
//!              │ EBX          │ +16
//!              │ (ESP)        │ +12  of no use: POPA skips it
//!              │ EBP          │ +8
//!              │ ESI          │ +4
//!              │ EDI          │ +0
//! &Frame ────► └──────────────┘
//! ```

use arch::segment::{Ring, Selector};
use core::mem::{offset_of, size_of};

/// The general registers, as PUSHA leaves them.
#[repr(C)]
pub(crate) struct Registers {
    pub(crate) edi: u32,
    pub(crate) esi: u32,
    pub(crate) ebp: u32,
    pub(crate) unused: u32,
    pub(crate) ebx: u32,
    pub(crate) edx: u32,
    pub(crate) ecx: u32,
    pub(crate) eax: u32,
}

/// The words that every entry has.
#[repr(C)]
pub(crate) struct Frame {
    pub(crate) registers: Registers,
    pub(crate) vector: u32,
    pub(crate) error: u32,
    pub(crate) eip: u32,
    pub(crate) cs: u32,
    pub(crate) eflags: u32,
}

/// All words of an entry from ring 3.
#[repr(C)]
pub(crate) struct UserFrame {
    pub(crate) frame: Frame,
    pub(crate) esp: u32,
    pub(crate) ss: u32,
}

impl Frame {
    /// A frame of zeros.
    pub(crate) const ZERO: Self = Self {
        registers: Registers { edi: 0, esi: 0, ebp: 0, unused: 0, ebx: 0, edx: 0, ecx: 0, eax: 0 },
        vector: 0,
        error: 0,
        eip: 0,
        cs: 0,
        eflags: 0,
    };

    /// Which gate it came through.
    pub(crate) fn vector(&self) -> u8 {
        self.vector as u8
    }

    /// Whether ring 3 was interrupted. CS has 16 bits; the other half of the word means nothing.
    pub(crate) fn is_from_user(&self) -> bool {
        Selector(self.cs as u16).ring() == Ring::User
    }
}

/// Offsets that the assembly uses.
pub(super) const VECTOR: usize = offset_of!(Frame, vector);
pub(super) const EIP: usize = offset_of!(Frame, eip);
pub(super) const CS: usize = offset_of!(Frame, cs);

const _: () = assert!(VECTOR == 32 && EIP == 40 && CS == 44);
const _: () = assert!(size_of::<Frame>() == 52 && size_of::<UserFrame>() == 60);
