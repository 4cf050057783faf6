//! x87 and SSE registers as FXSAVE writes them (Intel SDM vol. 1, 10.5.1).

use core::arch::asm;
use core::cell::Cell;

/// 512 bytes, on a boundary of 16.
#[repr(C, align(16))]
pub struct Registers {
    /// FCW in the low half: all exceptions masked, 64 bits of precision.
    fcw_fsw: Cell<u32>,
    tags_and_pointers: [Cell<u32>; 5],
    mxcsr: Cell<u32>,
    rest: [Cell<u32>; 121],
}

const _: () = assert!(size_of::<Registers>() == 512);

impl Registers {
    /// What FNINIT and a reset of MXCSR leave: all registers empty or zero.
    pub const fn start() -> Self {
        Self {
            fcw_fsw: Cell::new(0x037F),
            tags_and_pointers: [const { Cell::new(0) }; 5],
            mxcsr: Cell::new(0x1F80),
            rest: [const { Cell::new(0) }; 121],
        }
    }

    /// Stores the processor's registers here; they keep what they hold. CR0.TS has to be clear.
    pub fn save(&self) {
        // SAFETY: 512 bytes of our own, in cells, on a boundary of 16.
        unsafe { asm!("fxsave [{}]", in(reg) core::ptr::from_ref(self), options(nostack)) };
    }

    /// Loads the processor's registers from here. CR0.TS has to be clear.
    pub fn load(&self) {
        // SAFETY: as above; what is here was written by FXSAVE or is `start`, so no reserved bit of
        // MXCSR is set. The kernel keeps nothing in those registers.
        unsafe { asm!("fxrstor [{}]", in(reg) core::ptr::from_ref(self), options(nostack)) };
    }

    /// Takes over what the other holds.
    pub fn copy_from(&self, other: &Self) {
        self.fcw_fsw.set(other.fcw_fsw.get());
        self.mxcsr.set(other.mxcsr.get());
        let words = |registers: &Self| registers.tags_and_pointers.each_ref().map(Cell::get);
        self.tags_and_pointers.iter().zip(words(other)).for_each(|(to, from)| to.set(from));
        self.rest.iter().zip(&other.rest).for_each(|(to, from)| to.set(from.get()));
    }
}
