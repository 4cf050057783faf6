//! Why one of the doctor's guests stopped, in its own terms.

use super::layout::{self, OUT, PORT};
use crate::machine::{Exit, Machine};
use ia32::{State, Vector};
use kvm_bindings::KVM_EXIT_DEBUG;
use std::fmt;

/// Why a guest stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The handler of a vector was reached.
    Entry(Vector),
    /// The OUT at an address was reached.
    Marker(u32),
    /// Any other exit.
    Exit(Exit),
}

impl Stop {
    /// The stop that `exit` is.
    pub(super) fn of(exit: Exit, machine: &Machine, state: &State) -> Stop {
        if exit != (Exit::PortWrite { port: PORT.into(), size: 1 }) {
            return Stop::Exit(exit);
        }
        // Where exactly EIP points then is the subject of one trial, and must not spoil all others.
        let at = state.instruction_address();
        let here = [at, at.wrapping_sub(2)].into_iter().find(|address| {
            let mut bytes = [0; 2];
            machine.linear().read(*address, &mut bytes).is_some() && bytes == OUT
        });
        let at = here.unwrap_or(at);
        layout::vector_at(at).map_or(Stop::Marker(at), |vector| Stop::Entry(Vector(vector)))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Entry(vector) => write!(f, "an entry by {vector}"),
            Stop::Marker(address) => write!(f, "an OUT at {address:08x}"),
            Stop::Exit(exit) => match exit {
                Exit::PortWrite { port, .. } => write!(f, "an OUT to port {port:#x}"),
                Exit::PortRead { port, .. } => write!(f, "an IN from port {port:#x}"),
                Exit::MemoryRead { address, .. } => write!(f, "a read beyond RAM at {address:#x}"),
                Exit::MemoryWrite { address, .. } => {
                    write!(f, "a write beyond RAM at {address:#x}")
                }
                Exit::MsrRead { index } => write!(f, "RDMSR of register {index:#x}"),
                Exit::MsrWrite { index, .. } => write!(f, "WRMSR of register {index:#x}"),
                Exit::Halt => f.write_str("an exit by HLT"),
                Exit::InterruptWindow => f.write_str("an exit for an open interrupt window"),
                Exit::Step => f.write_str("one instruction stepped"),
                Exit::Breakpoint { address } => write!(f, "a breakpoint at {address:08x}"),
                Exit::Shutdown => f.write_str("a triple fault (KVM_EXIT_SHUTDOWN)"),
                Exit::InternalError { suberror, .. } => {
                    let what = match suberror {
                        1 => "an instruction that it cannot emulate",
                        2 => "two exceptions at once",
                        3 => "an event that it cannot deliver",
                        4 => "an exit that it does not expect",
                        _ => "an unknown reason",
                    };
                    write!(f, "KVM giving up: {what} (KVM_EXIT_INTERNAL_ERROR, {suberror})")
                }
                Exit::EntryFailed { reason } => {
                    write!(f, "the processor refusing the state ({reason:#x})")
                }
                Exit::Interrupted => f.write_str("nothing until the time limit"),
                Exit::Other(KVM_EXIT_DEBUG) => f.write_str("an exit for debugging"),
                Exit::Other(reason) => write!(f, "KVM exit {reason}"),
            },
        }
    }
}
