//! The task state segment of 32 bits (Intel SDM vol. 3A, 7.2.1).
//!
//! A kernel that switches tasks in software uses three things of it: SS0 and ESP0, the stack on
//! which ring 3 enters ring 0, and the place where the I/O permission bitmap is not. The processor
//! only ever reads those.

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
    /// ESP1, SS1, ESP2, SS2, CR3, EIP, EFLAGS, EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, ES, CS,
    /// SS, DS, FS, GS, LDT: written and read by hardware task switches alone.
    hardware_switch: [u32; 22],
    /// Bit 0: #DB when this task is switched to.
    trap: u16,
    /// Where the I/O permission bitmap starts. Beyond the limit: there is none, and no port is open.
    io_map: u16,
}

impl Tss {
    /// A TSS that names no kernel stack yet.
    pub const fn new(ss0: Selector) -> Self {
        Self {
            backlink: 0,
            esp0: Cell::new(0),
            ss0: Cell::new(ss0.0 as u32),
            hardware_switch: [0; 22],
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

    /// Chooses the segment of that stack.
    pub fn set_ss0(&self, segment: Selector) {
        self.ss0.set(segment.0.into());
    }
}

const _: () = {
    assert!(size_of::<Tss>() == 104);
    assert!(offset_of!(Tss, esp0) == 4 && offset_of!(Tss, ss0) == 8);
    assert!(offset_of!(Tss, io_map) == 102);
};
