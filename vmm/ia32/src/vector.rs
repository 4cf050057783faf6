//! Interrupt and exception vectors (SDM vol. 3A, "Exception and interrupt vectors").

use core::fmt;

/// How an exception is reported (SDM vol. 3A, "Exception classifications").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The saved EIP points at the instruction, which can be restarted.
    Fault,
    /// The saved EIP points behind the instruction.
    Trap,
    /// #DB: a fault or a trap, by its cause.
    FaultOrTrap,
    /// The saved EIP need not mean anything.
    Abort,
    /// The non-maskable interrupt.
    Nmi,
    /// Reserved by the manual.
    Reserved,
    /// 32 to 255: for external interrupts and INT n.
    User,
}

/// An interrupt vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vector(pub u8);

impl Vector {
    /// Divide error.
    pub const DE: Vector = Vector(0);
    /// Debug.
    pub const DB: Vector = Vector(1);
    /// Non-maskable interrupt.
    pub const NMI: Vector = Vector(2);
    /// Breakpoint (INT3).
    pub const BP: Vector = Vector(3);
    /// Overflow (INTO).
    pub const OF: Vector = Vector(4);
    /// BOUND range exceeded.
    pub const BR: Vector = Vector(5);
    /// Invalid opcode.
    pub const UD: Vector = Vector(6);
    /// No coprocessor: the FPU is switched off.
    pub const NM: Vector = Vector(7);
    /// Double fault.
    pub const DF: Vector = Vector(8);
    /// Invalid TSS.
    pub const TS: Vector = Vector(10);
    /// Segment not present.
    pub const NP: Vector = Vector(11);
    /// Stack-segment fault.
    pub const SS: Vector = Vector(12);
    /// General protection.
    pub const GP: Vector = Vector(13);
    /// Page fault.
    pub const PF: Vector = Vector(14);
    /// Floating-point error.
    pub const MF: Vector = Vector(16);
    /// Alignment check.
    pub const AC: Vector = Vector(17);
    /// Machine check.
    pub const MC: Vector = Vector(18);
    /// SIMD floating-point error.
    pub const XM: Vector = Vector(19);

    /// The manual's mnemonic, if the vector has one.
    pub const fn mnemonic(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "#DE",
            1 => "#DB",
            2 => "NMI",
            3 => "#BP",
            4 => "#OF",
            5 => "#BR",
            6 => "#UD",
            7 => "#NM",
            8 => "#DF",
            9 => "coprocessor segment overrun",
            10 => "#TS",
            11 => "#NP",
            12 => "#SS",
            13 => "#GP",
            14 => "#PF",
            16 => "#MF",
            17 => "#AC",
            18 => "#MC",
            19 => "#XM",
            20 => "#VE",
            21 => "#CP",
            _ => return None,
        })
    }

    /// How the exception with this vector is reported.
    pub const fn class(self) -> Class {
        match self.0 {
            1 => Class::FaultOrTrap,
            2 => Class::Nmi,
            3 | 4 => Class::Trap,
            8 | 18 => Class::Abort,
            0 | 5..=7 | 9..=14 | 16 | 17 | 19..=21 => Class::Fault,
            15 | 22..=31 => Class::Reserved,
            _ => Class::User,
        }
    }

    /// Whether the processor pushes an error code when it raises the exception itself. INT n and
    /// external interrupts never push one, whatever the vector.
    pub const fn has_error_code(self) -> bool {
        matches!(self.0, 8 | 10..=14 | 17 | 21)
    }
}

/// The mnemonic, or `vector 0x..`.
impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(name) => f.write_str(name),
            None => write!(f, "vector {:#04x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn error_codes_go_with_the_vectors_of_the_manual() {
        let with: Vec<u8> = (0..=255).filter(|n| Vector(*n).has_error_code()).collect();
        assert_eq!(with, [8, 10, 11, 12, 13, 14, 17, 21]);
    }

    #[test]
    fn breakpoint_and_overflow_are_the_only_pure_traps() {
        let traps: Vec<u8> = (0..=255).filter(|n| Vector(*n).class() == Class::Trap).collect();
        assert_eq!(traps, [3, 4]);
    }
}
