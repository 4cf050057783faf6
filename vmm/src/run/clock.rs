//! Two clocks that the guest's timer can run on.
//!
//! The real clock is the time that the guest ran, or waited. While esp0 looks at a stop it stands still:
//! else a timer would go on meanwhile, and where stops are dear its interrupts would nest until the stack
//! overflows.
//!
//! The deterministic clock counts instructions: one for each instruction boundary at which an
//! external interrupt could have been taken, and one for each access to a device. Between
//! boundaries with interrupts closed no time passes, for no interrupt could arrive there anyway. A
//! run on it can be repeated to the byte.

use std::time::{Duration, Instant};

/// Which clock the timer runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockChoice {
    /// The time that the guest ran.
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

/// The guest's time. A copy of it goes on by itself.
#[derive(Clone, Debug)]
pub(super) enum Clock {
    /// The time that the guest ran.
    Real(Stopwatch),
    /// Counted instructions.
    Counted(Counter),
}

/// The time that the guest ran.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopwatch {
    /// Nanoseconds up to the last stop.
    ran: u64,
}

/// Counted instructions, and the time that the guest waited in HLT.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    nanoseconds_per_instruction: u64,
    instructions: u64,
    idle: u64,
}

impl Clock {
    pub(super) fn new(choice: ClockChoice) -> Self {
        match choice {
            ClockChoice::Real => Clock::Real(Stopwatch::default()),
            ClockChoice::Deterministic { nanoseconds_per_instruction } => {
                Clock::Counted(Counter { nanoseconds_per_instruction, instructions: 0, idle: 0 })
            }
        }
    }

    pub(super) fn is_deterministic(&self) -> bool {
        matches!(self, Clock::Counted(_))
    }

    /// Nanoseconds since the guest was started.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        match self {
            Clock::Real(watch) => watch.ran,
            Clock::Counted(count) => {
                count.instructions * count.nanoseconds_per_instruction + count.idle
            }
        }
    }

    /// Instructions counted; 0 on the real clock.
    #[inline]
    pub(super) fn instructions(&self) -> u64 {
        match self {
            Clock::Real(_) => 0,
            Clock::Counted(count) => count.instructions,
        }
    }

    /// One instruction has been executed, or one device accessed.
    #[inline]
    pub(super) fn tick(&mut self) {
        if let Clock::Counted(count) = self {
            count.instructions += 1;
        }
    }

    /// The guest ran, or waited, since `begun`.
    #[inline]
    pub(super) fn passed_since(&mut self, begun: Instant) {
        if let Clock::Real(watch) = self {
            watch.ran += begun.elapsed().as_nanos() as u64;
        }
    }

    /// The guest waits: time goes on to `deadline`.
    pub(super) fn wait_until(&mut self, deadline: u64) {
        let wait = deadline.saturating_sub(self.now());
        match self {
            Clock::Real(_) => {
                let begun = Instant::now();
                std::thread::sleep(Duration::from_nanos(wait));
                self.passed_since(begun);
            }
            Clock::Counted(count) => count.idle += wait,
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
        clock.passed_since(Instant::now() - Duration::from_secs(1));
        assert_eq!(clock.now(), 20);
        clock.wait_until(1000);
        clock.wait_until(500);
        assert_eq!((clock.now(), clock.instructions()), (1000, 2));
    }

    #[test]
    fn the_real_clock_stands_still_while_the_guest_does() {
        let mut clock = Clock::new(ClockChoice::Real);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(clock.now(), 0);
        let begun = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        clock.passed_since(begun);
        assert!(clock.now() >= 2_000_000);
        clock.wait_until(clock.now() + 1_000_000);
        assert!(clock.now() >= 3_000_000 && clock.instructions() == 0);
    }
}
