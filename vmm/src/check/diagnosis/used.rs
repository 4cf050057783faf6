//! The vectors that were entered: whether interrupts came by those of exceptions, and whether their
//! handlers can return at all.

use super::{Aftermath, Placed};
use crate::check::{Finding, Subject};
use crate::entry::{Entry, Kind};
use crate::instruction::decode_32;
use ia32::Vector;
use iced_x86::{FlowControl, Mnemonic};
use std::collections::BTreeSet;

/// How many instructions of a handler are looked at.
const LOOKED_AT: usize = 500;

/// What is known of a vector.
#[derive(Clone, Copy, Debug)]
struct Vectored {
    vector: Vector,
    kind: Kind,
    /// Where its gate led.
    handler: u32,
    first: u64,
    last: u64,
    entries: u64,
    /// An IRET was seen right behind one of its entries.
    returned: bool,
}

/// The vectors that were entered, in the order of their first entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Used(Vec<Vectored>);

impl Used {
    /// A vector was entered.
    #[inline]
    pub(super) fn enter(&mut self, entry: &Entry) {
        let handler = entry.after.instruction_address();
        match self.0.iter_mut().find(|used| used.vector == entry.vector) {
            Some(used) => {
                used.last = entry.sequence;
                used.entries += 1;
                used.handler = handler;
            }
            None => self.0.push(Vectored {
                vector: entry.vector,
                kind: entry.kind,
                handler,
                first: entry.sequence,
                last: entry.sequence,
                entries: 1,
                returned: false,
            }),
        }
    }

    /// An IRET came behind an entry by `vector`.
    #[inline]
    pub(super) fn leave(&mut self, vector: Option<Vector>) {
        if let Some(used) = self.0.iter_mut().find(|used| Some(used.vector) == vector) {
            used.returned = true;
        }
    }

    /// The last entry by `vector`.
    pub(super) fn last(&self, vector: Vector) -> Option<u64> {
        self.0.iter().find(|used| used.vector == vector).map(|used| used.last)
    }

    /// Interrupts come by vectors from 32 on: those below are the exceptions' (SDM vol. 3A, "Exception and
    /// interrupt vectors"). A note: a kernel that handles them there may know what it does.
    pub(super) fn exceptions_vector(&self, aftermath: &Aftermath<'_>) -> Option<Placed> {
        let used = self.0.iter().find(|used| used.kind == Kind::External && used.vector.0 < 32)?;
        let vector = used.vector.0;
        let finding = Finding::new(
            "irq_vector",
            Subject::Kernel,
            format!("IRQ {} came as vector {vector}, which is {}'s", vector & 7, used.vector),
            "vectors from 32 on for interrupts",
            format!("the 8259's base is {:02x}", vector & !7),
        )
        .because("the handler cannot tell the interrupt from the exception, and gets no error code")
        .advise("write 0x20 as ICW2 to port 0x21, and 0x28 to port 0xa1")
        .as_note();
        Some((format!("#{} at {}", used.first, aftermath.place(used.handler)), finding))
    }

    /// A handler that was entered again and again ends in an IRET, not in RET.
    ///
    /// RET takes EIP off the stack and leaves CS and EFLAGS there; IF stays 0. Looked for in the handler's
    /// own code, calls left aside, where no return was seen behind any of its entries.
    pub(super) fn no_iret(&self, aftermath: &Aftermath<'_>) -> Option<Placed> {
        let used = self.0.iter().find(|used| {
            !used.returned
                && matches!(used.kind, Kind::External | Kind::Software)
                && !aftermath.end.ending.is_good()
                && ends_in_ret(aftermath, used.handler)
        })?;
        let finding = Finding::new(
            "handler_end",
            Subject::Kernel,
            format!("the handler of vector {:#04x} ends in RET", used.vector.0),
            "an IRET at its end",
            format!("RET, and no IRET that its code leads to; {} entries, no return", used.entries),
        )
        .because(
            "RET takes EIP off the stack, leaves CS and EFLAGS there, and IF as it is: a function of C is \
             no handler",
        )
        .advise("let the gate name a stub of assembly: save the registers, call the function, restore, IRET");
        Some((format!("#{} at {}", used.first, aftermath.place(used.handler)), finding))
    }
}

/// All ways through the code at `start`, calls left aside, end in RET, and none in an IRET or unknown.
fn ends_in_ret(aftermath: &Aftermath<'_>, start: u32) -> bool {
    let state = &aftermath.end.state;
    let (mut open, mut seen) = (vec![start], BTreeSet::new());
    let mut found = false;
    while let Some(at) = open.pop() {
        if !seen.insert(at) {
            continue;
        }
        let code = aftermath.code(state, at);
        let instruction = decode_32(&code, at);
        if instruction.is_invalid() || seen.len() > LOOKED_AT {
            return false;
        }
        match instruction.flow_control() {
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => found = true,
            FlowControl::Return
            | FlowControl::IndirectBranch
            | FlowControl::Exception
            | FlowControl::XbeginXabortXend => return false,
            FlowControl::UnconditionalBranch => {
                if instruction.is_jmp_far() {
                    return false;
                }
                open.push(instruction.near_branch32());
            }
            FlowControl::ConditionalBranch => {
                open.extend([instruction.near_branch32(), instruction.next_ip32()]);
            }
            FlowControl::Next
            | FlowControl::Call
            | FlowControl::IndirectCall
            | FlowControl::Interrupt => open.push(instruction.next_ip32()),
        }
    }
    found
}
