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
use crate::machine::MachineError;
use ia32::State;
use std::time::Duration;

/// How often the guest is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(300);

/// What is remembered of the guest's progress.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The vCPU when the alarm went off last.
    seen: Option<State>,
    /// On the deterministic clock: the alarm is set to look at a guest that runs freely.
    watching: bool,
}

impl Progress {
    /// Whether the alarm was set to look at the guest; it has gone off.
    pub(super) fn take_watching(&mut self) -> bool {
        std::mem::take(&mut self.watching)
    }
}

impl Run {
    /// Has the alarm look at a guest that runs freely.
    pub(super) fn watch(&mut self) -> Result<(), MachineError> {
        if !self.progress.watching && self.seen.sequence == 0 {
            let left = self.outside.alarm.patience();
            self.machine.vcpu.set_alarm(Some(left.map_or(LOOK, |left| left.min(LOOK))))?;
            self.progress.watching = true;
        }
        Ok(())
    }

    /// The guest is going to be stepped.
    #[inline]
    pub(super) fn stop_watching(&mut self) -> Result<(), MachineError> {
        if self.progress.take_watching() {
            self.machine.vcpu.set_alarm(self.outside.alarm.patience())?;
        }
        Ok(())
    }

    /// The alarm went off: is the guest where it was, in front of an instruction that it cannot fetch? When
    /// the run is `over` in any case, one look has to do.
    pub(super) fn stuck(&mut self, over: bool) -> Option<Ending> {
        let state = self.machine.vcpu.state();
        let stands = self.progress.seen.replace(state) == Some(state);
        ((stands || over) && self.cannot_fetch(&state)).then_some(Ending::NoProgress)
    }

    /// No byte of the next instruction could be read: whether the run is over, for it cannot be fetched
    /// either.
    #[cold]
    pub(super) fn is_lost(&mut self, state: &State) -> bool {
        let lost = self.cannot_fetch(state);
        self.end_if(lost.then_some(Ending::NoProgress));
        lost
    }

    fn cannot_fetch(&self, state: &State) -> bool {
        let user = state.cpl() == 3;
        let walk = Walk::of(self.machine.memory(), state, state.instruction_address());
        walk.is_some_and(|walk| {
            walk.denies(Reach { user, write: false }) == Some(Denied::TableBeyondRam)
        })
    }
}
