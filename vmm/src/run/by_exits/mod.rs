//! The clock of exits: the guest runs freely, time is what its exits say, and a guest that computes for long is preempted.
//!
//! ```text
//!   exit ─► time + 10 µs ─► timer due? inject ─► run ─┬─► exit …              decided by the guest: repeats
//!                                                     └─► computes for 10 ms  ─► preempted: kept, or unrepeatable
//! ```
//! An exit counts if the guest has left the VM by itself. An interrupt is injected only where the vCPU stands after
//! such an exit, and the window of one that waits is asked for there or not at all; so signals that end KVM_RUN,
//! and a machine that is slow, change nothing.
//!
//! A guest that computes causes no exit, and its timer has to come all the same. When the alarm finds that there was
//! none for a while, the guest's time moves to the timer's deadline, and the interrupt is injected where the vCPU stands; where
//! interrupts are closed, at the next boundary at which they are open. That is the one thing which does not repeat
//! by itself: the state there is kept ([`Recording`]), and put in place when the run is at the same exit again.
//! A preemption that would deliver nothing does not happen, so a guest without a timer is never preempted; and none
//! happens before the guest has computed for as long as its timer has to go.

mod awaited;
mod inside;
mod log;
mod position;
mod replay;

use super::departure::Departure;
use super::{Event, Follow, Pace, Phase, Run, Turn};
use crate::machine::{Exit, MachineError, MemoryImage, time_on_processor};
use awaited::Awaited;
use log::Log;
pub(super) use position::Position;
use replay::exit_code;
use std::time::Duration;

/// How long a guest may compute before its timer comes.
const SLICE: Duration = Duration::from_millis(10);
/// The same before it has been preempted for the first time. Until then a run repeats without a recording, which a
/// machine that stood still for a moment is not to spoil.
const FIRST_SLICE: Duration = Duration::from_millis(60);
/// How often the place of a computing guest is recorded, for whoever goes back: what lies between is stepped then.
const PLACES: Duration = Duration::from_millis(4);
/// How often the time to the next look at a guest that computes is doubled.
const MOST_DOUBLED: u32 = 5;
/// How many instructions a guest that is stepped may compute.
const MOST_STEPS: u64 = 200_000;
/// The time of a recorded state at which no interrupt is due.
const PLACE: u64 = 0;
/// Deadlines of devices that are looked at for one that interrupts.
const DEADLINES: usize = 64;

/// What the clock of exits has to remember. On the other clocks it stays as it begins.
#[derive(Debug, Default)]
pub(super) struct ByExits {
    position: Position,
    slice: Slice,
    log: Log,
    /// It is not the run that was recorded.
    diverged: bool,
    /// Somebody has changed the guest.
    changed: bool,
}

impl ByExits {
    /// Where the run is among its exits, to be kept beside an image of its memory here.
    pub(super) fn position(&mut self, memory: &MemoryImage) -> Position {
        self.position.base.pack(memory);
        self.position.clone()
    }

    /// The run has been put back to where it was.
    pub(super) fn go_back_to(&mut self, position: Position) {
        self.position = position;
        self.slice = Slice::default();
    }
}

/// How long the guest has computed.
#[derive(Debug)]
struct Slice {
    /// Exits when it was looked at last, and when that was, by the time that this thread has had a processor: a machine
    /// that is busy with something else makes no guest compute.
    mark: u64,
    since: Duration,
    over: bool,
    /// Where it is is to be kept.
    place_due: bool,
    /// When it was kept last, by the same time.
    placed: Duration,
    /// How often the alarm has gone off since the last exit.
    rings: u32,
    /// The guest is to come back at the next boundary at which interrupts are open.
    awaits_window: bool,
    /// Instructions that were stepped since the last exit.
    stepped: u64,
    /// What is to be come to, where the guest is stepped on the way.
    awaited: Option<Awaited>,
}

impl Slice {
    /// How long the guest has computed.
    fn computed(&self) -> Duration {
        time_on_processor().saturating_sub(self.since)
    }
}

impl Default for Slice {
    fn default() -> Self {
        Slice {
            mark: 0,
            since: time_on_processor(),
            over: false,
            place_due: false,
            placed: time_on_processor(),
            rings: 0,
            awaits_window: false,
            stepped: 0,
            awaited: None,
        }
    }
}

