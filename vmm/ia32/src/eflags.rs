//! The flags register (SDM vol. 1, "EFLAGS register").

use core::fmt;
use core::ops::{BitAnd, BitOr, BitXor, Not};

/// The 32 bits of EFLAGS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Eflags(pub u32);

impl Eflags {
    /// Carry.
    pub const CF: Eflags = Eflags(1);
    /// Bit 1, always set.
    pub const FIXED: Eflags = Eflags(1 << 1);
    /// Parity.
    pub const PF: Eflags = Eflags(1 << 2);
    /// Auxiliary carry.
    pub const AF: Eflags = Eflags(1 << 4);
    /// Zero.
    pub const ZF: Eflags = Eflags(1 << 6);
    /// Sign.
    pub const SF: Eflags = Eflags(1 << 7);
    /// Trap: a #DB after each instruction.
    pub const TF: Eflags = Eflags(1 << 8);
    /// Maskable external interrupts are accepted.
    pub const IF: Eflags = Eflags(1 << 9);
    /// String instructions count down.
    pub const DF: Eflags = Eflags(1 << 10);
    /// Overflow.
    pub const OF: Eflags = Eflags(1 << 11);
    /// I/O privilege level, two bits.
    pub const IOPL: Eflags = Eflags(3 << 12);
    /// Nested task: IRET is a task return.
    pub const NT: Eflags = Eflags(1 << 14);
    /// Resume: instruction breakpoints are ignored for one instruction.
    pub const RF: Eflags = Eflags(1 << 16);
    /// Virtual-8086 mode.
    pub const VM: Eflags = Eflags(1 << 17);
    /// Alignment check in ring 3; access control in ring 0.
    pub const AC: Eflags = Eflags(1 << 18);
    /// Virtual interrupt flag.
    pub const VIF: Eflags = Eflags(1 << 19);
    /// Virtual interrupt pending.
    pub const VIP: Eflags = Eflags(1 << 20);
    /// CPUID can be used, if it can be changed.
    pub const ID: Eflags = Eflags(1 << 21);

    /// CF, PF, AF, ZF, SF and OF: what arithmetic leaves behind.
    pub const STATUS: Eflags = Eflags(0x8d5);
    /// Bits that always read as zero: 3, 5, 15 and 22 to 31.
    pub const RESERVED_ZERO: Eflags = Eflags(0xffc0_8028);

    const NAMES: [(Eflags, &'static str); 16] = [
        (Eflags::ID, "ID"),
        (Eflags::VIP, "VIP"),
        (Eflags::VIF, "VIF"),
        (Eflags::AC, "AC"),
        (Eflags::VM, "VM"),
        (Eflags::RF, "RF"),
        (Eflags::NT, "NT"),
        (Eflags::OF, "OF"),
        (Eflags::DF, "DF"),
        (Eflags::IF, "IF"),
        (Eflags::TF, "TF"),
        (Eflags::SF, "SF"),
        (Eflags::ZF, "ZF"),
        (Eflags::AF, "AF"),
        (Eflags::PF, "PF"),
        (Eflags::CF, "CF"),
    ];

    /// Whether all bits of `flags` are set.
    pub const fn contains(self, flags: Eflags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any bit of `flags` is set.
    pub const fn intersects(self, flags: Eflags) -> bool {
        self.0 & flags.0 != 0
    }

    /// These flags without those of `flags`.
    pub const fn without(self, flags: Eflags) -> Eflags {
        Eflags(self.0 & !flags.0)
    }

    /// The I/O privilege level, 0 to 3.
    pub const fn iopl(self) -> u8 {
        ((self.0 >> 12) & 3) as u8
    }
}

impl BitOr for Eflags {
    type Output = Eflags;
    fn bitor(self, other: Eflags) -> Eflags {
        Eflags(self.0 | other.0)
    }
}

impl BitAnd for Eflags {
    type Output = Eflags;
    fn bitand(self, other: Eflags) -> Eflags {
        Eflags(self.0 & other.0)
    }
}

impl BitXor for Eflags {
    type Output = Eflags;
    fn bitxor(self, other: Eflags) -> Eflags {
        Eflags(self.0 ^ other.0)
    }
}

impl Not for Eflags {
    type Output = Eflags;
    fn not(self) -> Eflags {
        Eflags(!self.0)
    }
}

/// The names of the flags that are set, high to low, IOPL as `IOPL=n` where it is not 0.
impl fmt::Display for Eflags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (flag, name) in Self::NAMES {
            if self.contains(flag) {
                write!(f, "{separator}{name}")?;
                separator = " ";
            }
            if flag == Self::NT && self.iopl() != 0 {
                write!(f, "{separator}IOPL={}", self.iopl())?;
                separator = " ";
            }
        }
        if separator.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_bit_is_named_fixed_reserved_or_iopl() {
        let named = Eflags::NAMES.iter().fold(Eflags::default(), |all, (flag, _)| all | *flag);
        let all = named | Eflags::FIXED | Eflags::RESERVED_ZERO | Eflags::IOPL;
        assert_eq!(all.0, u32::MAX);
        assert!(!named.intersects(Eflags::RESERVED_ZERO));
    }

    #[test]
    fn flags_are_written_high_to_low() {
        assert_eq!(Eflags(0x246).to_string(), "IF ZF PF");
        assert_eq!(Eflags(0x3202).to_string(), "IOPL=3 IF");
        assert_eq!(Eflags(2).to_string(), "none");
    }
}
