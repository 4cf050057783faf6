//! The task state segment of 32 bits (Intel SDM vol. 3A, 7.2.1).
//!
//! A kernel that switches tasks in software uses three things of it: SS0 and ESP0, the stack on
//! which ring 3 enters ring 0, and the place where the I/O permission bitmap is not. The processor
//! only ever reads those. A switch by hardware stores the old task's registers in [`Registers`] and
//! loads them from the new one's.

use crate::segment::Selector;
use core::cell::Cell;
use core::mem::{offset_of, size_of};

/// A task state segment, word by word.
#[repr(C)]
#[derive(Debug)]
pub struct Tss {
    backlink: u32,
    esp0: Cell<u32>,
    ss0: Cell<u32>,
    /// ESP1, SS1, ESP2, SS2.
    middle_rings: [u32; 4],
    registers: Cell<Registers>,
    /// Bit 0: #DB when this task is switched to.
    trap: u16,
    /// Where the I/O permission bitmap starts. Beyond the limit: there is none, and no port is open.
    io_map: u16,
}

/// What a hardware task switch stores and loads; CR3 and the LDT it only loads.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "they are what they are called")]
pub struct Registers {
    pub cr3: u32,
    pub eip: u32,
    pub eflags: u32,
    pub eax: u32,
    pub ecx: u32,
    pub edx: u32,
    pub ebx: u32,
    pub esp: u32,
    pub ebp: u32,
    pub esi: u32,
    pub edi: u32,
    pub es: u32,
    pub cs: u32,
    pub ss: u32,
    pub ds: u32,
    pub fs: u32,
    pub gs: u32,
    pub ldt: u32,
}

impl Registers {
    /// All zero.
    pub const ZERO: Self = Self {
        cr3: 0,
        eip: 0,
        eflags: 0,
        eax: 0,
        ecx: 0,
        edx: 0,
        ebx: 0,
        esp: 0,
        ebp: 0,
        esi: 0,
        edi: 0,
        es: 0,
        cs: 0,
        ss: 0,
        ds: 0,
        fs: 0,
        gs: 0,
        ldt: 0,
    };
}

impl Tss {
    /// A TSS that names no kernel stack yet.
    pub const fn new(ss0: Selector) -> Self {
        Self {
            backlink: 0,
            esp0: Cell::new(0),
            ss0: Cell::new(ss0.0 as u32),
            middle_rings: [0; 4],
            registers: Cell::new(Registers::ZERO),
            trap: 0,
            io_map: size_of::<Self>() as u16,
        }
    }

    /// The address just above the stack on which the next entry from ring 3 lands.
    pub fn esp0(&self) -> u32 {
        self.esp0.get()
    }

    /// Chooses the stack on which the next entry from ring 3 lands, by the address just above it.
    pub fn set_esp0(&self, top: u32) {
        self.esp0.set(top);
    }

    /// The registers as the last switch away from the task left them.
    pub fn registers(&self) -> Registers {
        self.registers.get()
    }

    /// Chooses the registers with which the next hardware switch to the task starts it.
    pub fn set_registers(&self, registers: Registers) {
        self.registers.set(registers);
    }

    /// Chooses the segment of that stack.
    pub fn set_ss0(&self, segment: Selector) {
        self.ss0.set(segment.0.into());
    }
}

const _: () = {
    assert!(size_of::<Tss>() == 104);
    assert!(offset_of!(Tss, esp0) == 4 && offset_of!(Tss, ss0) == 8);
    assert!(offset_of!(Tss, registers) == 28 && offset_of!(Registers, ldt) == 68);
    assert!(offset_of!(Tss, io_map) == 102);
};
