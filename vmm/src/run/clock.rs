//! Three clocks that the guest's timer can run on.
//!
//! The real clock is the time that the guest ran, or waited. While esp0 looks at a stop it stands still:
//! else a timer would go on meanwhile, and where stops are dear its interrupts would nest until the stack
//! overflows. It can be slowed by a factor: under emulation a tick of 2 ms leaves a kernel no time to start its
//! first process, which it has on any real machine. While the guest waits in HLT nothing is gained by that,
//! and its time goes on as fast as ours.
//!
//! The deterministic clock counts instructions: one for each instruction boundary at which an
//! external interrupt could have been taken, and one for each access to a device. Between
//! boundaries with interrupts closed no time passes, for no interrupt could arrive there anyway. A
//! run on it can be repeated to the byte.
//!
//! The clock of exits counts how often the guest has left the VM by itself: where it accesses a device, stops at
//! a probe, waits, or opens the window that an interrupt waits for. What lies between is decided by the guest
//! alone, so a run on it repeats as well, and it runs freely. A guest that computes without an exit is taken by
//! surprise now and then; what is to be done for that to repeat is in `by_exits`.

use std::time::{Duration, Instant};

/// Which clock the timer runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockChoice {
    /// The time that the guest ran.
    Real,
    /// The time that the guest ran, divided.
    Slowed {
        /// By how much.
        factor: u32,
    },
    /// Counted instructions.
    Deterministic {
        /// How long an instruction takes, in nanoseconds of the guest's time.
        nanoseconds_per_instruction: u64,
    },
    /// Counted exits.
    Exits {
        /// How long an exit takes, in nanoseconds of the guest's time. An access to a device takes as much once
        /// more.
        nanoseconds_per_exit: u64,
    },
}

impl ClockChoice {
    /// A tick of 1000 Hz has a hundred exits to itself: several times what its own handler takes.
    pub const EXITS: ClockChoice = ClockChoice::Exits { nanoseconds_per_exit: 10_000 };

    /// A tick of 100 Hz every 250 instructions: slow enough for a timer to be seen at work in a
    /// short program, and each of its instructions is stepped.
    pub const DETERMINISTIC: ClockChoice =
        ClockChoice::Deterministic { nanoseconds_per_instruction: 40_000 };

    /// Time passes by itself, slowed or not.
    pub fn is_real(self) -> bool {
        matches!(self, ClockChoice::Real | ClockChoice::Slowed { .. })
    }
}

/// How much is to be known of what a guest does, and what its timer runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The guest is caught where something happens.
    Ordinary(ClockChoice),
    /// The state before each event is known and all of memory is compared. Everything is stepped for that, so time is
    /// counted in instructions.
    Exact {
        /// How long an instruction takes, in nanoseconds of the guest's time.
        nanoseconds_per_instruction: u64,
    },
}

impl Mode {
    /// The mode on this clock; none if it is to be exact on a clock that does not count instructions.
    pub fn new(clock: ClockChoice, exact: bool) -> Option<Self> {
        match clock {
            clock if !exact => Some(Mode::Ordinary(clock)),
            ClockChoice::Deterministic { nanoseconds_per_instruction } => {
                Some(Mode::Exact { nanoseconds_per_instruction })
            }
            _ => None,
        }
    }

    /// What the timer runs on.
    pub fn clock(self) -> ClockChoice {
        match self {
            Mode::Ordinary(clock) => clock,
            Mode::Exact { nanoseconds_per_instruction } => {
                ClockChoice::Deterministic { nanoseconds_per_instruction }
            }
        }
    }
}

/// The guest's time. A copy of it goes on by itself.
#[derive(Clone, Debug)]
pub(super) enum Clock {
    /// The time that the guest ran.
    Real(Stopwatch),
    /// Counted instructions.
    Counted(Counter),
    /// Counted exits.
    Exits(Counter),
}

/// The time that the guest ran.
#[derive(Clone, Debug)]
pub(super) struct Stopwatch {
    /// Nanoseconds up to the last stop.
    ran: u64,
    /// So many nanoseconds of ours are one of the guest's while it runs.
    factor: u32,
    /// What is left of one.
    rest: u64,
}

impl Stopwatch {
    fn ran_for(&mut self, nanoseconds: u64) {
        let factor = u64::from(self.factor);
        let all = self.rest + nanoseconds;
        self.ran += all / factor;
        self.rest = all % factor;
    }
}

/// Counted instructions or exits, and the time that the guest waited in HLT.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    nanoseconds_each: u64,
    counted: u64,
    idle: u64,
}

impl Counter {
    fn new(nanoseconds_each: u64) -> Self {
        Counter { nanoseconds_each, counted: 0, idle: 0 }
    }

    #[inline]
    fn now(&self) -> u64 {
        self.counted * self.nanoseconds_each + self.idle
    }
}

