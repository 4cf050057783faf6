//! What is recorded happens again, and a run that leaves its recording is caught.

use super::position::Base;
use super::{ByExits, Log};
use crate::machine::{Exit, MachineError, MemoryImage};
use crate::recording::{Cut, CutOff, RecordedState, Recording, SPACING, unpack};
use crate::run::{Ending, Phase, Run};
use std::collections::BTreeSet;

impl Run {
    /// What the recording has at this exit happens again.
    pub(super) fn happens_again(&mut self, inside: bool) -> Result<bool, MachineError> {
        if let Some(then) = self.by_exits.next_state().cloned() {
            if inside && !self.stands_at(&then)? {
                return Ok(false);
            }
            self.put_in_place(&then)?;
            self.arrive(then.time)?;
            return Ok(true);
        }
        match &self.by_exits.log {
            Log::Replayed(Recording { states, end: Some(end), .. })
                if states.len() == self.by_exits.position.preemptions =>
            {
                match &end.cut {
                    Some(cut) if end.exits == self.by_exits.position.exits && cut.ran => {
                        let cut = cut.clone();
                        self.cut_off(&cut)
                    }
                    _ if end.exits < self.by_exits.position.exits => Err(self.divergence()),
                    _ => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    /// The recorded run was cut off right here, before the guest went on.
    pub(in crate::run) fn is_cut_off(&mut self) -> Result<bool, MachineError> {
        let Log::Replayed(Recording { end: Some(end), states, .. }) = &self.by_exits.log else {
            return Ok(false);
        };
        match &end.cut {
            Some(cut)
                if !cut.ran
                    && end.exits == self.by_exits.position.exits
                    && self.by_exits.position.preemptions == states.len() =>
            {
                let cut = cut.clone();
                self.cut_off(&cut)
            }
            _ => Ok(false),
        }
    }

    /// What lies ahead ends in a recorded state, which a guest that runs freely is put in at once.
    pub(crate) fn happens_again_to_a_state(&self) -> bool {
        self.by_exits.next_state().is_some()
    }

    fn cut_off(&mut self, cut: &CutOff) -> Result<bool, MachineError> {
        self.put_in_place(&cut.state)?;
        self.phase = Phase::Ending(match cut.why {
            Cut::TimedOut => Ending::TimedOut,
            Cut::Stopped => Ending::Stopped,
            Cut::NoProgress => Ending::NoProgress,
        });
        Ok(true)
    }

    /// Puts the vCPU and memory to where the guest was then.
    fn put_in_place(&mut self, then: &RecordedState) -> Result<(), MachineError> {
        if then.exits != self.by_exits.position.exits
            || then.digest != self.by_exits.position.digest
        {
            return Err(self.divergence());
        }
        self.finish()?;
        let size = self.machine.memory().size();
        let first = self.by_exits.position.base.is_none();
        let mut base =
            self.by_exits.position.base.take().unwrap_or_else(|| MemoryImage::zero(size));
        let pages = (size / 4096) as usize;
        // What was written since the state before may be there again as it was then, and is none of what has changed.
        let written = self.machine.written_pages()?;
        let Some((vcpu, changed)) = unpack(&then.bytes, &mut base, pages) else {
            return Err(MachineError::Diverged(
                "the recording is damaged: a state in it is none".into(),
            ));
        };
        // The first one is all of memory, zero where it says nothing.
        let changed: BTreeSet<usize> =
            if first { (0..pages).collect() } else { changed.into_iter().chain(written).collect() };
        for page in changed.iter().copied() {
            let mut bytes = *base.page(page);
            self.probes.cover_page(&self.machine, page, &mut bytes);
            let start = page as u64 * 4096;
            if !self.machine.memory().equals(start, &bytes) {
                let _ = self.machine.write_memory(start, &bytes);
            }
        }
        self.machine.take_written_pages()?;
        self.machine.vcpu.put_back_beside_breakpoints(&vcpu)?;
        if let Some(image) = self.machine.image()? {
            base.share(&image, changed);
        }
        self.by_exits.position.base = Base::Whole(base);
        Ok(())
    }

    /// # Errors
    /// [`MachineError::Diverged`] if the run is not the one that was recorded.
    #[inline]
    pub(in crate::run) fn is_as_recorded(&mut self) -> Result<(), MachineError> {
        if self.by_exits.diverged { Err(self.divergence()) } else { Ok(()) }
    }

    #[cold]
    pub(super) fn divergence(&self) -> MachineError {
        let state = self.machine.vcpu.eip_now();
        MachineError::Diverged(format!(
            "the run has left its recording within {SPACING} exits before exit {}, now at {state:08x}: the guest reads \
             something that does not repeat, such as the time-stamp counter, or this processor is another",
            self.by_exits.position.exits
        ))
    }
}

impl ByExits {
    /// What is recorded behind this exit and before the next.
    pub(super) fn next_state(&self) -> Option<&RecordedState> {
        let then = self.log.recording()?.states.get(self.position.preemptions)?;
        (then.exits <= self.position.exits).then_some(then)
    }

    /// Holds the digest against that of the recording, or keeps it.
    fn compare_digest(&mut self) {
        let index = (self.position.exits / SPACING) as usize - 1;
        let now = self.position.digest as u32;
        match &mut self.log {
            Log::Kept { recording, .. } | Log::Replayed(recording)
                if recording.digests.get(index).is_some_and(|then| *then != now) =>
            {
                self.diverged = true;
            }
            Log::Kept { recording, size, .. } if recording.digests.len() == index => {
                recording.digests.push(now);
                *size += 4;
            }
            _ => {}
        }
    }

    /// The vCPU has left the guest, for `exit`, with registers of this digest.
    pub(super) fn digest(&mut self, vcpu: u64, exit: u64) {
        if let Log::Kept { reached, .. } = &mut self.log {
            *reached = (*reached).max(self.position.exits);
        }
        let seen = vcpu ^ exit.rotate_left(17);
        let mixed = (self.position.digest ^ seen).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.position.digest = mixed ^ mixed >> 29;
        if self.position.exits.is_multiple_of(SPACING) {
            self.compare_digest();
        }
    }
}

/// A number for what the exit was for.
pub(super) fn exit_code(exit: &Exit) -> u64 {
    match *exit {
        Exit::PortWrite { port, size } => 1 << 24 | u64::from(port) << 4 | u64::from(size),
        Exit::PortRead { port, size } => 2 << 24 | u64::from(port) << 4 | u64::from(size),
        Exit::MemoryRead { address, size } => 3 << 40 | address << 4 | u64::from(size),
        Exit::MemoryWrite { address, size, value } => {
            (4 << 40 | address << 4 | u64::from(size)) ^ value.rotate_left(32)
        }
        Exit::MsrRead { index } => 5 << 40 | u64::from(index),
        Exit::MsrWrite { index, value } => (6 << 40 | u64::from(index)) ^ value.rotate_left(32),
        Exit::Halt => 7,
        Exit::InterruptWindow => 8,
        Exit::Step => 9,
        Exit::Breakpoint { address } => 10 << 40 | u64::from(address),
        Exit::Shutdown => 11,
        Exit::InternalError { .. } => 12,
        Exit::EntryFailed { .. } => 13,
        Exit::Interrupted => 14,
        Exit::Other(reason) => 15 << 40 | u64::from(reason),
    }
}
