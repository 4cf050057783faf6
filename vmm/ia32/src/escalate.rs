//! What follows a fault (SDM vol. 3A, "Interrupt 8—Double fault exception").
//!
//! | first, while it is delivered | a second: benign | contributory | page fault |
//! | --- | --- | --- | --- |
//! | benign | serial | serial | serial |
//! | contributory | serial | #DF | serial |
//! | page fault | serial | #DF | #DF |
//! | #DF | serial | shutdown | shutdown |

use crate::event::{Severity, raised_kind};
use crate::execution::{Execution, Stop};
use crate::outcome::{Attempt, AttemptEnd, Outcome, RaisedFault};
use crate::{Branch, Interruption, Iret, Operation, Processor, ReadMemory, State};

/// What is done about a fault during another event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escalation {
    /// It is delivered instead; the first event comes again by itself or is lost.
    Serial,
    /// #DF is delivered instead.
    DoubleFault,
    /// The processor shuts down.
    Shutdown,
}

/// What is done about a fault of class `second` while an event of class `first` is delivered.
///
/// ```
/// use ia32::{Escalation, Severity, escalate};
/// assert_eq!(escalate(Severity::PageFault, Severity::PageFault), Escalation::DoubleFault);
/// assert_eq!(escalate(Severity::Contributory, Severity::PageFault), Escalation::Serial);
/// ```
pub const fn escalate(first: Severity, second: Severity) -> Escalation {
    match (first, second) {
        (_, Severity::Benign) | (Severity::Benign, _) => Escalation::Serial,
        (Severity::Contributory, Severity::PageFault) => Escalation::Serial,
        (Severity::DoubleFault, _) => Escalation::Shutdown,
        (Severity::Contributory | Severity::PageFault, _) => Escalation::DoubleFault,
    }
}

/// Does one operation, and stops at its first fault.
///
/// ```
/// use ia32::{AttemptEnd, Interruption, Processor, State, Vector, attempt};
/// // Protected mode with an empty IDT: INT 80H has no gate.
/// let mut state = State { cr0: 1, ..State::default() };
/// state.idtr.limit = 0;
/// let outcome = attempt(&state, &[0u8; 0], Interruption::int(0x80), &Processor::INTEL);
/// let fault = outcome.fault().unwrap();
/// assert_eq!((fault.vector, fault.error_code), (Vector::GP, 0x80 * 8 + 2));
/// ```
pub fn attempt<M: ReadMemory + ?Sized>(
    state: &State,
    memory: &M,
    operation: impl Into<Operation>,
    processor: &Processor,
) -> Outcome {
    let operation = operation.into();
    let mut outcome = Outcome::default();
    execute(&mut outcome, state, memory, processor, |execution| match execution.run(&operation) {
        Ok(()) => execution.settle(&operation, AttemptEnd::Completed),
        Err(Stop::Fault(fault)) => execution.settle(&operation, AttemptEnd::Fault(fault)),
        Err(Stop::Unmodelled(reason)) => {
            execution.settle(&operation, AttemptEnd::Unmodelled(reason))
        }
    });
    outcome
}

/// Delivers an event, and stops at the first fault.
pub fn deliver<M: ReadMemory + ?Sized>(
    state: &State,
    memory: &M,
    event: Interruption,
    processor: &Processor,
) -> Outcome {
    attempt(state, memory, event, processor)
}

/// Executes an IRET, and stops at the first fault.
pub fn iret<M: ReadMemory + ?Sized>(
    state: &State,
    memory: &M,
    iret: Iret,
    processor: &Processor,
) -> Outcome {
    attempt(state, memory, iret, processor)
}

