//! A crossing of rings by a call gate: the far CALL inwards, and the far RET outwards.
//!
//! A far CALL that names a call gate goes on at the gate's CS:EIP. Where that is code of an inner ring, the processor takes
//! SS0:ESP0 from the TSS, as for an interrupt, pushes the caller's SS:ESP, copies as many words of the caller's stack as the
//! gate says, and pushes CS:EIP. It pushes no EFLAGS and changes none (SDM vol. 3A, "Accessing a code segment through a
//! call gate" and "Stack switching"). A far RET goes back, with the parameters' bytes as its operand.
//! ```text
//!        SS0:ESP0 ──►  ┌──────────────┐
//!                      │ SS           │  the caller's
//!                      │ ESP          │
//!                      │ parameter n  │  copied from the caller's stack,
//!                      │ …            │  from its ESP on
//!                      │ parameter 1  │
//!                      │ CS           │
//!             ESP ──►  │ EIP          │  behind the far CALL
//!                      └──────────────┘
//! ```

use super::InnerStack;
use super::capture::inner_stack;
use crate::instruction::valid_32;
use crate::machine::{LinearMemory, Machine};
use crate::probe::{CallGate, FarReturn, Probes};
use ia32::{Selector, State};
use iced_x86::Code;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossingWay {
    /// Inwards: a far CALL has gone through this gate.
    Call(CallGate),
    /// Outwards: a far RET is about to be executed.
    Return {
        /// Bytes of parameters that it removes.
        removes: u16,
    },
}

/// The words of a call gate's frame: EIP, CS, parameters, ESP, SS, lowest address first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFrame {
    /// Linear address of EIP.
    pub address: u32,
    /// Its physical address.
    pub physical: u64,
    /// All words.
    pub words: Vec<u32>,
}

impl CallFrame {
    /// Reads one with so many parameters; none if part of it is not mapped.
    pub(crate) fn read(linear: &LinearMemory<'_>, address: u32, parameters: usize) -> Option<Self> {
        let words = (address..).step_by(4).take(4 + parameters).map(|at| linear.read_u32(at));
        let physical = linear.paging.translate(linear.memory, address)?;
        Some(CallFrame { address, physical, words: words.collect::<Option<_>>()? })
    }

    /// EIP of the caller, behind the far CALL.
    pub fn eip(&self) -> u32 {
        self.words[0]
    }

    /// CS of the caller.
    pub fn cs(&self) -> Selector {
        Selector(self.words[1] as u16)
    }

    /// The parameters, the last that the caller has pushed first.
    pub fn parameters(&self) -> &[u32] {
        &self.words[2..self.words.len() - 2]
    }

    /// ESP of the caller.
    pub fn esp(&self) -> u32 {
        self.words[self.words.len() - 2]
    }

    /// SS of the caller.
    pub fn ss(&self) -> Selector {
        Selector(self.words[self.words.len() - 1] as u16)
    }

    /// Bytes.
    pub fn size(&self) -> u32 {
        4 * self.words.len() as u32
    }

    /// Linear address behind it: ESP0 as it was.
    pub fn end(&self) -> u32 {
        self.address.wrapping_add(self.size())
    }
}

/// One crossing.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// The number of the last entry through a gate of the IDT before it.
    pub after_sequence: u64,
    /// Instructions on the deterministic clock; 0 on the real one.
    pub time: u64,
    /// Which way.
    pub way: CrossingWay,
    /// The state in front of the far CALL, where it was seen.
    pub before: Option<Box<State>>,
    /// The state in front of the gate's target, or of the far RET.
    pub state: State,
    /// SS0:ESP0; none if TR holds no TSS that can be read.
    pub inner_stack: Option<InnerStack>,
    /// What was pushed, or is going to be popped: with as many parameters as the gate copies, or the RET removes.
    pub frame: CallFrame,
    /// Bytes of the far CALL that was seen in front of the pushed CS:EIP, or at the state before.
    pub call_length: Option<u32>,
    /// What stands on the caller's stack, from the pushed ESP on, where nothing can have run since.
    pub callers: Option<Vec<u32>>,
}

impl Crossing {
    /// The ring that is left.
    pub fn from_ring(&self) -> u8 {
        match self.way {
            CrossingWay::Call(_) => {
                self.before.as_ref().map_or(self.frame.cs().rpl(), |one| one.cpl())
            }
            CrossingWay::Return { .. } => self.state.cpl(),
        }
    }

    /// The ring that is gone to.
    pub fn to_ring(&self) -> u8 {
        match self.way {
            CrossingWay::Call(_) => self.state.cpl(),
            CrossingWay::Return { .. } => self.frame.cs().rpl(),
        }
    }

    /// It leads inwards.
    pub fn is_call(&self) -> bool {
        matches!(self.way, CrossingWay::Call(_))
    }
}

/// What is known of a stop at the target of call gates, beside the stop itself.
#[derive(Debug, Default)]
pub(crate) struct CallScene {
    /// The state in front of the instruction that has led there, which is a far CALL of an outer ring.
    pub(crate) before: Option<Box<State>>,
    /// An outer ring was left last, by all that is known: nothing has run in the kernel since.
    pub(crate) from_outside: bool,
    pub(crate) sequence: u64,
    pub(crate) time: u64,
}