impl Run {
    /// How often a guest that computed was preempted on the clock of exits, or its place was kept: where that is more than
    /// never, a run repeats only from a recording.
    pub fn preemptions(&self) -> usize {
        self.by_exits.position.preemptions
    }

    /// Lets the guest run to its next exit, on the clock of exits.
    pub(super) fn run_by_exits(&mut self) -> Turn {
        let inside = self.looks_inside();
        if self.happens_again(inside)? {
            return Ok(self.told_preempted());
        }
        if self.by_exits.position.at_exit {
            self.by_exits.position.window = self.wants_window();
        }
        self.set_slice()?;
        if inside {
            return self.step_by_exits();
        }
        self.by_exits.slice.stepped = 0;
        if self.by_exits.slice.over && self.preempt()? {
            return Ok(self.told_preempted());
        }
        if std::mem::take(&mut self.by_exits.slice.place_due) && self.keep_place()? {
            return Ok(self.told_preempted());
        }
        self.by_exits.position.at_exit = false;
        let window = self.by_exits.position.window || self.by_exits.slice.awaits_window;
        self.machine.vcpu.request_interrupt_window(window);
        let exit = self.machine.vcpu.run()?;
        self.exited(exit)
    }

    /// The guest stands where it was preempted; unless that is the end.
    fn told_preempted(&mut self) -> Option<Event> {
        let goes_on = matches!(self.phase, Phase::Ready);
        goes_on.then(|| Event::Preempted(Box::new(self.machine.vcpu.state())))
    }

    pub(super) fn follows_everything(&self) -> bool {
        matches!(
            self.pace,
            Pace::Counted { follow: Follow::Everything }
                | Pace::ByExits { follow: Follow::Everything }
        )
    }

    /// Interrupts may be injected where the vCPU stands.
    #[inline]
    pub(super) fn takes_interrupts_here(&self) -> bool {
        !self.clock.counts_exits() || self.by_exits.position.at_exit
    }

    /// The guest has left the VM by itself.
    #[inline]
    pub(super) fn count_exit(&mut self, exit: &Exit) {
        if !self.clock.counts_exits() {
            return;
        }
        self.clock.exit();
        self.by_exits.position.exits += 1;
        self.by_exits.position.at_exit = true;
        self.owed.disturbed = None;
        self.by_exits.slice.over = false;
        self.by_exits.slice.stepped = 0;
        self.by_exits.slice.awaits_window = false;
        if !matches!(self.by_exits.log, Log::Off) {
            self.by_exits.digest(self.machine.vcpu.digest(), exit_code(exit));
        }
    }

    /// The window is open that was asked for to preempt the guest, and for nothing else.
    #[inline]
    pub(super) fn is_own_window(&self, exit: &Exit) -> bool {
        *exit == Exit::InterruptWindow
            && self.clock.counts_exits()
            && !self.by_exits.position.window
    }

    /// Preempts the guest where it stands, if that delivers an interrupt.
    fn preempt(&mut self) -> Result<bool, MachineError> {
        if self.by_exits.position.at_exit
            || self.by_exits.position.window
            || self.seen.switching.is_some()
            || !self.by_exits.is_new_here()
        {
            return Ok(false);
        }
        let Some(time) = self.time_of_interrupt() else {
            self.by_exits.slice.over = false;
            return Ok(false);
        };
        // Time is put on no further than the guest may have computed.
        let computed = match self.by_exits.slice.stepped {
            0 => self.by_exits.slice.computed().as_nanos() as u64,
            _ => u64::MAX,
        };
        if time - self.clock.now() > computed {
            self.by_exits.slice.over = false;
            return Ok(false);
        }
        self.finish()?;
        let state = self.machine.vcpu.state();
        let at = state.instruction_address();
        if self.probes.is_site(at) || self.probes.is_exposed(at) || state.interrupt_shadow != 0 {
            // It comes to an exit by itself, and a window that opens right here would be all that happens. Behind MOV SS
            // it is at no place that a step comes to.
            self.by_exits.slice.awaits_window = false;
            return Ok(false);
        }
        if !state.interruptible() || !self.machine.vcpu.ready_for_interrupt()? {
            self.by_exits.slice.awaits_window = true;
            return Ok(false);
        }
        if matches!(self.by_exits.log, Log::Kept { .. }) {
            let then = self.state_here(time)?;
            self.keep(then)?;
        }
        self.arrive(time)?;
        Ok(true)
    }

