//! What can make a processor enter a handler, return from one, or change task.

use crate::{Class, Vector};

/// An instruction that raises an interrupt by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SoftwareInterrupt {
    /// INT n (CD ib). The only one that IOPL concerns in virtual-8086 mode.
    IntN,
    /// INT3 (CC).
    Int3,
    /// INTO (CE), with OF set.
    Into,
}

/// What kind of event it is: it decides about privilege checks, EXT, the saved EIP and the saved RF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptionKind {
    /// INT n, INT3 or INTO: the gate's DPL is checked. The state is that before the instruction.
    Software {
        /// Which of the three.
        instruction: SoftwareInterrupt,
        /// Its length in bytes, prefixes included.
        length: u8,
    },
    /// INT1 (ICEBP, F1): a #DB without a check of the gate's DPL. The state is that before it.
    Icebp {
        /// Its length in bytes, prefixes included.
        length: u8,
    },
    /// An exception that is reported before its instruction has taken effect. The state is that
    /// before the instruction.
    Fault,
    /// The #DB of an instruction breakpoint: a fault that does not set RF.
    InstructionBreakpoint,
    /// An exception that is reported after its instruction. The state is that behind it.
    Trap,
    /// #DF or #MC.
    Abort,
    /// A maskable interrupt from outside. Whether it is accepted (IF, interrupt shadow) is decided
    /// before: see [`State::interruptible`](crate::State::interruptible).
    External,
    /// A non-maskable interrupt.
    Nmi,
}

/// One event to deliver.
///
/// ```
/// use ia32::{Interruption, Vector};
/// let system_call = Interruption::int(0x80);
/// let page_fault = Interruption::fault(Vector::PF, Some(6));
/// assert!(!system_call.is_external_to_program());
/// assert!(page_fault.is_external_to_program());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interruption {
    /// Its vector.
    pub vector: Vector,
    /// Its kind.
    pub kind: InterruptionKind,
    /// The error code that is pushed behind the frame; exceptions only.
    pub error_code: Option<u32>,
    /// It arrives between two iterations of a repeated string instruction (an interrupt or a trap).
    pub repeating: bool,
}

impl Interruption {
    const fn new(vector: Vector, kind: InterruptionKind, error_code: Option<u32>) -> Self {
        Interruption { vector, kind, error_code, repeating: false }
    }

    /// INT n, two bytes long.
    pub const fn int(vector: u8) -> Self {
        let instruction = SoftwareInterrupt::IntN;
        Interruption::new(
            Vector(vector),
            InterruptionKind::Software { instruction, length: 2 },
            None,
        )
    }

    /// INT3, one byte long.
    pub const fn int3() -> Self {
        let instruction = SoftwareInterrupt::Int3;
        Interruption::new(Vector::BP, InterruptionKind::Software { instruction, length: 1 }, None)
    }

    /// INTO with OF set, one byte long.
    pub const fn into() -> Self {
        let instruction = SoftwareInterrupt::Into;
        Interruption::new(Vector::OF, InterruptionKind::Software { instruction, length: 1 }, None)
    }

    /// INT1 (ICEBP), one byte long.
    pub const fn icebp() -> Self {
        Interruption::new(Vector::DB, InterruptionKind::Icebp { length: 1 }, None)
    }

    /// A fault, with the error code if its vector has one.
    pub const fn fault(vector: Vector, error_code: Option<u32>) -> Self {
        Interruption::new(vector, InterruptionKind::Fault, error_code)
    }

    /// A trap.
    pub const fn trap(vector: Vector) -> Self {
        Interruption::new(vector, InterruptionKind::Trap, None)
    }

    /// A maskable interrupt.
    pub const fn external(vector: u8) -> Self {
        Interruption::new(Vector(vector), InterruptionKind::External, None)
    }

    /// A non-maskable interrupt.
    pub const fn nmi() -> Self {
        Interruption::new(Vector::NMI, InterruptionKind::Nmi, None)
    }

    /// A double fault: its error code is always 0 (SDM vol. 3A, "Interrupt 8").
    pub const fn double_fault() -> Self {
        Interruption::new(Vector::DF, InterruptionKind::Abort, Some(0))
    }

    /// EXT: what a fault during the delivery of this event has in bit 0 of its error code. Set for
    /// everything but INT n, INT3 and INTO (SDM vol. 2A, INT n, Operation: "otherwise (including
    /// INT1), EXT is 1").
    pub const fn is_external_to_program(&self) -> bool {
        !matches!(self.kind, InterruptionKind::Software { .. })
    }

