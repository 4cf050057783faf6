//! Why an IRET was refused: the model is asked.

use crate::check::objects::Objects;
use crate::entry::Ram;
use crate::host::processor;
use crate::instruction::valid_32;
use crate::machine::LinearMemory;
use ia32::{Branch, Descriptor, OperandSize, Outcome, RaisedFault, Selector, State, Word, attempt};

/// Why an IRET was refused.
#[derive(Clone, Debug)]
pub(in crate::check) struct Refusal {
    /// What the model says of it; none if it sees no reason.
    pub(in crate::check) fault: Option<RaisedFault>,
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
    /// All words there are the same.
    pub(in crate::check) blank: Option<Blank>,
    /// What is popped as EIP is where a call returns to.
    pub(in crate::check) called: Option<Called>,
}

/// Memory around a frame that holds one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct Blank {
    /// The value.
    pub(in crate::check) value: u32,
    /// Linear address of the first of the words.
    pub(in crate::check) start: u32,
    /// How many they are.
    pub(in crate::check) words: u32,
}

/// The words of a frame, and as many as a handler saves besides.
const FRAME: u32 = 5;
const AROUND: u32 = 16;

impl Blank {
    /// The words around `stack`, if those of a frame are all the same: no event pushes that.
    fn read(linear: &LinearMemory<'_>, stack: u32) -> Option<Blank> {
        let word = |index: u32| linear.read_u32(stack.wrapping_add(index.wrapping_mul(4)));
        let value = word(0)?;
        let is_same = |index: &u32| word(*index) == Some(value);
        let above = (0..FRAME + AROUND).take_while(is_same).count() as u32;
        let below = (1..=AROUND).take_while(|index| is_same(&index.wrapping_neg())).count() as u32;
        (above >= FRAME).then_some(Blank {
            value,
            start: stack.wrapping_sub(below * 4),
            words: below + above,
        })
    }
}

/// A call to the function that an IRET stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct Called {
    /// Linear address of the CALL.
    pub(in crate::check) call: u32,
    /// Linear address of the function.
    pub(in crate::check) function: u32,
}

impl Called {
    /// What `eip`, as it is popped, says of the IRET at `state`: a direct CALL ends there, and it leads to the function
    /// that the IRET stands in. Without symbols an IRET this near is taken for the function's own.
    fn read(linear: &LinearMemory<'_>, state: &State, objects: &Objects) -> Option<Called> {
        const NEAR: u32 = 64;
        const LENGTH: u32 = 5;
        let base = state.cs().base;
        let call = base.wrapping_add(linear.read_u32(state.stack_address())?).wrapping_sub(LENGTH);
        let mut code = [0; LENGTH as usize];
        linear.read(call, &mut code)?;
        let call_of = valid_32(&code, call).filter(|one| one.is_call_near())?;
        let function = call_of.near_branch32();
        let iret = state.instruction_address();
        let is_own = match objects.function_at(iret) {
            Some(own) => own.start == function,
            None => iret.wrapping_sub(function) < NEAR,
        };
        is_own.then_some(Called { call, function })
    }
}

impl Refusal {
    /// Asks the model what it makes of the IRET that the processor stood in front of in `state`; `narrow`:
    /// it pops words of two bytes.
    pub(super) fn ask(
        linear: &LinearMemory<'_>,
        state: &State,
        narrow: bool,
        objects: &Objects,
    ) -> Refusal {
        let (size, length) =
            if narrow { (OperandSize::Bits16, 2) } else { (OperandSize::Bits32, 1) };
        let iret = ia32::Iret { size, length };
        let outcome = attempt(state, &Ram(linear.memory), iret, &processor());
        let called = (!narrow).then(|| Called::read(linear, state, objects)).flatten();
        Refusal { called, ..Refusal::of(linear, state, size, &outcome) }
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
            blank: Blank::read(linear, state.stack_address()),
            called: None,
        }
    }
}
