//! Where a task-state segment keeps the stacks of the inner rings
//! (SDM vol. 3A, "32-bit task-state segment" and "16-bit task-state segment").
//!
//! ```text
//!   32-bit TSS                         16-bit TSS
//!   +4  ESP0      +8  SS0 (16 bits)    +2  SP0   +4  SS0
//!   +12 ESP1      +16 SS1              +6  SP1   +8  SS1
//!   +20 ESP2      +24 SS2              +10 SP2   +12 SS2
//! ```
//! The processor reads these fields when an event brings a more privileged ring, and never writes
//! them.

/// The layout of a TSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TssWidth {
    /// 44 bytes, as on the 286.
    Bits16,
    /// 104 bytes.
    Bits32,
}

/// Byte offsets of one ring's stack pointer and stack segment in a TSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackSlot {
    /// Offset of ESPn (four bytes) or SPn (two bytes).
    pub pointer: u32,
    /// Offset of SSn (two bytes).
    pub segment: u32,
}

/// Byte offsets of the fields that a task switch saves or loads.
///
/// ```text
///   32-bit TSS                             16-bit TSS
///   +28 CR3      +32 EIP     +36 EFLAGS    +14 IP       +16 FLAGS
///   +40 EAX ECX EDX EBX ESP EBP ESI EDI    +18 AX CX DX BX SP BP SI DI
///   +72 ES CS SS DS FS GS                  +34 ES CS SS DS
///   +96 LDT      +100 T (bit 0)            +42 LDT
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TssLayout {
    /// Bytes from one register to the next, and that a general register takes.
    pub register_size: u32,
    /// EIP or IP.
    pub eip: u32,
    /// EFLAGS or FLAGS.
    pub eflags: u32,
    /// EAX or AX; the others follow in the order of their encoding.
    pub general: u32,
    /// ES; the others follow in the order of their encoding.
    pub segments: u32,
    /// How many segment registers there are: a 16-bit TSS has neither FS nor GS.
    pub segment_count: u32,
    /// The selector of the LDT.
    pub ldt: u32,
}

impl TssWidth {
    /// From the four-bit type of the descriptor that TR holds; none if it is no TSS.
    pub const fn from_type(ty: u8) -> Option<Self> {
        match ty {
            1 | 3 => Some(TssWidth::Bits16),
            9 | 11 => Some(TssWidth::Bits32),
            _ => None,
        }
    }

    /// The slot of the stack for `ring` (0, 1 or 2).
    pub const fn stack_slot(self, ring: u8) -> StackSlot {
        let ring = ring as u32;
        match self {
            TssWidth::Bits16 => StackSlot { pointer: 2 + 4 * ring, segment: 4 + 4 * ring },
            TssWidth::Bits32 => StackSlot { pointer: 4 + 8 * ring, segment: 8 + 8 * ring },
        }
    }

    /// Bytes that a TSS of this layout takes at least.
    pub const fn size(self) -> u32 {
        match self {
            TssWidth::Bits16 => 44,
            TssWidth::Bits32 => 104,
        }
    }

    /// Where a task switch saves and loads registers.
    pub const fn layout(self) -> TssLayout {
        match self {
            TssWidth::Bits16 => TssLayout {
                register_size: 2,
                eip: 14,
                eflags: 16,
                general: 18,
                segments: 34,
                segment_count: 4,
                ldt: 42,
            },
            TssWidth::Bits32 => TssLayout {
                register_size: 4,
                eip: 32,
                eflags: 36,
                general: 40,
                segments: 72,
                segment_count: 6,
                ldt: 96,
            },
        }
    }

    /// Bytes that ESPn or SPn takes.
    pub const fn pointer_size(self) -> u32 {
        match self {
            TssWidth::Bits16 => 2,
            TssWidth::Bits32 => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_stand_where_the_manual_draws_them() {
        assert_eq!(TssWidth::Bits32.stack_slot(0), StackSlot { pointer: 4, segment: 8 });
        assert_eq!(TssWidth::Bits32.stack_slot(2), StackSlot { pointer: 20, segment: 24 });
        assert_eq!(TssWidth::Bits16.stack_slot(0), StackSlot { pointer: 2, segment: 4 });
        assert_eq!(TssWidth::Bits16.stack_slot(2), StackSlot { pointer: 10, segment: 12 });
    }

    #[test]
    fn only_the_four_tss_types_have_a_width() {
        let widths = (0..16).filter_map(TssWidth::from_type).count();
        assert_eq!(widths, 4);
        assert_eq!(TssWidth::from_type(11), Some(TssWidth::Bits32));
    }
}