    /// The class that decides what a fault during its delivery leads to.
    pub const fn severity(&self) -> Severity {
        match self.kind {
            InterruptionKind::Fault
            | InterruptionKind::InstructionBreakpoint
            | InterruptionKind::Trap
            | InterruptionKind::Abort => Severity::of(self.vector),
            // An INT n or an interrupt with vector 13 is no #GP.
            InterruptionKind::Software { .. }
            | InterruptionKind::Icebp { .. }
            | InterruptionKind::External
            | InterruptionKind::Nmi => Severity::Benign,
        }
    }
}

/// The classes of SDM vol. 3A, "Interrupt 8", table "Interrupt and exception classes".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Another event may follow it.
    Benign,
    /// #DE, #TS, #NP, #SS, #GP, #CP.
    Contributory,
    /// #PF, #VE.
    PageFault,
    /// #DF itself.
    DoubleFault,
}

impl Severity {
    /// The class of an exception.
    pub const fn of(vector: Vector) -> Self {
        match vector.0 {
            0 | 10..=13 | 21 => Severity::Contributory,
            14 | 20 => Severity::PageFault,
            8 => Severity::DoubleFault,
            _ => Severity::Benign,
        }
    }
}

/// The operand size of an IRET: what it pops are words of two or four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperandSize {
    /// IRET: two bytes.
    Bits16,
    /// IRETD: four bytes.
    Bits32,
}

impl OperandSize {
    /// Bytes a popped word takes.
    pub const fn bytes(self) -> u32 {
        match self {
            OperandSize::Bits16 => 2,
            OperandSize::Bits32 => 4,
        }
    }
}

/// An IRET. The state is that before the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Iret {
    /// Its operand size.
    pub size: OperandSize,
    /// Its length in bytes, prefixes included: a task that leaves by IRET goes on behind it.
    pub length: u8,
}

impl Iret {
    /// IRETD in 32-bit code.
    pub const BITS32: Iret = Iret { size: OperandSize::Bits32, length: 1 };
    /// IRET with an operand-size prefix in 32-bit code.
    pub const BITS16: Iret = Iret { size: OperandSize::Bits16, length: 2 };
}

/// A far JMP or CALL whose selector names a TSS or a task gate. The state is that before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FarTransfer {
    /// CALL: the new task is nested.
    pub call: bool,
    /// The selector of the far pointer; its offset does not matter.
    pub selector: u16,
    /// The instruction's length in bytes.
    pub length: u8,
}

/// Anything that the model computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// An event is delivered.
    Interruption(Interruption),
    /// An IRET is executed.
    Iret(Iret),
    /// A far JMP or CALL to another task is executed.
    Far(FarTransfer),
}

impl Operation {
    /// What a fault during the operation leads to: an instruction's fault is the first.
    pub const fn severity(&self) -> Severity {
        match self {
            Operation::Interruption(event) => event.severity(),
            Operation::Iret(_) | Operation::Far(_) => Severity::Benign,
        }
    }
}

impl From<Interruption> for Operation {
    fn from(event: Interruption) -> Self {
        Operation::Interruption(event)
    }
}

impl From<Iret> for Operation {
    fn from(iret: Iret) -> Self {
        Operation::Iret(iret)
    }
}

impl From<FarTransfer> for Operation {
    fn from(far: FarTransfer) -> Self {
        Operation::Far(far)
    }
}

/// How the exception with this vector is raised by the processor itself.
pub(crate) const fn raised_kind(vector: Vector) -> InterruptionKind {
    match vector.class() {
        Class::Trap => InterruptionKind::Trap,
        Class::Abort => InterruptionKind::Abort,
        _ => InterruptionKind::Fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_belong_to_the_classes_of_the_manual() {
        for vector in 0..32 {
            let expected = match vector {
                0 | 10 | 11 | 12 | 13 | 21 => Severity::Contributory,
                14 | 20 => Severity::PageFault,
                8 => Severity::DoubleFault,
                _ => Severity::Benign,
            };
            assert_eq!(Severity::of(Vector(vector)), expected, "vector {vector}");
        }
    }

    #[test]
    fn an_int_13_is_no_general_protection_fault() {
        assert_eq!(Interruption::int(13).severity(), Severity::Benign);
        assert_eq!(Interruption::external(14).severity(), Severity::Benign);
        assert_eq!(Interruption::fault(Vector::GP, Some(0)).severity(), Severity::Contributory);
    }

    #[test]
    fn only_int_int3_and_into_belong_to_the_program() {
        for event in [Interruption::int(0x80), Interruption::int3(), Interruption::into()] {
            assert!(!event.is_external_to_program());
        }
        for event in [
            Interruption::icebp(),
            Interruption::nmi(),
            Interruption::external(32),
            Interruption::trap(Vector::DB),
        ] {
            assert!(event.is_external_to_program());
        }
    }
}
