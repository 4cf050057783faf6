//! The part of a processor's state that an event reads or changes.
//!
//! Neutral types: they come from KVM, from a trace or from a generator, and say nothing of where.

use crate::{Eflags, Selector};
use core::fmt;

/// General registers, in the order of their encoding in instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct General {
    /// EAX.
    pub eax: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
    /// EBX.
    pub ebx: u32,
    /// ESP.
    pub esp: u32,
    /// EBP.
    pub ebp: u32,
    /// ESI.
    pub esi: u32,
    /// EDI.
    pub edi: u32,
}

impl General {
    /// Their names, in the order of their encoding.
    pub const NAMES: [&'static str; 8] = ["EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"];

    /// The eight registers, in the order of their encoding.
    pub const fn to_array(self) -> [u32; 8] {
        [self.eax, self.ecx, self.edx, self.ebx, self.esp, self.ebp, self.esi, self.edi]
    }

    /// From the eight registers, in the order of their encoding.
    pub const fn from_array(registers: [u32; 8]) -> Self {
        let [eax, ecx, edx, ebx, esp, ebp, esi, edi] = registers;
        General { eax, ecx, edx, ebx, esp, ebp, esi, edi }
    }
}

/// A segment register with its hidden part (SDM vol. 3A, "Segment registers").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The visible part.
    pub selector: u16,
    /// Bits 40 to 55 of the descriptor without the limit's: type (0–3), S (4), DPL (5–6), P (7),
    /// AVL (12), L (13), D/B (14), G (15). 0 in a register that holds a null selector.
    pub attributes: u16,
    /// Linear address of the first byte.
    pub base: u32,
    /// Last valid offset in bytes, granularity applied.
    pub limit: u32,
}

impl Segment {
    /// The selector as such.
    pub const fn selector(&self) -> Selector {
        Selector(self.selector)
    }

    /// D/B: in SS, ESP rather than SP is the stack pointer.
    pub const fn big(&self) -> bool {
        self.attributes & (1 << 14) != 0
    }

    /// Descriptor privilege level.
    pub const fn dpl(&self) -> u8 {
        ((self.attributes >> 5) & 3) as u8
    }

    /// The four-bit type.
    pub const fn ty(&self) -> u8 {
        (self.attributes & 0xf) as u8
    }

    /// P: the register can be used. It is 0 in a register that holds a null selector.
    pub const fn present(&self) -> bool {
        self.attributes & (1 << 7) != 0
    }

    /// S: a code or data segment.
    pub const fn is_code_or_data(&self) -> bool {
        self.attributes & (1 << 4) != 0
    }

    /// A code segment.
    pub const fn is_code(&self) -> bool {
        self.is_code_or_data() && self.ty() & 8 != 0
    }

    /// A code segment that runs at its caller's privilege level.
    pub const fn is_conforming(&self) -> bool {
        self.is_code() && self.ty() & 4 != 0
    }

    /// A data segment that grows down: valid offsets lie above the limit.
    pub const fn is_expand_down(&self) -> bool {
        self.is_code_or_data() && self.ty() & 0xc == 4
    }

    /// The register with a null selector in it: nothing can be reached through it.
    pub const fn null(selector: u16) -> Self {
        Segment { selector, attributes: 0, base: 0, limit: 0 }
    }

    /// What a register holds in virtual-8086 mode: 64 KiB from 16 times the selector on, writable,
    /// DPL 3 (SDM vol. 3B, "Address translation in virtual-8086 mode").
    pub const fn virtual_8086(selector: u16) -> Self {
        Segment { selector, attributes: 0x00f3, base: (selector as u32) << 4, limit: 0xffff }
    }
}

/// Names of the six segment registers, as an index into [`State::segments`], in the order of their
/// encoding in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentRegister {
    /// ES.
    Es,
    /// CS.
    Cs,
    /// SS.
    Ss,
    /// DS.
    Ds,
    /// FS.
    Fs,
    /// GS.
    Gs,
}

