//! Gates of the interrupt descriptor table (SDM vol. 3A, "IDT descriptors").
//!
//! ```text
//!  63              48 47 46 45 44   40 39      32 31             16 15              0
//! ┌──────────────────┬──┬─────┬───────┬──────────┬─────────────────┬─────────────────┐
//! │  offset 31:16    │P │ DPL │0 type │ reserved │ code selector   │  offset 15:0    │
//! └──────────────────┴──┴─────┴───────┴──────────┴─────────────────┴─────────────────┘
//! ```

use crate::Selector;
use core::fmt;

/// The kinds of gate an IDT can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateKind {
    /// A switch to another task.
    Task,
    /// 16-bit words on the stack; IF is cleared.
    Interrupt16,
    /// 16-bit words on the stack; IF stays.
    Trap16,
    /// 32-bit words on the stack; IF is cleared.
    Interrupt32,
    /// 32-bit words on the stack; IF stays.
    Trap32,
}

impl GateKind {
    /// Size in bytes of each word pushed. A task gate pushes at most an error code, in the width of
    /// the new task; it is given as 4 here.
    pub const fn word_size(self) -> u32 {
        match self {
            GateKind::Interrupt16 | GateKind::Trap16 => 2,
            GateKind::Task | GateKind::Interrupt32 | GateKind::Trap32 => 4,
        }
    }

    /// Whether delivery through it clears IF.
    pub const fn clears_if(self) -> bool {
        matches!(self, GateKind::Interrupt16 | GateKind::Interrupt32)
    }
}

impl fmt::Display for GateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GateKind::Task => "task gate",
            GateKind::Interrupt16 => "16-bit interrupt gate",
            GateKind::Trap16 => "16-bit trap gate",
            GateKind::Interrupt32 => "interrupt gate",
            GateKind::Trap32 => "trap gate",
        })
    }
}

/// A decoded gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Task, interrupt or trap; 16 or 32 bits.
    pub kind: GateKind,
    /// Code segment of the handler, or the TSS of a task gate.
    pub selector: Selector,
    /// Offset of the handler in its code segment; meaningless in a task gate.
    pub offset: u32,
    /// Descriptor privilege level: INT n from a higher-numbered ring is refused.
    pub dpl: u8,
    /// P: the gate can be used.
    pub present: bool,
}

/// The four type bits name no gate an IDT may hold: delivery gives #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidGate(
    /// Bits 40 to 44 of the descriptor.
    pub u8,
);

impl Gate {
    /// Decodes the eight bytes of an IDT entry.
    ///
    /// # Errors
    /// [`InvalidGate`] where the type is none of the five kinds.
    pub const fn decode(bytes: u64) -> Result<Gate, InvalidGate> {
        let kind = match ((bytes >> 40) & 0x1f) as u8 {
            0x05 => GateKind::Task,
            0x06 => GateKind::Interrupt16,
            0x07 => GateKind::Trap16,
            0x0e => GateKind::Interrupt32,
            0x0f => GateKind::Trap32,
            other => return Err(InvalidGate(other)),
        };
        let low = (bytes & 0xffff) as u32;
        let high = (bytes >> 32) as u32 & 0xffff_0000;
        Ok(Gate {
            kind,
            selector: Selector((bytes >> 16) as u16),
            // A 16-bit gate has no upper half: those bits are reserved.
            offset: if kind.word_size() == 2 { low } else { low | high },
            dpl: ((bytes >> 45) & 3) as u8,
            present: bytes & (1 << 47) != 0,
        })
    }

    /// The eight bytes of the IDT entry.
    pub const fn encode(self) -> u64 {
        let ty = match self.kind {
            GateKind::Task => 0x05,
            GateKind::Interrupt16 => 0x06,
            GateKind::Trap16 => 0x07,
            GateKind::Interrupt32 => 0x0e,
            GateKind::Trap32 => 0x0fu64,
        };
        (self.offset as u64 & 0xffff)
            | (self.selector.0 as u64) << 16
            | ty << 40
            | (self.dpl as u64 & 3) << 45
            | (self.present as u64) << 47
            | (self.offset as u64 & 0xffff_0000) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_system_call_gate_is_a_trap_gate_open_to_ring_3() {
        // 0x80 in Linux: selector 0x60, trap gate, DPL 3.
        let gate = Gate::decode(0xc102_ef00_0060_1234).unwrap();
        assert_eq!(gate.kind, GateKind::Trap32);
        assert_eq!((gate.selector.0, gate.offset), (0x60, 0xc102_1234));
        assert_eq!((gate.dpl, gate.present), (3, true));
    }

    #[test]
    fn an_empty_entry_is_no_gate() {
        assert_eq!(Gate::decode(0), Err(InvalidGate(0)));
    }

    #[test]
    fn encoding_is_the_inverse_of_decoding() {
        for kind in [
            GateKind::Task,
            GateKind::Interrupt16,
            GateKind::Trap16,
            GateKind::Interrupt32,
            GateKind::Trap32,
        ] {
            let offset = if kind.word_size() == 2 { 0x4321 } else { 0xc012_4321 };
            let gate = Gate { kind, selector: Selector(8), offset, dpl: 2, present: true };
            assert_eq!(Gate::decode(gate.encode()), Ok(gate));
        }
    }
}
