//! What happened at a boundary, in the model's words.

use super::departure::Cause;
use crate::entry::{Entry, Expected, Kind};
use crate::instruction::decode;
use crate::machine::Memory;
use ia32::{Class, Interruption, OperandSize, Operation, Processor, State, Vector, Word};
use iced_x86::Code;

/// What the model says that `entry` must be, which `cause` led to from its state before. `memory` is that at
/// the handler's first instruction; none if the model is not asked, or leaves it open.
pub(super) fn expected(
    entry: &Entry,
    cause: &Cause,
    code: &[u8],
    memory: &Memory,
    processor: &Processor,
) -> Option<Expected> {
    let mut before = **entry.before.as_ref()?;
    let operation = operation(cause, code, &before, entry, false)?;
    before.cr2 = address_of_page_fault(entry, &operation).unwrap_or(before.cr2);
    Expected::ask(&before, memory, operation, processor)
}

/// What the model is to be asked of an entry that came from `before`, in front of `code`, and with which CR2; none if
/// it is nothing that it covers.
#[cfg(feature = "program")]
pub(crate) fn operation_of(entry: &Entry, before: &State, code: &[u8]) -> Option<(Operation, u32)> {
    let cause = match entry.kind {
        Kind::External => Cause::Interrupt(entry.vector),
        _ => Cause::Instruction(Vec::new()),
    };
    let operation = operation(&cause, code, before, entry, false)?;
    Some((operation, address_of_page_fault(entry, &operation).unwrap_or(before.cr2)))
}

/// CR2 as it is when a page fault is delivered: the access that raised it has loaded it by then.
pub(super) fn address_of_page_fault(entry: &Entry, operation: &Operation) -> Option<u32> {
    let by_the_access = matches!(
        operation,
        Operation::Interruption(Interruption { kind: ia32::InterruptionKind::Fault, .. })
    );
    (entry.vector == Vector::PF && by_the_access).then_some(entry.after.cr2)
}

/// What the model is to be asked; none if this is nothing that it covers.
///
/// `code` is what stands at EIP in the state `before`. `repeating` tells that it is a repeated string
/// instruction that has begun.
pub(super) fn operation(
    cause: &Cause,
    code: &[u8],
    before: &State,
    entry: &Entry,
    repeating: bool,
) -> Option<Operation> {
    match cause {
        Cause::Interrupt(vector) => {
            return Some(Interruption { repeating, ..Interruption::external(vector.0) }.into());
        }
        Cause::OwnStep => return Some(Interruption::trap(Vector::DB).into()),
        Cause::Instruction(_) => {}
    }
    let instruction = decode(code, before);
    let length = instruction.len() as u8;
    let software = |event: Interruption| {
        let ia32::InterruptionKind::Software { instruction, .. } = event.kind else { return event };
        Interruption { kind: ia32::InterruptionKind::Software { instruction, length }, ..event }
    };
    match instruction.code() {
        Code::Int_imm8 => {
            return Some(software(Interruption::int(instruction.immediate8())).into());
        }
        Code::Int3 => return Some(software(Interruption::int3()).into()),
        Code::Into => return Some(software(Interruption::into()).into()),
        Code::Int1 => {
            let kind = ia32::InterruptionKind::Icebp { length };
            return Some(Interruption { kind, ..Interruption::icebp() }.into());
        }
        Code::Iretd => {
            return Some(ia32::Iret { size: OperandSize::Bits32, length }.into());
        }
        Code::Iretw => {
            return Some(ia32::Iret { size: OperandSize::Bits16, length }.into());
        }
        _ => {}
    }
    // An exception by an instruction. What decides its error code is not modelled: the one that
    // was pushed is taken, and delivery judged.
    if entry.kind != Kind::Fault || entry.vector.class() != Class::Fault {
        return None;
    }
    Some(Interruption::fault(entry.vector, entry.frame.get(Word::ErrorCode)).into())
}
