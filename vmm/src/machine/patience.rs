//! How long to wait for a vCPU that has only a few instructions to execute.
//!
//! A limit by the clock on the wall condemns a KVM for what else its machine has to do: two seconds went by once in
//! which nothing of a virtual machine ran at all. So the wait is cut into slices, each of which enters the guest
//! anew, and what counts is how many of them changed nothing. A machine that stood still for a minute has
//! used up one slice; a guest that is lost uses up all.

use ia32::State;
use std::time::Duration;

/// How often in a row nothing may have happened.
const STILL: u32 = 16;
/// A guest that goes round in circles has something happen each time.
const MOST: u32 = 160;

/// Counts the slices of one wait.
#[derive(Debug)]
pub struct Patience {
    last: Option<Box<State>>,
    still: u32,
    all: u32,
}

impl Patience {
    /// What the alarm is set to for each slice.
    pub const SLICE: Duration = Duration::from_millis(250);

    /// A wait that begins now.
    pub fn new() -> Self {
        Patience { last: None, still: 0, all: 0 }
    }

    /// The alarm has interrupted the vCPU in `state`: whether to let it run on.
    pub fn lasts(&mut self, state: &State) -> bool {
        self.all += 1;
        if self.last.as_deref() == Some(state) {
            self.still += 1;
        } else {
            self.still = 0;
            self.last = Some(Box::new(*state));
        }
        self.still < STILL && self.all < MOST
    }
}

impl Default for Patience {
    fn default() -> Self {
        Patience::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_moves_is_waited_for_longer_and_none_for_ever() {
        let count = |moves: fn(u32) -> u32| {
            let mut patience = Patience::new();
            (1..).find(|n| !patience.lasts(&State { eip: moves(*n), ..State::default() }))
        };
        assert_eq!(count(|_| 7), Some(STILL + 1));
        assert_eq!(count(|n| n / 10), Some(MOST));
        assert_eq!(count(|n| n.min(40)), Some(40 + STILL));
    }
}
