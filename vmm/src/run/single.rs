//! One instruction after the other, for whoever debugs.
//!
//! What [`Run::next_event`](super::Run::next_event) tells is far apart. Here the guest goes on by one
//! instruction, or to one event, and stands at a boundary again, whatever the instruction was: one that leaves
//! the VM is finished, one that enters a handler stops in front of the handler. Time passes as it does otherwise,
//! so a run that is stepped has the same events as one that is not.
//!
//! Two instructions count as one behind MOV SS, which a step takes along. A task switch by hardware, and an event
//! through a gate that has no probe, go on to the next stop.

use super::{Event, Follow, Pace, Phase, Run};
use crate::machine::MachineError;
use ia32::{Eflags, General};
use std::cmp::Ordering;
use std::time::Duration;

/// What a guest came to that was to go on by a little. Nothing at all if a signal came, or something was prepared.
#[derive(Clone, Debug)]
pub struct Moment {
    /// One instruction has been executed, or has waited.
    pub moved: bool,
    /// What is told.
    pub event: Option<Event>,
}

impl Run {
    /// Goes on by one instruction, or to one event that is told. For clocks that count.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn go_on_by_one(&mut self) -> Result<Moment, MachineError> {
        let before = self.boundary();
        let followed = self.follow_all(Follow::Everything);
        let turn = self.turn();
        self.follow_all(followed);
        Ok(match turn? {
            Some(Event::Step(_)) => Moment { moved: true, event: None },
            Some(Event::Reached(_)) => Moment { moved: false, event: None },
            event => {
                let done = event.is_some() || self.is_done();
                Moment { moved: done && !self.is_at(&before), event }
            }
        })
    }

    /// What was to happen has. What a signal has cut short has not; nor has an event that was delivered, while its probe
    /// is still to come.
    fn is_done(&mut self) -> bool {
        match self.owed.disturbed {
            None => true,
            Some(disturbed) => {
                let at = self.state().instruction_address();
                disturbed.has_run && !self.probes.is_site(at)
            }
        }
    }

    /// Goes on as [`Run::next_event`](super::Run::next_event) does, but comes back at the next exit, with or
    /// without something to tell.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn turn(&mut self) -> Result<Option<Event>, MachineError> {
        let event = self.advance()?;
        if !matches!(self.phase, Phase::AtProbe(_)) {
            self.finish()?;
        }
        Ok(event)
    }

    /// [`Run::turn`] comes back after this time, whatever the guest does; the events stay the same.
    pub fn look_up_every(&mut self, time: Option<Duration>) {
        self.outside.alarm.look_up_every(time);
    }

    /// Nanoseconds of the guest's time.
    pub fn time(&self) -> u64 {
        self.clock.now()
    }

    /// The guest has ended, and that has been told.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// The pages (address / 4096) that the guest or esp0 has written since this was last asked; the first time all.
    pub(crate) fn take_recent_pages(&mut self) -> Result<Vec<usize>, MachineError> {
        self.machine.take_recent_pages()
    }

    fn follow_all(&mut self, what: Follow) -> Follow {
        match &mut self.pace {
            Pace::Counted { follow } | Pace::ByExits { follow } => std::mem::replace(follow, what),
            _ => what,
        }
    }

    /// No instruction lies between here and `there`. On the clock of exits an exit takes time wherever the vCPU stands.
    pub(crate) fn is_at(&mut self, there: &Boundary) -> bool {
        let here = self.boundary();
        here == *there || (self.clock.counts_exits() && here.is_beside(there))
    }

    /// What tells one boundary from the next.
    pub(crate) fn boundary(&mut self) -> Boundary {
        let state = self.state();
        Boundary {
            general: state.general,
            eip: state.eip,
            eflags: state.eflags.without(Eflags::RF),
            selectors: state.segments.map(|segment| segment.selector),
            control: [state.cr0, state.cr2, state.cr3, state.cr4],
            time: self.clock.now(),
        }
    }
}

/// What tells one boundary from the next: registers and time. RF may be esp0's, and the hidden parts of segments
/// come back from KVM in another form than they were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boundary {
    general: General,
    eip: u32,
    eflags: Eflags,
    selectors: [u16; 6],
    control: [u32; 4],
    time: u64,
}

impl Boundary {
    /// No instruction lies between them, if an event does: an event is told where the vCPU stands already, and on the
    /// clock of exits the exit for it takes time.
    pub(crate) fn is_beside(&self, other: &Boundary) -> bool {
        Boundary { time: other.time, ..*self } == *other
    }

    /// What differs, where registers do not.
    pub(crate) fn differs_from(&self, other: &Boundary) -> String {
        match self.time.cmp(&other.time) {
            Ordering::Equal => "its memory did not come again".into(),
            _ => format!("it came at {} ns, not at {}", self.time, other.time),
        }
    }
}
