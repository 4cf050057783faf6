//! Whether the guest gets anywhere.
//!
//! Where a page table lies beyond RAM, the fetch of the next instruction needs memory that is not
//! there. KVM then neither delivers a fault nor leaves: it tries again for ever, without an exit. So
//! a guest that runs freely is looked at now and then, and it is over where two looks find the same
//! vCPU at an instruction that cannot be fetched. Where the guest is stepped, that is seen in front of the
//! step.
//!
//! On the deterministic clock the alarm is set while the guest runs freely before its first entry, with no
//! timer yet, and at no other time: between an event and its probe it would come in the way. A guest that is
//! lost later is so at the time-out.

use super::{Ending, Run};
use crate::entry::{Denied, Reach, Walk};
use crate::machine::{Exit, MachineError};
use ia32::State;
use std::time::{Duration, Instant};

/// How often the guest is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(300);

impl Run {
    /// Runs the guest freely, to its next exit or the next look at it.
    pub(super) fn run_watched(&mut self) -> Result<Exit, MachineError> {
        if !self.watching && self.sequence == 0 {
            let left = self.give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
            self.machine.vcpu.set_alarm(Some(left.map_or(LOOK, |left| left.min(LOOK))))?;
            self.watching = true;
        }
        self.machine.vcpu.run()
    }

    /// The guest is going to be stepped.
    #[inline]
    pub(super) fn stop_watching(&mut self) -> Result<(), MachineError> {
        if std::mem::take(&mut self.watching) {
            let left = self.give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
            self.machine.vcpu.set_alarm(left)?;
        }
        Ok(())
    }

    /// The alarm went off: is the guest where it was, in front of an instruction that it cannot fetch? When
    /// the run is `over` in any case, one look has to do.
    pub(super) fn stuck(&mut self, over: bool) -> Option<Ending> {
        let state = self.machine.vcpu.state();
        let stands = self.seen.replace(state) == Some(state);
        ((stands || over) && self.cannot_fetch(&state)).then_some(Ending::NoProgress)
    }

    /// No byte of the next instruction could be read: whether the run is over, for it cannot be fetched
    /// either.
    #[cold]
    pub(super) fn is_lost(&mut self, state: &State) -> bool {
        self.lost = self.cannot_fetch(state);
        self.lost
    }

    fn cannot_fetch(&self, state: &State) -> bool {
        let user = state.cpl() == 3;
        let walk = Walk::of(&self.machine.memory, state, state.instruction_address());
        walk.is_some_and(|walk| {
            walk.denies(Reach { user, write: false }) == Some(Denied::TableBeyondRam)
        })
    }
}
