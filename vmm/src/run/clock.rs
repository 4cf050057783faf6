//! Two clocks that the guest's timer can run on.
//!
//! The deterministic clock counts instructions: one for each instruction boundary at which an
//! external interrupt could have been taken, and one for each access to a device. Between
//! boundaries with interrupts closed no time passes, for no interrupt could arrive there anyway. A
//! run on it can be repeated to the byte.

use std::time::{Duration, Instant};

/// Which clock the timer runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockChoice {
    /// Wall-clock time.
    Real,
    /// Counted instructions.
    Deterministic {
        /// How long an instruction takes, in nanoseconds of the guest's time.
        nanoseconds_per_instruction: u64,
    },
}

impl ClockChoice {
    /// A tick of 100 Hz every 250 instructions: slow enough for a timer to be seen at work in a
    /// short program, and each of its instructions is stepped.
    pub const DETERMINISTIC: ClockChoice =
        ClockChoice::Deterministic { nanoseconds_per_instruction: 40_000 };
}

/// The guest's time.
#[derive(Debug)]
pub(super) struct Clock {
    choice: ClockChoice,
    start: Instant,
    instructions: u64,
    /// Time that passed while the guest waited in HLT.
    idle: u64,
}

impl Clock {
    pub(super) fn new(choice: ClockChoice) -> Self {
        Clock { choice, start: Instant::now(), instructions: 0, idle: 0 }
    }

    pub(super) fn is_deterministic(&self) -> bool {
        matches!(self.choice, ClockChoice::Deterministic { .. })
    }

    /// Nanoseconds since the guest was started.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        match self.choice {
            ClockChoice::Real => self.start.elapsed().as_nanos() as u64,
            ClockChoice::Deterministic { nanoseconds_per_instruction } => {
                self.instructions * nanoseconds_per_instruction + self.idle
            }
        }
    }

    /// Instructions counted; 0 on the real clock.
    #[inline]
    pub(super) fn instructions(&self) -> u64 {
        self.instructions
    }

    /// One instruction has been executed, or one device accessed.
    #[inline]
    pub(super) fn tick(&mut self) {
        if self.is_deterministic() {
            self.instructions += 1;
        }
    }

    /// The guest waits: time goes on to `deadline`.
    pub(super) fn wait_until(&mut self, deadline: u64) {
        let wait = deadline.saturating_sub(self.now());
        match self.choice {
            ClockChoice::Real => std::thread::sleep(Duration::from_nanos(wait)),
            ClockChoice::Deterministic { .. } => self.idle += wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deterministic_clock_moves_by_instructions_and_waiting_only() {
        let mut clock = Clock::new(ClockChoice::Deterministic { nanoseconds_per_instruction: 10 });
        clock.tick();
        clock.tick();
        assert_eq!((clock.now(), clock.instructions()), (20, 2));
        clock.wait_until(1000);
        clock.wait_until(500);
        assert_eq!((clock.now(), clock.instructions()), (1000, 2));
    }
}
