//! How a run ended.

use super::departure::Departure;
use super::{LastEvent, Run};
use crate::machine::MachineError;
use ia32::{State, Vector};
use std::fmt;

/// Why the guest runs no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It wrote 0 to the exit port.
    PoweredOff,
    /// It halted with interrupts closed, or with nothing that could wake it: for many kernels the
    /// last thing they do.
    Halted,
    /// It wrote a failure code to the exit port.
    Failed(
        /// The code.
        u32,
    ),
    /// It asked for a reset.
    Reset,
    /// A triple fault.
    TripleFault,
    /// KVM gave up.
    InternalError {
        /// KVM_INTERNAL_ERROR_*.
        suberror: u32,
        /// What KVM added.
        data: Vec<u64>,
    },
    /// The processor refused the guest's state.
    EntryFailed {
        /// The vendor's reason code.
        reason: u64,
    },
    /// KVM left for a reason that esp0 does not know.
    UnknownExit(
        /// Number of the exit reason.
        u32,
    ),
    /// The guest stands at an instruction that cannot be fetched, and KVM tries for ever.
    NoProgress,
    /// The time allowed was up.
    TimedOut,
    /// The user ended it.
    Stopped,
    /// The observer wanted no more: there are as many findings as the user asked for.
    Enough,
    /// The console said what the user waited for.
    Said(
        /// The text.
        String,
    ),
    /// It waits in HLT, which is the end that the user asked for.
    Idle,
}

impl Ending {
    /// The guest came to an end of its own or to the one that was asked for, and a good one.
    pub fn is_good(&self) -> bool {
        matches!(
            self,
            Ending::PoweredOff | Ending::Halted | Ending::Enough | Ending::Said(_) | Ending::Idle
        )
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::PoweredOff => f.write_str("the guest powered off"),
            Ending::Halted => f.write_str("the guest halted for good"),
            Ending::Failed(code) => write!(f, "the guest reported failure {code} on the exit port"),
            Ending::Reset => f.write_str("the guest asked for a reset"),
            Ending::TripleFault => f.write_str(
                "triple fault: an exception could not be delivered, nor the double fault",
            ),
            Ending::InternalError { suberror, data } => {
                let what = match suberror {
                    1 => "it could not emulate an instruction",
                    2 => "exceptions came at the same time",
                    3 => "an event could not be delivered",
                    4 => "the processor left the guest for an unexpected reason",
                    _ => "no reason given",
                };
                write!(f, "KVM gave up with internal error {suberror}: {what}")?;
                if !data.is_empty() {
                    write!(f, " (data")?;
                    for word in data {
                        write!(f, " {word:#x}")?;
                    }
                    write!(f, ")")?;
                }
                Ok(())
            }
            Ending::EntryFailed { reason } => {
                write!(f, "the processor refused to enter the guest (reason {reason:#x})")
            }
            Ending::UnknownExit(reason) => write!(f, "KVM left with unknown exit reason {reason}"),
            Ending::NoProgress => {
                f.write_str("the guest makes no progress: its next instruction cannot be fetched")
            }
            Ending::TimedOut => {
                f.write_str("time-out: the guest ran longer than it was allowed to")
            }
            Ending::Stopped => f.write_str("stopped by the user"),
            Ending::Enough => f.write_str("stopped at the number of findings that was asked for"),
            Ending::Said(text) => {
                write!(f, "the console said {text:?}, which is the end that was asked for")
            }
            Ending::Idle => {
                f.write_str("the guest waits in HLT, which is the end that was asked for")
            }
        }
    }
}

/// The end of a run with the last state that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub ending: Ending,
    /// The registers at the end; after a triple fault those of [`End::last_event`], or of the last stop
    /// before it.
    pub state: State,
    /// What ended in a fault that could not be handled, or in KVM's giving up, where that is known.
    pub last_event: Option<LastEvent>,
    /// An interrupt that the processor has been given, and whose handler has not been entered yet.
    pub arriving: Option<Vector>,
}

impl Run {
    /// How the run ended, with what is known of the last moment.
    pub(super) fn last_words(&mut self, ending: Ending) -> Result<End, MachineError> {
        let arriving = self.seen.departure.as_ref().and_then(Departure::interrupt);
        let arriving = arriving.or_else(|| self.machine.vcpu.interrupt_under_way());
        let last_event = match ending {
            Ending::TripleFault => self.last_event()?,
            Ending::InternalError { .. } => self.last_interrupt(),
            _ => None,
        };
        let state = match (&ending, &last_event) {
            (Ending::TripleFault, Some(last)) => last.before,
            (Ending::TripleFault, None) => self.seen.last_state,
            _ => self.machine.vcpu.state(),
        };
        Ok(End { ending, state, last_event, arriving })
    }
}