impl Clock {
    pub(super) fn new(choice: ClockChoice) -> Self {
        match choice {
            ClockChoice::Real => Clock::Real(Stopwatch { ran: 0, factor: 1, rest: 0 }),
            ClockChoice::Slowed { factor } => {
                Clock::Real(Stopwatch { ran: 0, factor: factor.max(1), rest: 0 })
            }
            ClockChoice::Deterministic { nanoseconds_per_instruction } => {
                Clock::Counted(Counter::new(nanoseconds_per_instruction))
            }
            ClockChoice::Exits { nanoseconds_per_exit } => {
                Clock::Exits(Counter::new(nanoseconds_per_exit))
            }
        }
    }

    pub(super) fn is_deterministic(&self) -> bool {
        matches!(self, Clock::Counted(_))
    }

    #[inline]
    pub(super) fn counts_exits(&self) -> bool {
        matches!(self, Clock::Exits(_))
    }

    /// Nanoseconds since the guest was started.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        match self {
            Clock::Real(watch) => watch.ran,
            Clock::Counted(count) | Clock::Exits(count) => count.now(),
        }
    }

    /// Instructions or exits counted; 0 on the real clock.
    #[inline]
    pub(super) fn counted(&self) -> u64 {
        match self {
            Clock::Real(_) => 0,
            Clock::Counted(count) | Clock::Exits(count) => count.counted,
        }
    }

    /// One instruction has been executed.
    #[inline]
    pub(super) fn tick(&mut self) {
        if let Clock::Counted(count) = self {
            count.counted += 1;
        }
    }

    /// One device has been accessed.
    #[inline]
    pub(super) fn access(&mut self) {
        if let Clock::Counted(count) | Clock::Exits(count) = self {
            count.counted += 1;
        }
    }

    /// The guest has left the VM by itself.
    #[inline]
    pub(super) fn exit(&mut self) {
        if let Clock::Exits(count) = self {
            count.counted += 1;
        }
    }

    /// The guest ran since `begun`.
    #[inline]
    pub(super) fn passed_since(&mut self, begun: Instant) {
        if let Clock::Real(watch) = self {
            watch.ran_for(begun.elapsed().as_nanos() as u64);
        }
    }

    /// The guest waited since `begun`.
    pub(super) fn waited_since(&mut self, begun: Instant) {
        if let Clock::Real(watch) = self {
            watch.ran += begun.elapsed().as_nanos() as u64;
        }
    }

    /// How long the guest has to run for its time to be `deadline`.
    #[inline]
    pub(super) fn to_run_until(&self, deadline: u64) -> Duration {
        let factor = match self {
            Clock::Real(watch) => watch.factor,
            Clock::Counted(_) | Clock::Exits(_) => 1,
        };
        Duration::from_nanos(deadline.saturating_sub(self.now()).saturating_mul(factor.into()))
    }

    /// The guest waits: time goes on to `deadline`, on the real clock by `most` at most.
    pub(super) fn wait_until(&mut self, deadline: u64, most: Duration) {
        let wait = deadline.saturating_sub(self.now());
        match self {
            Clock::Real(_) => {
                let begun = Instant::now();
                std::thread::sleep(Duration::from_nanos(wait).min(most));
                self.waited_since(begun);
            }
            Clock::Counted(count) | Clock::Exits(count) => count.idle += wait,
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
        assert_eq!((clock.now(), clock.counted()), (20, 2));
        clock.passed_since(Instant::now() - Duration::from_secs(1));
        assert_eq!(clock.now(), 20);
        clock.wait_until(1000, Duration::MAX);
        clock.wait_until(500, Duration::MAX);
        assert_eq!((clock.now(), clock.counted()), (1000, 2));
    }

    #[test]
    fn the_clock_of_exits_moves_by_exits_accesses_and_waiting_only() {
        let mut clock = Clock::new(ClockChoice::Exits { nanoseconds_per_exit: 10 });
        clock.exit();
        clock.access();
        clock.tick();
        assert_eq!((clock.now(), clock.counted()), (20, 2));
        clock.passed_since(Instant::now() - Duration::from_secs(1));
        clock.wait_until(100, Duration::MAX);
        assert_eq!((clock.now(), clock.counted()), (100, 2));
    }

    #[test]
    fn a_slowed_clock_is_slow_while_the_guest_runs_and_not_while_it_waits() {
        let mut clock = Clock::new(ClockChoice::Slowed { factor: 1000 });
        clock.passed_since(Instant::now() - Duration::from_secs(1));
        let ran = clock.now();
        assert!((1_000_000..100_000_000).contains(&ran), "{ran}");
        assert_eq!(clock.to_run_until(ran + 5), Duration::from_nanos(5000));
        clock.wait_until(ran + 1_000_000, Duration::MAX);
        assert!(clock.now() >= ran + 1_000_000);
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
        clock.wait_until(clock.now() + 1_000_000, Duration::MAX);
        assert!(clock.now() >= 3_000_000 && clock.counted() == 0);
    }
}
