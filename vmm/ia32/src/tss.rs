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
