//! What is kept of a run on the clock of exits.

use super::position::{Base, Position};
use super::{ByExits, PLACES};
use crate::machine::{MachineError, MemoryImage};
use crate::recording::{Cut, CutOff, Now, RecordedEnd, RecordedState, Recording, SPACING, pack};
use crate::run::{Ending, Run};
use std::time::Duration;

/// What is kept of a run, or was kept of one.
#[derive(Debug, Default)]
pub(super) enum Log {
    /// Nothing.
    #[default]
    Off,
    /// What has not been is kept, and what has been happens again.
    Kept {
        recording: Recording,
        /// Bytes that it may hold.
        limit: u64,
        /// Bytes that it holds.
        size: u64,
        /// It holds as much as it may: what came later is missing.
        full: bool,
        /// Where the guest is after so much time without an exit is kept too, for whoever goes back.
        places: Option<Duration>,
        /// The most exits that there were: before them all has been, and nothing new is kept.
        reached: u64,
    },
    /// All has been.
    Replayed(Recording),
}

impl Log {
    pub(super) fn recording(&self) -> Option<&Recording> {
        match self {
            Log::Off => None,
            Log::Kept { recording, .. } | Log::Replayed(recording) => Some(recording),
        }
    }
}

impl Run {
    /// What does not repeat by itself on the clock of exits is kept from now on, in so many bytes: the run can be
    /// gone back in, and repeated elsewhere.
    #[must_use]
    pub fn recorded(mut self, limit: u64) -> Self {
        let recording = Recording::default();
        self.by_exits.log =
            Log::Kept { recording, limit, size: 0, full: false, places: None, reached: 0 };
        self
    }

    /// The same for somebody who is going to go back: now and then it is also kept where a guest is that computes.
    /// The run ends with an error when it holds more than it may.
    #[must_use]
    pub fn reversible(self, limit: u64) -> Self {
        let mut run = self.recorded(limit);
        if let Log::Kept { places, .. } = &mut run.by_exits.log {
            *places = Some(PLACES);
        }
        run
    }

    /// The run is that which was recorded.
    #[must_use]
    pub fn replaying(mut self, recording: Recording) -> Self {
        self.by_exits.log = Log::Replayed(recording);
        self
    }

    /// What was kept of the run up to its end; none if it was not to be, or held more than it may, or the guest was
    /// changed from outside.
    pub fn recording(&self) -> Option<&Recording> {
        match &self.by_exits.log {
            Log::Kept { recording, full: false, .. } if !self.by_exits.changed => Some(recording),
            _ => None,
        }
    }

    /// Somebody has changed the guest: who repeats the run does not come to what follows.
    pub fn was_changed(&self) -> bool {
        self.by_exits.changed
    }

    #[cfg(feature = "program")]
    pub(crate) fn note_change(&mut self) {
        self.by_exits.changed = true;
    }

    /// The guest as it stands here.
    pub(super) fn state_here(&mut self, time: u64) -> Result<RecordedState, MachineError> {
        let size = self.machine.memory().size();
        let pages = self.machine.take_written_pages()?;
        let mut base =
            self.by_exits.position.base.take().unwrap_or_else(|| MemoryImage::zero(size));
        let vcpu = self.machine.vcpu.image()?;
        let patched = self.probes.patched_pages();
        let image = self.machine.image()?;
        let memory = self.machine.memory();
        let now = |page: usize| match &image {
            Some(image) if !patched.holds(page) => Now::In(image),
            _ => Now::Alone(Box::new(patched.read(memory, page))),
        };
        let bytes = pack(&vcpu, &mut base, pages, now);
        self.by_exits.position.base = Base::Whole(base);
        let Position { exits, digest, .. } = self.by_exits.position;
        Ok(RecordedState { exits, digest, time, bytes })
    }

    /// What was kept of what comes next is kept no more: nobody comes back to it.
    pub(crate) fn forget_what_follows(&mut self) {
        let Position { exits, preemptions, .. } = self.by_exits.position;
        if let Log::Kept { recording, size, full, limit, reached, .. } = &mut self.by_exits.log {
            let states = recording.states.drain(preemptions.min(recording.states.len())..);
            let bytes: u64 = states.map(|then| size_of_state(&then)).sum();
            let digests = (exits / SPACING) as usize;
            let fewer = recording.digests.len().saturating_sub(digests) as u64 * 4;
            recording.digests.truncate(digests);
            *size -= bytes + fewer;
            *full &= *size > *limit;
            *reached = exits;
        }
    }

    pub(super) fn keep(&mut self, then: RecordedState) -> Result<(), MachineError> {
        if let Log::Kept { recording, limit, size, full, places, .. } = &mut self.by_exits.log {
            *size += size_of_state(&then);
            *full |= *size > *limit;
            if *full && places.is_some() {
                return Err(MachineError::Diverged(format!(
                    "what is kept of the places at which the guest computed is more than {} MiB, and nobody could go \
                     back over what comes next",
                    *limit >> 20
                )));
            }
            if !*full {
                recording.states.push(then);
            }
        }
        Ok(())
    }

    /// The run has come to its end: what is kept of it is whole.
    pub(in crate::run) fn end_recording(&mut self, ending: &Ending) -> Result<(), MachineError> {
        let Position { exits, digest, at_exit, .. } = self.by_exits.position;
        let why = match ending {
            Ending::TimedOut => Some(Cut::TimedOut),
            Ending::Stopped => Some(Cut::Stopped),
            Ending::NoProgress => Some(Cut::NoProgress),
            // Whoever debugs it has ended it: nothing in the guest tells where.
            Ending::Enough if matches!(self.by_exits.log, Log::Kept { places: Some(_), .. }) => {
                Some(Cut::Stopped)
            }
            _ => None,
        };
        match &self.by_exits.log {
            Log::Kept { full: false, .. } => {
                let cut = match why {
                    Some(why) => {
                        self.finish()?;
                        Some(CutOff {
                            why,
                            ran: !at_exit,
                            state: self.state_here(self.clock.now())?,
                        })
                    }
                    None => None,
                };
                if let Log::Kept { recording, .. } = &mut self.by_exits.log {
                    recording.end = Some(RecordedEnd { exits, digest, cut });
                }
                Ok(())
            }
            // Who ends a run from outside may do so earlier than it was done then.
            Log::Replayed(Recording { end: Some(end), .. })
                if why.is_none()
                    && !matches!(ending, Ending::Enough | Ending::Said(_) | Ending::Idle)
                    && (end.exits, end.digest) != (exits, digest) =>
            {
                Err(self.divergence())
            }
            _ => Ok(()),
        }
    }
}

/// Bytes that a state takes.
fn size_of_state(state: &RecordedState) -> u64 {
    state.bytes.len() as u64 + 64
}

impl ByExits {
    /// Nothing that comes here has been before.
    pub(super) fn is_new_here(&self) -> bool {
        match &self.log {
            Log::Off => true,
            Log::Kept { recording, reached, .. } => {
                self.position.exits >= *reached
                    && self.position.preemptions == recording.states.len()
            }
            Log::Replayed(_) => false,
        }
    }
}