    /// Keeps where the guest is, as if it had left the VM here, for whoever wants to come back. False if it is at no
    /// place that can be kept.
    fn keep_place(&mut self) -> Result<bool, MachineError> {
        let Log::Kept { places: Some(_), size, limit, .. } = &self.by_exits.log else {
            return Ok(false);
        };
        // The rest is for what has to be kept.
        if *size > *limit / 2
            || self.by_exits.position.at_exit
            || self.seen.switching.is_some()
            || self.seen.departure.as_ref().is_some_and(Departure::is_interrupt)
            || !self.by_exits.is_new_here()
            || !matches!(self.phase, Phase::Ready)
        {
            return Ok(false);
        }
        self.finish()?;
        let at = self.machine.vcpu.instruction_address();
        if self.probes.is_site(at)
            || self.probes.is_exposed(at)
            || !self.machine.vcpu.is_between_events()
        {
            return Ok(false);
        }
        let now = self.machine.vcpu.state();
        // A step does not come to the place behind MOV SS; and it has to have got somewhere since the last one.
        if now.interrupt_shadow != 0 || now == self.seen.last_state {
            return Ok(false);
        }
        let then = self.state_here(PLACE)?;
        self.keep(then)?;
        let since = self.by_exits.slice.since;
        self.arrive(PLACE)?;
        self.by_exits.slice.since = since;
        Ok(true)
    }

    /// The same, told as an event; none if it cannot be kept.
    pub(crate) fn keep_this_place(&mut self) -> Result<Option<Event>, MachineError> {
        Ok(if self.keep_place()? { self.told_preempted() } else { None })
    }

    /// When a device interrupts next that reaches the processor; now, if one does already.
    fn time_of_interrupt(&self) -> Option<u64> {
        let now = self.clock.now();
        if self.devices.interrupt_pending() {
            return Some(now);
        }
        let mut due = self.due?;
        let mut devices = self.devices.clone();
        for _ in 0..DEADLINES {
            due = due.max(now);
            devices.advance_to(due);
            if devices.interrupt_pending() {
                return Some(due);
            }
            due = devices.next_deadline().filter(|next| *next > due)?;
        }
        None
    }

    /// The guest is preempted here: its time is `time`, and an interrupt may be injected.
    fn arrive(&mut self, time: u64) -> Result<(), MachineError> {
        self.forget_delivered()?;
        self.seen.last_state = self.machine.vcpu.state();
        self.clock.wait_until(time, Duration::MAX);
        self.by_exits.position.preemptions += 1;
        self.by_exits.position.exits += 1;
        self.by_exits.position.at_exit = true;
        self.by_exits.position.window = false;
        self.by_exits.slice = Slice { mark: self.by_exits.position.exits, ..Slice::default() };
        if !matches!(self.by_exits.log, Log::Off) {
            self.by_exits.digest(self.machine.vcpu.digest(), 0);
        }
        Ok(())
    }

    /// The alarm looks at the guest after a slice.
    fn set_slice(&mut self) -> Result<(), MachineError> {
        if !self.outside.alarm.is_to_be_set() {
            return Ok(());
        }
        let slice = if self.by_exits.position.preemptions == 0 { FIRST_SLICE } else { SLICE };
        if self.by_exits.slice.mark != self.by_exits.position.exits {
            self.by_exits.slice.mark = self.by_exits.position.exits;
            self.by_exits.slice.since = time_on_processor();
            self.by_exits.slice.placed = self.by_exits.slice.since;
            self.by_exits.slice.over = false;
            self.by_exits.slice.rings = 0;
        } else {
            self.by_exits.slice.over |= self.by_exits.slice.computed() >= slice;
            self.by_exits.slice.place_due =
                time_on_processor().saturating_sub(self.by_exits.slice.placed) >= PLACES;
            self.by_exits.slice.rings = (self.by_exits.slice.rings + 1).min(MOST_DOUBLED);
        }
        self.outside.alarm.is_set();
        let look = match &self.by_exits.log {
            Log::Kept { places: Some(places), .. } => *places,
            _ => SLICE,
        };
        // Where all is slow, the guest gets further before the next one.
        let look = look * (1 << self.by_exits.slice.rings);
        let delay = self.outside.alarm.patience().map_or(look, |left| left.min(look));
        self.machine.vcpu.set_alarm(Some(delay))
    }
}
