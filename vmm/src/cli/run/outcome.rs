//! How a run came out, and whether it would come out so again.

use super::recording::Recorded;
use super::start::Start;
use esp0::run::{Counters, End, Run, TimeStampRead};

/// A run that has come to its end.
pub(super) struct Outcome {
    pub(super) run: Run,
    pub(super) end: End,
    /// What the run that was asked for has counted, whatever is run again.
    pub(super) counters: Counters,
    pub(super) repeats: Repeats,
    /// On a clock that counts: what keeps the guest from doing the same when it is run again.
    pub(super) time_stamp: Option<TimeStampRead>,
}

/// Whether the guest does the same when it is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// It does.
    Yes,
    /// It was preempted while it computed.
    Preempted {
        /// How often.
        times: usize,
        /// A recording has where.
        recorded: bool,
    },
    /// What reached it came by the wall clock.
    No,
}

impl Outcome {
    /// Of the run that was asked for.
    pub(super) fn of(run: Run, end: End, start: &Start<'_>, recorded: &Recorded) -> Self {
        let counters = run.counters();
        let repeats = Repeats::of(&run, start, recorded);
        let counts = !start.clock().is_real() && !start.guest.has_bios();
        let time_stamp = run.time_stamp_read().filter(|_| counts);
        Outcome { run, end, counters, repeats, time_stamp }
    }
}

impl Repeats {
    fn of(run: &Run, start: &Start<'_>, recorded: &Recorded) -> Self {
        let times = run.preemptions();
        if times > 0 {
            let recorded = !matches!(recorded, Recorded::No);
            return Repeats::Preempted { times, recorded };
        }
        // Where no interrupt has come, it was all the same when.
        let timed = start.clock().is_real() && run.counters().injected > 0;
        if timed || start.guest.has_bios() || start.guest.options.interactive {
            Repeats::No
        } else {
            Repeats::Yes
        }
    }
}
