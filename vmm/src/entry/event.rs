//! What raised an event, told from what can be seen.

use super::Frame;
use crate::machine::LinearMemory;
use ia32::{Class, Gate, Selector, State, Vector, Word};
use std::fmt;

/// What raised an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An INT n instruction.
    Software,
    /// An exception that is reported before its instruction.
    Fault,
    /// An exception that is reported behind its instruction, INT3 and INTO among them.
    Trap,
    /// #DF or #MC.
    Abort,
    /// An interrupt that esp0 injected.
    External,
    /// A non-maskable interrupt that esp0 injected.
    Nmi,
    /// Nothing that is known raises this vector here: no `int n` stands behind EIP, esp0 injected
    /// nothing, and it is no exception.
    Unexplained,
}

impl Kind {
    /// All that there are.
    pub const ALL: [Kind; 7] = [
        Kind::Software,
        Kind::Fault,
        Kind::Trap,
        Kind::Abort,
        Kind::External,
        Kind::Nmi,
        Kind::Unexplained,
    ];

    /// The word that traces use.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Software => "int",
            Kind::Fault => "fault",
            Kind::Trap => "trap",
            Kind::Abort => "abort",
            Kind::External => "external",
            Kind::Nmi => "nmi",
            Kind::Unexplained => "unexplained",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The guest's code around a pushed EIP, patches taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeBytes {
    /// The two bytes before it, if they are mapped.
    pub behind: Option<[u8; 2]>,
    /// The bytes at it; read for exceptions only.
    pub at: [u8; 15],
    /// How many of `at` are mapped.
    pub length: u8,
    /// Linear address that EIP stands for, if the code segment is known.
    pub linear: Option<u32>,
}

impl CodeBytes {
    /// The instruction at EIP.
    pub fn instruction(&self) -> &[u8] {
        &self.at[..usize::from(self.length)]
    }

    /// `int n` with this vector stands right before EIP.
    pub fn is_behind_int(&self, vector: Vector) -> bool {
        self.behind == Some([0xcd, vector.0])
    }

    /// The same code seen from the INT n, INT3 or INTO right before EIP that was to raise `vector`, and how many
    /// bytes that is; none if there is none, or one stands at EIP as well.
    pub(super) fn seen_from_int_behind(&self, vector: Vector) -> Option<(Self, u8)> {
        let one_byte = vector != Vector::DB && self.is_behind_one_byte_trap(vector);
        let back = match self.is_behind_int(vector) {
            true => 2,
            false if one_byte => 1,
            false => return None,
        };
        let raises = match self.instruction() {
            [0xcd, other, ..] => *other == vector.0,
            [0xcc, ..] => vector == Vector::BP,
            [0xce, ..] => vector == Vector::OF,
            _ => false,
        };
        if raises {
            return None;
        }
        let mut all = self.behind?.to_vec();
        all.extend_from_slice(self.instruction());
        let from = &all[2 - usize::from(back)..];
        let mut code = CodeBytes { linear: self.linear, ..CodeBytes::default() };
        code.linear = code.linear.map(|linear| linear.wrapping_sub(back.into()));
        code.length = from.len().min(code.at.len()) as u8;
        let length = usize::from(code.length);
        code.at[..length].copy_from_slice(&from[..length]);
        Some((code, back))
    }

    /// INT3, INTO or ICEBP, as it raises `vector`, stands right before EIP.
    pub fn is_behind_one_byte_trap(&self, vector: Vector) -> bool {
        let opcode = match vector {
            Vector::BP => 0xcc,
            Vector::OF => 0xce,
            Vector::DB => 0xf1,
            _ => return false,
        };
        self.behind.is_some_and(|[_, last]| last == opcode)
    }
}

/// Linear address of `eip` in the code segment that `selector` names.
pub(super) fn linear_eip(linear: &LinearMemory<'_>, state: &State, frame: &Frame) -> Option<u32> {
    let eip = frame.get(Word::Eip)?;
    let selector = frame.selector(Word::Cs)?;
    if frame.shape.from_virtual_8086 {
        return Some((u32::from(selector) << 4).wrapping_add(eip));
    }
    if selector == state.cs().selector {
        return Some(state.cs().base.wrapping_add(eip));
    }
    let descriptor = linear.descriptor(state, Selector(selector))?;
    Some(descriptor.base().wrapping_add(eip))
}

/// The kind of an event that esp0 did not inject, with an error code on the stack or without.
pub(super) fn classify(
    vector: Vector,
    gate: &Gate,
    ring: u8,
    code: &CodeBytes,
    error_code: bool,
) -> Kind {
    let open = gate.dpl >= ring;
    if open && code.is_behind_int(vector) && !error_code {
        return Kind::Software;
    }
    match vector.class() {
        Class::Fault => Kind::Fault,
        Class::Trap => Kind::Trap,
        // A fault for instruction breakpoints only, which the guest sets itself in DR7; a trap for
        // the rest.
        Class::FaultOrTrap => Kind::Trap,
        Class::Abort => Kind::Abort,
        Class::Nmi | Class::Reserved | Class::User => Kind::Unexplained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(behind: [u8; 2], at: &[u8]) -> CodeBytes {
        let mut code = CodeBytes {
            behind: Some(behind),
            length: at.len() as u8,
            linear: Some(0x1002),
            ..CodeBytes::default()
        };
        code.at[..at.len()].copy_from_slice(at);
        code
    }

    #[test]
    fn the_int_behind_eip_is_seen_where_none_stands_at_it() {
        let (seen, back) = code([0xcd, 0x80], &[0xc3]).seen_from_int_behind(Vector(0x80)).unwrap();
        assert_eq!((seen.instruction(), back), (&[0xcd, 0x80, 0xc3][..], 2));
        assert_eq!(seen.linear, Some(0x1000));
        let (seen, back) = code([0x90, 0xcc], &[0xc3]).seen_from_int_behind(Vector::BP).unwrap();
        assert_eq!((seen.instruction(), back), (&[0xcc, 0xc3][..], 1));
        for (behind, at, vector) in [
            ([0xcd, 0x80], &[0xcd, 0x80][..], Vector(0x80)),
            ([0xcd, 0x80], &[0xc3], Vector(0x81)),
            ([0x90, 0xcc], &[0xcc], Vector::BP),
            ([0x90, 0x90], &[0xc3], Vector::BP),
        ] {
            assert_eq!(code(behind, at).seen_from_int_behind(vector), None);
        }
    }
}