/// Does an operation and follows its faults, until a handler or the interrupted code goes on, or the
/// processor shuts down. [`Outcome::attempts`] has the way there.
///
/// ```
/// use ia32::{AttemptEnd, Interruption, Processor, State, Vector, take};
/// // No IDT at all: #GP has no gate either, nor has #DF.
/// let state = State { cr0: 1, ..State::default() };
/// let outcome = take(&state, &[0u8; 0], Interruption::external(0x20), &Processor::INTEL);
/// assert_eq!(outcome.end, AttemptEnd::Shutdown);
/// let codes: Vec<u32> =
///     outcome.attempts.iter().filter_map(|attempt| attempt.fault).map(|f| f.error_code).collect();
/// assert_eq!(codes, [0x20 * 8 + 3, 13 * 8 + 3, 8 * 8 + 3]);
/// ```
pub fn take<M: ReadMemory + ?Sized>(
    state: &State,
    memory: &M,
    operation: impl Into<Operation>,
    processor: &Processor,
) -> Outcome {
    let mut outcome = Outcome::default();
    take_into(&mut outcome, state, memory, operation, processor);
    outcome
}

/// [`take`], with the result in place of what `outcome` holds. An outcome has some 18 KiB, most of
/// them room for writes: who asks often saves clearing and copying it.
pub fn take_into<M: ReadMemory + ?Sized>(
    outcome: &mut Outcome,
    state: &State,
    memory: &M,
    operation: impl Into<Operation>,
    processor: &Processor,
) {
    let operation = operation.into();
    execute(outcome, state, memory, processor, |execution| execution.follow(operation));
}

/// Sets up an execution that fills `outcome`, and lets `run` say how it ends.
fn execute<M: ReadMemory + ?Sized>(
    outcome: &mut Outcome,
    state: &State,
    memory: &M,
    processor: &Processor,
    run: impl FnOnce(&mut Execution<'_, M>) -> AttemptEnd,
) {
    let Outcome { writes, trace, .. } = outcome;
    let mut execution = Execution::new(state, memory, processor, writes, trace);
    let end = run(&mut execution);
    let Execution { state, undefined, unspecified, debug_trap, attempts, .. } = execution;
    outcome.end = end;
    outcome.state = state;
    outcome.undefined = undefined;
    outcome.unspecified = unspecified;
    outcome.debug_trap = debug_trap;
    outcome.attempts = attempts;
}

/// The event that delivers a fault.
const fn raised(fault: &RaisedFault) -> Interruption {
    Interruption {
        vector: fault.vector,
        kind: raised_kind(fault.vector),
        error_code: Some(fault.error_code),
        repeating: false,
    }
}

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    /// Does an operation and follows its faults.
    fn follow(&mut self, mut operation: Operation) -> AttemptEnd {
        loop {
            let fault = match self.run(&operation) {
                Ok(()) => return self.settle(&operation, AttemptEnd::Completed),
                Err(Stop::Unmodelled(reason)) => {
                    return self.settle(&operation, AttemptEnd::Unmodelled(reason));
                }
                Err(Stop::Fault(fault)) => fault,
            };
            self.settle(&operation, AttemptEnd::Fault(fault));
            self.note(Branch::FaultRaised, u32::from(fault.vector.0));
            operation = match escalate(operation.severity(), Severity::of(fault.vector)) {
                Escalation::Serial => {
                    self.note(Branch::ChainSerial, 0);
                    raised(&fault).into()
                }
                Escalation::DoubleFault => {
                    self.note(Branch::ChainDoubleFault, 0);
                    Interruption::double_fault().into()
                }
                Escalation::Shutdown => {
                    self.note(Branch::ChainShutdown, 0);
                    return AttemptEnd::Shutdown;
                }
            };
            if self.attempts.is_full() {
                self.note(Branch::ChainEndless, 0);
                return AttemptEnd::Endless;
            }
        }
    }

    /// Records how an operation ended, and what a fault leaves behind.
    fn settle(&mut self, operation: &Operation, end: AttemptEnd) -> AttemptEnd {
        let fault = match end {
            AttemptEnd::Fault(fault) => Some(fault),
            _ => None,
        };
        if let Some(fault) = fault {
            self.writes.make_possible(self.committed);
            if let Some(address) = fault.address {
                self.state.cr2 = address;
            }
        }
        self.attempts.push(Attempt { operation: *operation, fault });
        end
    }
}
