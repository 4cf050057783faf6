//! How the event of a case comes about: by an instruction at the source, or injected by KVM.
//!
//! Exceptions by instruction are those whose only effect is the fault, whatever the registers:
//! `aam 0`, `ud2`, an x87 instruction with CR0.EM, a load of ES or SS with a selector that is bad. An
//! exception that KVM injects pushes the RF that the state has; the case sets it for those vectors
//! whose faults push RF as 1, so that both agree.

use super::layout::{ABSENT, ABSENT_STACKS, BEYOND};
use ia32::{
    FarTransfer, Interruption, InterruptionKind, Iret, OperandSize, Operation, State, Vector,
};
use std::fmt;

/// How the event comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    Int(u8),
    Int3,
    Into,
    Icebp,
    /// #DE: AAM with 0.
    Divide,
    /// #UD: UD2.
    Undefined,
    /// #NM: FNOP with CR0.EM set.
    NoMath,
    /// #GP: MOV ES with a selector outside the GDT.
    Beyond,
    /// #NP: MOV ES with the selector of an absent segment.
    NotPresent,
    /// #SS: MOV SS with the selector of an absent segment.
    NoStack,
    /// #PF: the instruction cannot be fetched.
    Fetch,
    /// KVM_SET_VCPU_EVENTS.
    Exception(u8, u16),
    /// KVM_INTERRUPT.
    Interrupt(u8),
    /// KVM_NMI.
    Nmi,
    Iret(OperandSize),
    Jump(u16),
    Call(u16),
}

/// What the source executes: bytes and, where the event needs it, a value for EAX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Instruction {
    bytes: [u8; 9],
    length: u8,
    pub(super) eax: Option<u32>,
}

impl Instruction {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.bytes[usize::from(self.length)] = *byte;
            self.length += 1;
        }
    }
}

impl Via {
    /// The instruction at the source, if there is one.
    pub(super) fn instruction(self, state: &State) -> Option<Instruction> {
        let mut instruction = Instruction::default();
        let wide = state.cs().big() && !state.virtual_8086();
        let ring = u16::from(state.cpl());
        match self {
            Via::Int(vector) => instruction.push(&[0xcd, vector]),
            Via::Int3 => instruction.push(&[0xcc]),
            Via::Into => instruction.push(&[0xce]),
            Via::Icebp => instruction.push(&[0xf1]),
            Via::Divide => instruction.push(&[0xd4, 0]),
            Via::Undefined => instruction.push(&[0x0f, 0x0b]),
            Via::NoMath => instruction.push(&[0xd9, 0xd0]),
            Via::Beyond | Via::NotPresent => {
                let selector = if self == Via::Beyond { BEYOND } else { ABSENT | 3 };
                instruction.eax = Some(selector.into());
                instruction.push(&[0x8e, 0xc0]);
            }
            Via::NoStack => {
                instruction.eax = Some((ABSENT_STACKS + 8 * ring + ring).into());
                instruction.push(&[0x8e, 0xd0]);
            }
            Via::Iret(size) => {
                if (size == OperandSize::Bits32) != wide {
                    instruction.push(&[0x66]);
                }
                instruction.push(&[0xcf]);
            }
            Via::Jump(selector) | Via::Call(selector) => {
                let opcode = if matches!(self, Via::Jump(_)) { 0xea } else { 0x9a };
                instruction.push(&[opcode]);
                instruction.push(if wide { &[0; 4] } else { &[0; 2] });
                instruction.push(&selector.to_le_bytes());
            }
            Via::Fetch | Via::Exception(..) | Via::Interrupt(_) | Via::Nmi => return None,
        }
        Some(instruction)
    }

