//! Whether the guest reads the time-stamp counter, which this machine's time moves: on a clock that counts, such a run does
//! not repeat.
//!
//! Where the guest is stepped each instruction is looked at. What runs freely is not: there, that an RDTSC stands in the code
//! is all that is known. An RDTSC of esp0's in the guest's stead was rejected, for it would go back and forth between
//! stepped code and code that runs.

use super::Run;

/// An RDTSC or RDTSCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeStampRead {
    /// Its linear address.
    pub at: u32,
    /// It was executed; else it stands in code that may have been.
    pub executed: bool,
}

impl Run {
    /// The first RDTSC that was executed, as far as that was seen; or else one that may have been.
    pub fn time_stamp_read(&self) -> Option<TimeStampRead> {
        let executed = self.seen.time_stamp.map(|at| TimeStampRead { at, executed: true });
        executed.or_else(|| {
            let at = self.probes.time_stamp()?;
            Some(TimeStampRead { at, executed: false })
        })
    }
}
