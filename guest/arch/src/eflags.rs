//! The flags register (Intel SDM vol. 1, 3.4.3).

use core::arch::asm;

bitflags::bitflags! {
    /// EFLAGS. Bits that no name is given here are kept as they are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(transparent)]
    pub struct Eflags: u32 {
        /// Carry.
        const CF = 1 << 0;
        /// Always 1.
        const ONE = 1 << 1;
        /// Trap: a #DB after each instruction.
        const TF = 1 << 8;
        /// Interrupts are open.
        const IF = 1 << 9;
        /// String instructions run downwards.
        const DF = 1 << 10;
        /// Both bits of the I/O privilege level: ring 3 may use CLI, STI and all ports.
        const IOPL_3 = 3 << 12;
        /// Nested task: IRET returns to another task.
        const NT = 1 << 14;
        /// Resume: no instruction breakpoint for the next instruction.
        const RF = 1 << 16;
        /// Virtual-8086 mode.
        const VM = 1 << 17;
        /// Alignment check, if CR0.AM is set too.
        const AC = 1 << 18;
        /// Can be changed if there is a CPUID instruction.
        const ID = 1 << 21;
        const _ = !0;
    }
}

impl Eflags {
    /// The flags as they are now.
    pub fn read() -> Self {
        let bits: u32;
        // SAFETY: one word is pushed and popped again; nothing else changes.
        unsafe { asm!("pushfd", "pop {0:e}", out(reg) bits, options(preserves_flags)) };
        Self::from_bits_retain(bits)
    }
}
