//! Why one of the doctor's guests stopped, in its own terms.

use super::layout::{self, OUT, PORT};
use crate::machine::{Exit, Machine};
use ia32::{State, Vector};
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
            Stop::Exit(exit) => exit.fmt(f),
        }
    }
}
