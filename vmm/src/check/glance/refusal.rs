//! Why an IRET was refused: the model is asked.

use crate::entry::Ram;
use crate::host::processor;
use crate::machine::LinearMemory;
use ia32::{Branch, Descriptor, Fault, OperandSize, Outcome, Selector, State, Word, attempt};

/// Why an IRET was refused.
#[derive(Clone, Debug)]
pub(in crate::check) struct Refusal {
    /// What the model says of it; none if it sees no reason.
    pub(in crate::check) fault: Option<Fault>,
    /// The check that failed, in words.
    pub(in crate::check) check: String,
    /// The word that it is about.
    pub(in crate::check) word: Option<Word>,
    /// The descriptor that the popped CS names.
    pub(in crate::check) code: Option<Descriptor>,
    /// The descriptor that the word popped as EFLAGS names, were it a selector.
    pub(in crate::check) flags: Option<Descriptor>,
    /// The word popped as SS, or what would be, and the descriptor that it names.
    pub(in crate::check) stack: Option<(u16, Descriptor)>,
    /// The descriptor that the word popped as ESP names, were it a selector.
    pub(in crate::check) pointer: Option<Descriptor>,
}

impl Refusal {
    /// Asks the model what it makes of the IRET that the processor stood in front of in `state`; `narrow`:
    /// it pops words of two bytes.
    pub(super) fn ask(linear: &LinearMemory<'_>, state: &State, narrow: bool) -> Refusal {
        let (size, length) =
            if narrow { (OperandSize::Bits16, 2) } else { (OperandSize::Bits32, 1) };
        let iret = ia32::Iret { size, length };
        let outcome = attempt(state, &Ram(linear.memory), iret, &processor());
        Refusal::of(linear, state, size, &outcome)
    }

    fn of(
        linear: &LinearMemory<'_>,
        state: &State,
        size: OperandSize,
        outcome: &Outcome,
    ) -> Refusal {
        let word = |index: u32| {
            let at = state.stack_address().wrapping_add(index * size.bytes());
            linear.read_u16(at).map(Selector)
        };
        let named = |index| {
            let selector = word(index)?;
            Some((selector.0, linear.descriptor(state, selector)?))
        };
        let fault = outcome.fault();
        let step = fault.and_then(|fault| {
            outcome.trace.steps().iter().rfind(|step| step.branch == fault.branch).copied()
        });
        let about = fault.and_then(|fault| match fault.branch {
            Branch::ReturnCsNull
            | Branch::ReturnCsOutsideTable
            | Branch::ReturnCsNotCode
            | Branch::ReturnCsInner
            | Branch::ReturnCsConformingDpl
            | Branch::ReturnCsDpl
            | Branch::ReturnCsNotPresent => Some(Word::Cs),
            Branch::ReturnSsNull
            | Branch::ReturnSsOutsideTable
            | Branch::ReturnSsRpl
            | Branch::ReturnSsNotWritable
            | Branch::ReturnSsDpl
            | Branch::ReturnSsNotPresent => Some(Word::Ss),
            Branch::ReturnBeyondLimit | Branch::ReturnToVirtualBeyondLimit => Some(Word::Eip),
            _ => None,
        });
        Refusal {
            fault,
            check: step.map_or(String::new(), |step| step.to_string()),
            word: about,
            code: named(1).map(|(_, descriptor)| descriptor),
            flags: named(2).map(|(_, descriptor)| descriptor),
            stack: named(4),
            pointer: named(3).map(|(_, descriptor)| descriptor),
        }
    }
}
