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

use crate::segments::{USER_CODE, USER_DATA};
use arch::eflags::Eflags;
use arch::segment::{Ring, Selector};
use core::mem::{offset_of, size_of};

/// The general registers, as PUSHA leaves them.
#[derive(Clone, Copy)]
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
#[derive(Clone, Copy)]
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
#[derive(Clone, Copy)]
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

    /// Whether interrupts were open in what was interrupted.
    pub(crate) fn had_interrupts_open(&self) -> bool {
        self.eflags & Eflags::IF.bits() != 0
    }

    /// All words, if ring 3 was interrupted.
    pub(crate) fn as_user(&mut self) -> Option<&mut UserFrame> {
        // SAFETY: then the processor has pushed ESP and SS above, and the frame lies at the top of
        // the task's kernel stack.
        self.is_from_user().then(|| unsafe { &mut *core::ptr::from_mut(self).cast() })
    }

    /// Which gate it came through.
    pub(crate) fn vector(&self) -> u8 {
        self.vector as u8
    }

    /// Whether it was virtual-8086 mode that was interrupted. No program here can get there, unless
    /// the processor errs: then there are four more words above, and CS is no selector.
    pub(crate) fn is_from_virtual_8086(&self) -> bool {
        self.eflags & Eflags::VM.bits() != 0
    }

    /// Whether ring 3 was interrupted. CS has 16 bits; the other half of the word means nothing.
    pub(crate) fn is_from_user(&self) -> bool {
        self.is_from_virtual_8086() || Selector(self.cs as u16).ring() == Ring::User
    }
}

impl UserFrame {
    /// The frame of a program that starts: all registers zero but these.
    pub(crate) fn start(eip: u32, esp: u32) -> Self {
        Self {
            frame: Frame {
                eip,
                cs: USER_CODE.0.into(),
                eflags: (Eflags::ONE | Eflags::IF).bits(),
                ..Frame::ZERO
            },
            esp,
            ss: USER_DATA.0.into(),
        }
    }
}

unsafe extern "C" {
    /// The way out, in [`super::entry`]: expects ESP at a [`Frame`], and is never called.
    pub(crate) safe fn leave();
}

/// Offsets that the assembly uses.
pub(crate) const VECTOR: usize = offset_of!(Frame, vector);
pub(crate) const EIP: usize = offset_of!(Frame, eip);
pub(crate) const ESP: usize = offset_of!(UserFrame, esp);

const _: () = assert!(VECTOR == 32 && EIP == 40 && ESP == 52);
const _: () = assert!(size_of::<Frame>() == 52 && size_of::<UserFrame>() == 60);