/// The entry by one of `gates`, all of which lead to where the guest has stopped in `state`; none if what lies on its stack is
/// no such frame: then it has come there in another way.
pub(crate) fn capture_call(
    machine: &Machine,
    probes: &Probes,
    gates: &[CallGate],
    state: &State,
    scene: CallScene,
) -> Option<Crossing> {
    let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
    let stack = inner_stack(&linear, state);
    let known = scene.before.as_ref().map(|before| {
        let mut code = [0; 15];
        let count = probes.read_code(&linear, before.instruction_address(), &mut code);
        far_call(&code[..count])
    });
    let (gate, frame, length) = gates.iter().find_map(|gate| {
        let frame = CallFrame::read(&linear, state.stack_address(), gate.parameters.into())?;
        let call = match known {
            Some(call) => call,
            None => frame_is_whole(&frame, state, stack)
                .then(|| far_call_behind(probes, &linear, state, &frame))
                .flatten(),
        };
        let (length, selector) = call?;
        let names_it = selector.is_none_or(|selector| selector & !3 == gate.selector);
        names_it.then_some((*gate, frame, length))
    })?;
    // An interrupt's handler may have run in between, and changed them.
    let may_be_compared = scene.from_outside || scene.before.is_some();
    let callers = match linear.descriptor(state, frame.ss()) {
        Some(segment) if may_be_compared => {
            let from = segment.base().wrapping_add(frame.esp());
            let words = (from..).step_by(4).take(gate.parameters.into());
            words.map(|at| linear.read_u32(at)).collect()
        }
        _ => None,
    };
    Some(Crossing {
        after_sequence: scene.sequence,
        time: scene.time,
        way: CrossingWay::Call(gate),
        before: scene.before,
        state: *state,
        inner_stack: stack,
        frame,
        call_length: Some(length),
        callers,
    })
}

/// The far RET at which the guest has stopped in `state`, if it is going to leave for an outer ring.
pub(crate) fn capture_far_return(
    machine: &Machine,
    site: FarReturn,
    state: &State,
    sequence: u64,
    time: u64,
) -> Option<Crossing> {
    let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
    let parameters = usize::from(site.removes / 4);
    let frame = CallFrame::read(&linear, state.stack_address(), parameters)?;
    (frame.cs().rpl() > state.cpl()).then(|| Crossing {
        after_sequence: sequence,
        time,
        way: CrossingWay::Return { removes: site.removes },
        before: None,
        state: *state,
        inner_stack: inner_stack(&linear, state),
        frame,
        call_length: None,
        callers: None,
    })
}

/// The frame begins at SS0:ESP0, and its selectors are those of an outer ring.
fn frame_is_whole(frame: &CallFrame, state: &State, stack: Option<InnerStack>) -> bool {
    let begins = stack.is_some_and(|stack| {
        stack.ss == state.ss().selector
            && stack.esp.wrapping_sub(frame.size()) == state.stack_pointer()
    });
    begins && frame.cs().rpl() > state.cpl() && frame.ss().rpl() == frame.cs().rpl()
}

/// Bytes of the far CALL right before the CS:EIP that was pushed, and its selector where it has it inside.
fn far_call_behind(
    probes: &Probes,
    linear: &LinearMemory<'_>,
    state: &State,
    frame: &CallFrame,
) -> Option<(u32, Option<u16>)> {
    let base = linear.descriptor(state, frame.cs())?.base();
    let end = base.wrapping_add(frame.eip());
    // The one with its target inside has seven bytes; one through memory has two to seven, and a prefix.
    [7, 6, 2, 3, 4, 5, 8].into_iter().find_map(|length: u32| {
        let mut code = [0; 8];
        let code = &mut code[..length as usize];
        let read = probes.read_code(linear, end.wrapping_sub(length), code);
        let found = far_call(&code[..read])?;
        (found.0 == length).then_some(found)
    })
}

/// Bytes of the far CALL that `code` begins with, and its selector where it has it inside.
pub(crate) fn far_call(code: &[u8]) -> Option<(u32, Option<u16>)> {
    let instruction = valid_32(code, 0)?;
    let selector = match instruction.code() {
        Code::Call_ptr1632 => Some(instruction.far_branch_selector()),
        Code::Call_m1632 => None,
        _ => return None,
    };
    Some((instruction.len() as u32, selector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_call_is_told_from_others() {
        assert_eq!(far_call(&[0x9a, 0, 0, 0, 0, 0x33, 0]), Some((7, Some(0x33))));
        // call far [0x1000]; call far [esp]; call near [esp]; jmp far.
        assert_eq!(far_call(&[0xff, 0x1d, 0, 0x10, 0, 0]), Some((6, None)));
        assert_eq!(far_call(&[0xff, 0x1c, 0x24]), Some((3, None)));
        assert_eq!(far_call(&[0xff, 0x14, 0x24]), None);
        assert_eq!(far_call(&[0xea, 0, 0, 0, 0, 0x33, 0]), None);
        assert_eq!(far_call(&[0x9a, 0, 0]), None);
    }

    #[test]
    fn words_have_their_places() {
        let words = vec![0x1000, 0x1b, 7, 8, 0x3000, 0x23];
        let frame = CallFrame { address: 0x8000, physical: 0x8000, words };
        assert_eq!(
            (frame.eip(), frame.cs().0, frame.esp(), frame.ss().0),
            (0x1000, 0x1b, 0x3000, 0x23)
        );
        assert_eq!(frame.parameters(), [7, 8]);
        assert_eq!(frame.end(), 0x8018);
    }
}
