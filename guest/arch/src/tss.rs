//! The task state segment of 32 bits (Intel SDM vol. 3A, 7.2.1).
//!
//! A kernel that switches tasks in software uses three things of it: SS0 and ESP0, the stack on
//! which ring 3 enters ring 0, and the map of the I/O ports that ring 3 may use. The processor only
//! ever reads those. Everything else is for switches that the processor does, through a task gate.

use crate::segment::Selector;
use core::cell::Cell;
use core::mem::{offset_of, size_of};

/// A task state segment, word by word.
#[repr(C)]
#[derive(Debug)]
pub struct Tss {
    backlink: Cell<u32>,
    esp0: Cell<u32>,
    ss0: Cell<u32>,
    esp1_to_ss2: [u32; 4],
    cr3: Cell<u32>,
    eip: Cell<u32>,
    eflags: Cell<u32>,
    eax_to_ebx: [Cell<u32>; 4],
    esp: Cell<u32>,
    ebp_esi_edi: [Cell<u32>; 3],
    es: Cell<u32>,
    cs: Cell<u32>,
    ss: Cell<u32>,
    ds: Cell<u32>,
    fs: Cell<u32>,
    gs: Cell<u32>,
    ldt: u32,
    /// Bit 0: #DB when this task is switched to.
    trap: u16,
    /// Where the I/O permission bitmap starts. Beyond the limit: there is none, and no port is open.
    io_map: Cell<u16>,
}

/// How many I/O ports [`TssWithPorts`] tells about, from 0 on. The others are closed.
pub const PORTS: u32 = 0x400;

/// A task state segment with a map of I/O ports behind it: one bit for each, set if it is closed.
#[repr(C)]
#[derive(Debug)]
pub struct TssWithPorts {
    /// The segment proper.
    pub tss: Tss,
    map: [Cell<u8>; PORTS as usize / 8],
    /// The processor reads two bytes at a time.
    end: u8,
}

impl Tss {
    /// A TSS that names no kernel stack yet.
    pub const fn new(ss0: Selector) -> Self {
        Self {
            backlink: Cell::new(0),
            esp0: Cell::new(0),
            ss0: Cell::new(ss0.0 as u32),
            esp1_to_ss2: [0; 4],
            cr3: Cell::new(0),
            eip: Cell::new(0),
            eflags: Cell::new(0),
            eax_to_ebx: [const { Cell::new(0) }; 4],
            esp: Cell::new(0),
            ebp_esi_edi: [const { Cell::new(0) }; 3],
            es: Cell::new(0),
            cs: Cell::new(0),
            ss: Cell::new(0),
            ds: Cell::new(0),
            fs: Cell::new(0),
            gs: Cell::new(0),
            ldt: 0,
            trap: 0,
            io_map: Cell::new(u16::MAX),
        }
    }

    /// Makes it what a task gate can lead to: code at `eip` in ring 0, on a stack that ends at `esp`,
    /// in the address space of `cr3`, with interrupts closed.
    pub fn start_at(&self, cr3: u32, eip: u32, esp: u32, code: Selector, data: Selector) {
        self.cr3.set(cr3);
        self.eip.set(eip);
        self.esp.set(esp);
        self.eflags.set(2);
        self.cs.set(code.0.into());
        for register in [&self.es, &self.ss, &self.ds, &self.fs, &self.gs] {
            register.set(data.0.into());
        }
    }

    /// EIP, ESP and CR3 of the task that a switch through a task gate left.
    pub fn left(&self) -> (u32, u32, u32) {
        (self.eip.get(), self.esp.get(), self.cr3.get())
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

impl TssWithPorts {
    /// All ports closed, and the map not in use.
    pub const fn new(ss0: Selector) -> Self {
        Self { tss: Tss::new(ss0), map: [const { Cell::new(0xFF) }; PORTS as usize / 8], end: 0xFF }
    }

    /// Opens or closes one port, less than [`PORTS`].
    pub fn open_port(&self, port: u16, open: bool) {
        let (byte, bit) = (&self.map[usize::from(port / 8)], 1 << (port % 8));
        byte.set(if open { byte.get() & !bit } else { byte.get() | bit });
    }

    /// Whether the processor asks the map at all, or takes all ports for closed.
    pub fn use_map(&self, use_it: bool) {
        let offset = offset_of!(Self, map) as u16;
        self.tss.io_map.set(if use_it { offset } else { u16::MAX });
    }
}

const _: () = {
    assert!(size_of::<Tss>() == 104);
    assert!(offset_of!(Tss, esp0) == 4 && offset_of!(Tss, ss0) == 8);
    assert!(offset_of!(Tss, cr3) == 28 && offset_of!(Tss, eip) == 32 && offset_of!(Tss, esp) == 56);
    assert!(offset_of!(Tss, es) == 72 && offset_of!(Tss, ldt) == 96);
    assert!(offset_of!(Tss, io_map) == 102 && offset_of!(TssWithPorts, map) == 104);
};