    /// The operation that the model is asked for.
    pub(super) fn operation(self, state: &State) -> Operation {
        let length = self.instruction(state).map_or(0, |instruction| instruction.length);
        let mut event = match self {
            Via::Int(vector) => Interruption::int(vector),
            Via::Int3 => Interruption::int3(),
            Via::Into => Interruption::into(),
            Via::Icebp => Interruption::icebp(),
            Via::Divide => Interruption::fault(Vector::DE, None),
            Via::Undefined => Interruption::fault(Vector::UD, None),
            Via::NoMath => Interruption::fault(Vector(7), None),
            Via::Beyond => Interruption::fault(Vector::GP, Some(BEYOND.into())),
            Via::NotPresent => Interruption::fault(Vector::NP, Some(ABSENT.into())),
            Via::NoStack => {
                let slot = ABSENT_STACKS + 8 * u16::from(state.cpl());
                Interruption::fault(Vector::SS, Some(slot.into()))
            }
            Via::Fetch => {
                let user = if state.cpl() == 3 { 4 } else { 0 };
                Interruption::fault(Vector::PF, Some(user))
            }
            Via::Exception(8, _) => Interruption::double_fault(),
            Via::Exception(vector, code) => {
                Interruption::fault(Vector(vector), has_error_code(vector).then_some(code.into()))
            }
            Via::Interrupt(vector) => Interruption::external(vector),
            Via::Nmi => Interruption::nmi(),
            Via::Iret(size) => return Iret { size, length }.into(),
            Via::Jump(selector) => return FarTransfer { call: false, selector, length }.into(),
            Via::Call(selector) => return FarTransfer { call: true, selector, length }.into(),
        };
        match &mut event.kind {
            InterruptionKind::Software { length: of, .. }
            | InterruptionKind::Icebp { length: of } => *of = length,
            _ => {}
        }
        event.into()
    }
}

/// Vectors that KVM can be made to inject as exceptions: not 1, 3 and 4, which it takes for traps of
/// an instruction.
pub(super) const INJECTED: [u8; 13] = [0, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 19];

/// The vectors that push an error code.
pub(super) const fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17)
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Int(vector) => write!(f, "int:{vector:x}"),
            Via::Exception(vector, code) => write!(f, "exception:{vector:x}:{code:x}"),
            Via::Interrupt(vector) => write!(f, "interrupt:{vector:x}"),
            Via::Jump(selector) => write!(f, "jump:{selector:x}"),
            Via::Call(selector) => write!(f, "call:{selector:x}"),
            plain => {
                let name = PLAIN.iter().find(|(_, via)| via == plain);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

const PLAIN: [(&str, Via); 13] = [
    ("int3", Via::Int3),
    ("into", Via::Into),
    ("icebp", Via::Icebp),
    ("divide", Via::Divide),
    ("undefined", Via::Undefined),
    ("no-math", Via::NoMath),
    ("beyond", Via::Beyond),
    ("not-present", Via::NotPresent),
    ("no-stack", Via::NoStack),
    ("fetch", Via::Fetch),
    ("nmi", Via::Nmi),
    ("iret", Via::Iret(OperandSize::Bits32)),
    ("iret16", Via::Iret(OperandSize::Bits16)),
];

impl Via {
    /// The event that prints so.
    pub(super) fn find(text: &str) -> Option<Via> {
        if let Some((_, via)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Some(*via);
        }
        let (name, value) = text.split_once(':')?;
        let byte = || u8::from_str_radix(value, 16).ok();
        let selector = || u16::from_str_radix(value, 16).ok();
        match name {
            "int" => byte().map(Via::Int),
            "interrupt" => byte().map(Via::Interrupt),
            "jump" => selector().map(Via::Jump),
            "call" => selector().map(Via::Call),
            "exception" => {
                let (vector, code) = value.split_once(':')?;
                let vector = u8::from_str_radix(vector, 16).ok()?;
                let code = u16::from_str_radix(code, 16).ok()?;
                INJECTED.contains(&vector).then_some(Via::Exception(vector, code))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_found_by_what_it_prints() {
        let others = [
            Via::Int(0x80),
            Via::Exception(13, 0x1234),
            Via::Interrupt(0x20),
            Via::Jump(0x30),
            Via::Call(0xa8),
        ];
        for via in PLAIN.map(|(_, via)| via).into_iter().chain(others) {
            assert_eq!(Via::find(&via.to_string()), Some(via));
        }
        assert_eq!(Via::find("exception:3:0"), None);
        assert_eq!(Via::find("int:100"), None);
    }
}