impl SegmentRegister {
    /// All six, in the order of their encoding.
    pub const ALL: [SegmentRegister; 6] = [
        SegmentRegister::Es,
        SegmentRegister::Cs,
        SegmentRegister::Ss,
        SegmentRegister::Ds,
        SegmentRegister::Fs,
        SegmentRegister::Gs,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            SegmentRegister::Es => "ES",
            SegmentRegister::Cs => "CS",
            SegmentRegister::Ss => "SS",
            SegmentRegister::Ds => "DS",
            SegmentRegister::Fs => "FS",
            SegmentRegister::Gs => "GS",
        }
    }
}

impl fmt::Display for SegmentRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRegister {
    /// Linear address of the table.
    pub base: u32,
    /// Offset of its last byte.
    pub limit: u16,
}

/// What the processor is in, at an instruction boundary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// General registers.
    pub general: General,
    /// Instruction pointer, an offset in CS.
    pub eip: u32,
    /// Flags.
    pub eflags: Eflags,
    /// ES, CS, SS, DS, FS, GS: see [`SegmentRegister`].
    pub segments: [Segment; 6],
    /// Task register.
    pub tr: Segment,
    /// Local descriptor table register.
    pub ldtr: Segment,
    /// Global descriptor table register.
    pub gdtr: TableRegister,
    /// Interrupt descriptor table register.
    pub idtr: TableRegister,
    /// CR0.
    pub cr0: u32,
    /// CR2: the linear address of the last page fault.
    pub cr2: u32,
    /// CR3.
    pub cr3: u32,
    /// CR4.
    pub cr4: u32,
    /// Maskable interrupts are held off for one boundary: by STI (bit 1) or by MOV SS, POP SS
    /// (bit 0). SDM vol. 3A, "Masking exceptions and interrupts when switching stacks".
    pub interrupt_shadow: u8,
    /// An NMI was taken and no IRET has followed: NMIs are held off (SDM vol. 3A, "Handling multiple
    /// NMIs").
    pub nmi_blocked: bool,
}

impl State {
    /// One segment register.
    pub const fn segment(&self, register: SegmentRegister) -> &Segment {
        &self.segments[register as usize]
    }

    /// CS.
    pub const fn cs(&self) -> &Segment {
        self.segment(SegmentRegister::Cs)
    }

    /// SS.
    pub const fn ss(&self) -> &Segment {
        self.segment(SegmentRegister::Ss)
    }

    /// CR0.PE: protected mode.
    pub const fn protected(&self) -> bool {
        self.cr0 & 1 != 0
    }

    /// CR0.PG: paging.
    pub const fn paging(&self) -> bool {
        self.cr0 & (1 << 31) != 0
    }

    /// EFLAGS.VM in protected mode.
    pub const fn virtual_8086(&self) -> bool {
        self.protected() && self.eflags.contains(Eflags::VM)
    }

    /// Current privilege level: 0 in real mode, 3 in virtual-8086 mode, else the DPL of SS, which
    /// equals it at every instruction boundary (SDM vol. 3A, "Privilege levels").
    pub const fn cpl(&self) -> u8 {
        if !self.protected() {
            0
        } else if self.virtual_8086() {
            3
        } else {
            self.ss().dpl()
        }
    }

    /// The stack pointer that SS.B selects: ESP, or SP.
    pub const fn stack_pointer(&self) -> u32 {
        if self.ss().big() { self.general.esp } else { self.general.esp & 0xffff }
    }

    /// Linear address of the next instruction.
    pub const fn instruction_address(&self) -> u32 {
        self.cs().base.wrapping_add(self.eip)
    }

    /// Linear address of the top of the stack.
    pub const fn stack_address(&self) -> u32 {
        self.ss().base.wrapping_add(self.stack_pointer())
    }

    /// A maskable interrupt would be taken at this boundary.
    pub const fn interruptible(&self) -> bool {
        self.eflags.contains(Eflags::IF) && self.interrupt_shadow == 0
    }
}
