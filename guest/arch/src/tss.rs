//! The task state segment of 32 bits (Intel SDM vol. 3A, 7.2.1).
//!
//! A kernel that switches tasks in software uses three things of it: SS0 and ESP0, the stack on
//! which ring 3 enters ring 0, and the map of the I/O ports that ring 3 may use. The processor only
//! ever reads those. A switch by hardware, also one through a task gate, stores the old task's
//! registers in [`Registers`] and loads them from the new one's.

use crate::segment::{Descriptor, Selector};
use core::cell::Cell;
use core::mem::{offset_of, size_of};

/// A task state segment, word by word.
#[repr(C)]
#[derive(Debug)]
pub struct Tss {
    backlink: Cell<u32>,
    esp0: Cell<u32>,
    ss0: Cell<u32>,
    /// ESP1, SS1, ESP2, SS2.
    middle_rings: [u32; 4],
    registers: Cell<Registers>,
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
            backlink: Cell::new(0),
            esp0: Cell::new(0),
            ss0: Cell::new(ss0.0 as u32),
            middle_rings: [0; 4],
            registers: Cell::new(Registers::ZERO),
            trap: 0,
            io_map: Cell::new(u16::MAX),
        }
    }

    /// What selects it in the GDT. It is a static, since the processor reads it from now on.
    pub fn descriptor(&'static self) -> Descriptor {
        Descriptor::tss(core::ptr::from_ref(self) as u32, size_of::<Self>() as u32 - 1)
    }

    /// Makes it what a task gate can lead to: code at `eip` in ring 0, on a stack that ends at `esp`,
    /// in the address space of `cr3`, with interrupts closed.
    pub fn start_at(&self, cr3: u32, eip: u32, esp: u32, code: Selector, data: Selector) {
        let data = u32::from(data.0);
        self.set_registers(Registers {
            cr3,
            eip,
            esp,
            eflags: 2,
            cs: code.0.into(),
            es: data,
            ss: data,
            ds: data,
            fs: data,
            gs: data,
            ..Registers::ZERO
        });
    }

    /// EIP, ESP and CR3 of the task that a switch through a task gate left.
    pub fn left(&self) -> (u32, u32, u32) {
        let registers = self.registers();
        (registers.eip, registers.esp, registers.cr3)
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

impl TssWithPorts {
    /// All ports closed, and the map not in use.
    pub const fn new(ss0: Selector) -> Self {
        Self { tss: Tss::new(ss0), map: [const { Cell::new(0xFF) }; PORTS as usize / 8], end: 0xFF }
    }

    /// What selects it in the GDT, map and all.
    pub fn descriptor(&'static self) -> Descriptor {
        Descriptor::tss(core::ptr::from_ref(self) as u32, size_of::<Self>() as u32 - 1)
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
    assert!(offset_of!(Tss, registers) == 28 && offset_of!(Registers, ldt) == 68);
    assert!(offset_of!(Tss, io_map) == 102 && offset_of!(TssWithPorts, map) == 104);
};
