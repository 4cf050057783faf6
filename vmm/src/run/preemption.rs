//! The clock of exits: the guest runs freely, time is what its exits say, and who computes for long is preempted.
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
//! none for a while, time is put on to when the timer is due, and the interrupt injected where the vCPU stands; where
//! interrupts are closed, at the next boundary at which they are open. That is the one thing which does not repeat
//! by itself: the state there is kept ([`Recording`]), and put in place when the run is at the same exit again.
//! A preemption that would deliver nothing does not happen, so a guest without a timer is never preempted; and none
//! happens before the guest has computed for as long as its timer has to go.

use super::departure::Departure;
use super::{Ending, Event, Follow, Pace, Phase, Run, Turn};
use crate::machine::{Exit, MachineError, MemoryImage, time_on_processor};
use crate::recording::{Cut, CutOff, Moment, Page, RecordedEnd, Recording, SPACING, pack, unpack};
use ia32::{Eflags, State};
use std::time::Duration;

/// How long a guest may compute before its timer comes.
const SLICE: Duration = Duration::from_millis(10);
/// The same before it has been preempted for the first time. Until then a run repeats without a recording, which a
/// machine that stood still for a moment is not to spoil.
const FIRST_SLICE: Duration = Duration::from_millis(60);
/// How often it is kept where a guest is that computes, for whoever goes back: what lies between is stepped then.
const PLACES: Duration = Duration::from_millis(4);
/// How often the time to the next look at a guest that computes is doubled.
const MOST_DOUBLED: u32 = 5;
/// How many instructions a guest that is stepped may compute.
const MOST_STEPS: u64 = 200_000;
/// The time of a moment at which no interrupt is due.
const PLACE: u64 = 0;
/// Deadlines of devices that are looked at for one that interrupts.
const DEADLINES: usize = 64;

/// Where a run is among its exits.
#[derive(Clone, Debug)]
pub(super) struct Position {
    /// Exits that counted, preemptions among them.
    exits: u64,
    /// A digest of them.
    digest: u64,
    /// The vCPU stands where the last of them left it.
    at_exit: bool,
    /// The exit at an open window is asked for, since an interrupt waits.
    window: bool,
    preemptions: usize,
    /// Memory at the last preemption, without probes.
    base: Option<MemoryImage>,
}

impl Default for Position {
    fn default() -> Self {
        Position { exits: 0, digest: 0, at_exit: true, window: false, preemptions: 0, base: None }
    }
}

/// How long the guest has computed.
#[derive(Debug)]
pub(super) struct Slice {
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
    then: Option<Then>,
}

/// A moment, to be compared with.
#[derive(Debug)]
struct Then {
    exits: u64,
    state: State,
    memory: MemoryImage,
    /// The pages that changed since the moment before.
    pages: Vec<usize>,
}

impl Then {
    fn has_registers_of(&self, now: &State) -> bool {
        let seen = |state: &State| {
            let selectors = state.segments.map(|segment| segment.selector);
            let flags = state.eflags.without(Eflags::RF).without(Eflags::TF);
            (state.general, state.eip, flags, selectors, state.cr0, state.cr2, state.cr3)
        };
        seen(&self.state) == seen(now)
    }
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
            then: None,
        }
    }
}

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
    fn recording(&self) -> Option<&Recording> {
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
        self.log = Log::Kept { recording, limit, size: 0, full: false, places: None, reached: 0 };
        self
    }

    /// The same for somebody who is going to go back: now and then it is also kept where a guest is that computes.
    /// The run ends with an error when it holds more than it may.
    #[must_use]
    pub fn reversible(self, limit: u64) -> Self {
        let mut run = self.recorded(limit);
        if let Log::Kept { places, .. } = &mut run.log {
            *places = Some(PLACES);
        }
        run
    }

    /// The run is that which was recorded.
    #[must_use]
    pub fn replaying(mut self, recording: Recording) -> Self {
        self.log = Log::Replayed(recording);
        self
    }

    /// What was kept of the run up to its end; none if it was not to be, or held more than it may.
    pub fn recording(&self) -> Option<&Recording> {
        match &self.log {
            Log::Kept { recording, full: false, .. } => Some(recording),
            _ => None,
        }
    }

    /// How often a guest that computed was preempted on the clock of exits, or its place was kept: where that is more than
    /// never, a run repeats only from a recording.
    pub fn preemptions(&self) -> usize {
        self.position.preemptions
    }

    /// Lets the guest run to its next exit, on the clock of exits.
    pub(super) fn run_by_exits(&mut self) -> Turn {
        let inside = self.looks_inside();
        if self.happens_again(inside)? {
            return Ok(self.told_preempted());
        }
        if self.position.at_exit {
            // An instruction whose probe has been taken out goes first.
            self.position.window = self.devices.interrupt_pending()
                && self.departure.as_ref().is_none_or(|departure| !departure.is_interrupt())
                && !self.probes.is_exposed(self.machine.vcpu.instruction_address());
        }
        self.set_slice()?;
        if inside {
            return self.step_by_exits();
        }
        self.slice.stepped = 0;
        if self.slice.over && self.preempt()? {
            return Ok(self.told_preempted());
        }
        if std::mem::take(&mut self.slice.place_due) && self.keep_place()? {
            return Ok(self.told_preempted());
        }
        self.position.at_exit = false;
        let window = self.position.window || self.slice.awaits_window;
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

    /// Somebody wants to see what lies between two exits: the guest is stepped, and comes to where it was preempted
    /// by itself. Where it was in ring 3 all the time, nothing of the kernel's can have been executed.
    fn looks_inside(&mut self) -> bool {
        if self.follows_everything() {
            return true;
        }
        if self.next_moment().is_none() || !self.probes.has_asked() {
            return false;
        }
        let in_ring_3 = self.outward.ring == Some(3) && self.machine.vcpu.state().cpl() == 3;
        !in_ring_3 || self.probes.asks_ring_3(&self.machine)
    }

    /// What is recorded behind this exit and before the next.
    fn next_moment(&self) -> Option<&Moment> {
        let moment = self.log.recording()?.moments.get(self.position.preemptions)?;
        (moment.exits <= self.position.exits).then_some(moment)
    }

    /// Goes on by one instruction. All that counts is what would count if the guest ran.
    fn step_by_exits(&mut self) -> Turn {
        self.slice.over = false;
        self.slice.since = time_on_processor();
        if self.departure.as_ref().is_some_and(Departure::is_interrupt) {
            self.position.at_exit = false;
            return self.run_on(false);
        }
        if let Some(disturbed) = self.disturbed.take()
            && let Some(turn) = self.go_on_after_signal(disturbed)
        {
            return turn;
        }
        self.finish()?;
        let state = self.machine.vcpu.state();
        if self.position.window
            && !self.position.at_exit
            && state.interruptible()
            && self.machine.vcpu.ready_for_interrupt()?
        {
            return self.exited(Exit::InterruptWindow);
        }
        self.slice.stepped += 1;
        if self.slice.stepped > MOST_STEPS && self.preempt()? {
            return Ok(self.told_preempted());
        }
        self.position.at_exit = false;
        self.step(state, false)
    }

    /// The vCPU and memory are as they were then.
    fn stands_at(&mut self, moment: &Moment) -> Result<bool, MachineError> {
        if self.slice.then.as_ref().is_none_or(|then| then.exits != moment.exits) {
            self.slice.then = self.state_then(moment);
        }
        let now = self.machine.vcpu.state();
        let (memory, probes) = (&self.machine.memory, &self.probes);
        let Some(then) = &mut self.slice.then else { return Ok(true) };
        if !then.has_registers_of(&now) {
            return Ok(false);
        }
        let patched = probes.patched_pages();
        let differs = |page: usize| {
            let mut bytes = [0; 4096];
            let _ = memory.read(page as u64 * 4096, &mut bytes);
            patched.uncover(page, &mut bytes);
            bytes != *then.memory.page(page)
        };
        if let Some(index) = then.pages.iter().position(|page| differs(*page)) {
            // It is likely to be the one that differs the next time.
            then.pages.swap(0, index);
            return Ok(false);
        }
        // What was written meanwhile has to be as it was before, too.
        let written = self.machine.written_pages()?;
        let Some(then) = &self.slice.then else { return Ok(true) };
        let memory = &self.machine.memory;
        Ok(written.into_iter().all(|page| {
            let mut bytes = [0; 4096];
            let _ = memory.read(page as u64 * 4096, &mut bytes);
            patched.uncover(page, &mut bytes);
            bytes == *then.memory.page(page)
        }))
    }

    /// A moment, which is asked for at each step on the way there.
    fn state_then(&self, moment: &Moment) -> Option<Then> {
        let size = self.machine.memory.size();
        let all = (size / 4096) as usize;
        let base = self.position.base.clone();
        let is_first = base.is_none();
        let mut memory = base.unwrap_or_else(|| MemoryImage::zero(size));
        let (vcpu, pages) = unpack(&moment.state, &mut memory, all)?;
        let pages = if is_first { (0..all).collect() } else { pages };
        Some(Then { exits: moment.exits, state: vcpu.state(), memory, pages })
    }

    /// Interrupts may be injected where the vCPU stands.
    #[inline]
    pub(super) fn takes_interrupts_here(&self) -> bool {
        !self.clock.counts_exits() || self.position.at_exit
    }

    /// The guest has left the VM by itself.
    #[inline]
    pub(super) fn count_exit(&mut self, exit: &Exit) {
        if !self.clock.counts_exits() {
            return;
        }
        self.clock.exit();
        self.position.exits += 1;
        self.position.at_exit = true;
        self.disturbed = None;
        self.slice.over = false;
        self.slice.stepped = 0;
        self.slice.awaits_window = false;
        if !matches!(self.log, Log::Off) {
            self.digest(exit_code(exit));
        }
    }

    /// The window is open that was asked for to preempt the guest, and for nothing else.
    #[inline]
    pub(super) fn is_own_window(&self, exit: &Exit) -> bool {
        *exit == Exit::InterruptWindow && self.clock.counts_exits() && !self.position.window
    }

    fn digest(&mut self, code: u64) {
        if let Log::Kept { reached, .. } = &mut self.log {
            *reached = (*reached).max(self.position.exits);
        }
        let seen = self.machine.vcpu.digest() ^ code.rotate_left(17);
        let mixed = (self.position.digest ^ seen).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.position.digest = mixed ^ mixed >> 29;
        if self.position.exits.is_multiple_of(SPACING) {
            self.compare_digest();
        }
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

    /// # Errors
    /// [`MachineError::Diverged`] if the run is not the one that was recorded.
    #[inline]
    pub(super) fn is_as_recorded(&mut self) -> Result<(), MachineError> {
        if self.diverged { Err(self.divergence()) } else { Ok(()) }
    }

    #[cold]
    fn divergence(&self) -> MachineError {
        let state = self.machine.vcpu.eip_now();
        MachineError::Diverged(format!(
            "the run has left its recording within {SPACING} exits before exit {}, now at {state:08x}: the guest reads \
             something that does not repeat, such as the time-stamp counter, or this processor is another",
            self.position.exits
        ))
    }

    /// What the recording has at this exit happens again.
    fn happens_again(&mut self, inside: bool) -> Result<bool, MachineError> {
        if let Some(moment) = self.next_moment().cloned() {
            if inside && !self.stands_at(&moment)? {
                return Ok(false);
            }
            self.put_in_place(&moment)?;
            self.arrive(moment.time)?;
            return Ok(true);
        }
        match &self.log {
            Log::Replayed(Recording { moments, end: Some(end), .. })
                if moments.len() == self.position.preemptions =>
            {
                match &end.cut {
                    Some(cut) if end.exits == self.position.exits && cut.ran => {
                        let cut = cut.clone();
                        self.cut_off(&cut)
                    }
                    _ if end.exits < self.position.exits => Err(self.divergence()),
                    _ => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    /// The recorded run was cut off right here, before the guest went on.
    pub(super) fn is_cut_off(&mut self) -> Result<bool, MachineError> {
        let Log::Replayed(Recording { end: Some(end), moments, .. }) = &self.log else {
            return Ok(false);
        };
        match &end.cut {
            Some(cut)
                if !cut.ran
                    && end.exits == self.position.exits
                    && self.position.preemptions == moments.len() =>
            {
                let cut = cut.clone();
                self.cut_off(&cut)
            }
            _ => Ok(false),
        }
    }

    fn cut_off(&mut self, cut: &CutOff) -> Result<bool, MachineError> {
        self.put_in_place(&cut.moment)?;
        self.phase = Phase::Ending(match cut.why {
            Cut::TimedOut => Ending::TimedOut,
            Cut::Stopped => Ending::Stopped,
            Cut::NoProgress => Ending::NoProgress,
        });
        Ok(true)
    }

    /// Puts the vCPU and memory to where the guest was then.
    fn put_in_place(&mut self, moment: &Moment) -> Result<(), MachineError> {
        if moment.exits != self.position.exits || moment.digest != self.position.digest {
            return Err(self.divergence());
        }
        self.finish()?;
        let size = self.machine.memory.size();
        let first = self.position.base.is_none();
        let mut base = self.position.base.take().unwrap_or_else(|| MemoryImage::zero(size));
        let pages = (size / 4096) as usize;
        let Some((vcpu, changed)) = unpack(&moment.state, &mut base, pages) else {
            return Err(MachineError::Diverged(
                "the recording is damaged: a state in it is none".into(),
            ));
        };
        // The first one is all of memory, zero where it says nothing.
        let changed = if first { (0..pages).collect() } else { changed };
        for page in changed {
            let mut bytes = *base.page(page);
            self.probes.cover_page(&self.machine, page, &mut bytes);
            let start = page as u64 * 4096;
            if !self.machine.memory.equals(start, &bytes) {
                let _ = self.machine.memory.write(start, &bytes);
            }
        }
        self.machine.take_written_pages()?;
        self.machine.vcpu.put_back_beside_breakpoints(&vcpu)?;
        self.position.base = Some(base);
        Ok(())
    }

    /// Preempts the guest where it stands, if that delivers an interrupt.
    fn preempt(&mut self) -> Result<bool, MachineError> {
        if self.position.at_exit
            || self.position.window
            || self.switching.is_some()
            || !self.is_new_here()
        {
            return Ok(false);
        }
        let Some(time) = self.time_of_interrupt() else {
            self.slice.over = false;
            return Ok(false);
        };
        // Time is put on no further than the guest may have computed.
        let computed = match self.slice.stepped {
            0 => self.slice.computed().as_nanos() as u64,
            _ => u64::MAX,
        };
        if time - self.clock.now() > computed {
            self.slice.over = false;
            return Ok(false);
        }
        self.finish()?;
        let state = self.machine.vcpu.state();
        let at = state.instruction_address();
        if self.probes.is_site(at) || self.probes.is_exposed(at) {
            // It comes to an exit by itself.
            return Ok(false);
        }
        if !state.interruptible() || !self.machine.vcpu.ready_for_interrupt()? {
            self.slice.awaits_window = true;
            return Ok(false);
        }
        if matches!(self.log, Log::Kept { .. }) {
            let moment = self.moment(time)?;
            self.keep(moment)?;
        }
        self.arrive(time)?;
        Ok(true)
    }

    /// Keeps where the guest is, as if it had left the VM here, for whoever wants to come back. False if it is at no
    /// place that can be kept.
    fn keep_place(&mut self) -> Result<bool, MachineError> {
        let Log::Kept { places: Some(_), size, limit, .. } = &self.log else { return Ok(false) };
        // The rest is for what has to be kept.
        if *size > *limit / 2
            || self.position.at_exit
            || self.switching.is_some()
            || self.departure.as_ref().is_some_and(Departure::is_interrupt)
            || !self.is_new_here()
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
        let moment = self.moment(PLACE)?;
        self.keep(moment)?;
        let since = self.slice.since;
        self.arrive(PLACE)?;
        self.slice.since = since;
        Ok(true)
    }

    /// The same, told as an event; none if it cannot be kept.
    pub(crate) fn keep_this_place(&mut self) -> Result<Option<Event>, MachineError> {
        Ok(if self.keep_place()? { self.told_preempted() } else { None })
    }

    /// Nothing that comes here has been before.
    fn is_new_here(&self) -> bool {
        match &self.log {
            Log::Off => true,
            Log::Kept { recording, reached, .. } => {
                self.position.exits >= *reached
                    && self.position.preemptions == recording.moments.len()
            }
            Log::Replayed(_) => false,
        }
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
        self.last_state = self.machine.vcpu.state();
        self.clock.wait_until(time);
        self.position.preemptions += 1;
        self.position.exits += 1;
        self.position.at_exit = true;
        self.position.window = false;
        self.slice = Slice { mark: self.position.exits, ..Slice::default() };
        if !matches!(self.log, Log::Off) {
            self.digest(0);
        }
        Ok(())
    }

    /// The guest as it stands here.
    fn moment(&mut self, time: u64) -> Result<Moment, MachineError> {
        let size = self.machine.memory.size();
        let pages = self.machine.take_written_pages()?;
        let mut base = self.position.base.take().unwrap_or_else(|| MemoryImage::zero(size));
        let vcpu = self.machine.vcpu.image()?;
        let patched = self.probes.patched_pages();
        let memory = &self.machine.memory;
        let read = |page: usize, bytes: &mut Page| {
            let _ = memory.read(page as u64 * 4096, bytes);
            patched.uncover(page, bytes);
        };
        let state = pack(&vcpu, &mut base, pages, read);
        self.position.base = Some(base);
        let Position { exits, digest, .. } = self.position;
        Ok(Moment { exits, digest, time, state })
    }

    fn keep(&mut self, moment: Moment) -> Result<(), MachineError> {
        if let Log::Kept { recording, limit, size, full, places, .. } = &mut self.log {
            *size += moment.state.len() as u64 + 64;
            *full |= *size > *limit;
            if *full && places.is_some() {
                return Err(MachineError::Diverged(format!(
                    "what is kept of the places at which the guest computed is more than {} MiB, and nobody could go \
                     back over what comes next",
                    *limit >> 20
                )));
            }
            if !*full {
                recording.moments.push(moment);
            }
        }
        Ok(())
    }

    /// The run has come to its end: what is kept of it is whole.
    pub(super) fn end_recording(&mut self, ending: &Ending) -> Result<(), MachineError> {
        let Position { exits, digest, at_exit, .. } = self.position;
        let why = match ending {
            Ending::TimedOut => Some(Cut::TimedOut),
            Ending::Stopped => Some(Cut::Stopped),
            Ending::NoProgress => Some(Cut::NoProgress),
            _ => None,
        };
        match &self.log {
            Log::Kept { full: false, .. } => {
                let cut = match why {
                    Some(why) => {
                        self.finish()?;
                        Some(CutOff { why, ran: !at_exit, moment: self.moment(self.clock.now())? })
                    }
                    None => None,
                };
                if let Log::Kept { recording, .. } = &mut self.log {
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

    /// The alarm looks at the guest after a slice.
    fn set_slice(&mut self) -> Result<(), MachineError> {
        if !self.alarm.is_to_be_set() {
            return Ok(());
        }
        let slice = if self.position.preemptions == 0 { FIRST_SLICE } else { SLICE };
        if self.slice.mark != self.position.exits {
            self.slice.mark = self.position.exits;
            self.slice.since = time_on_processor();
            self.slice.placed = self.slice.since;
            self.slice.over = false;
            self.slice.rings = 0;
        } else {
            self.slice.over |= self.slice.computed() >= slice;
            self.slice.place_due = time_on_processor().saturating_sub(self.slice.placed) >= PLACES;
            self.slice.rings = (self.slice.rings + 1).min(MOST_DOUBLED);
        }
        self.alarm.is_set();
        let look = match &self.log {
            Log::Kept { places: Some(places), .. } => *places,
            _ => SLICE,
        };
        // Where all is slow, the guest gets further before the next one.
        let look = look * (1 << self.slice.rings);
        let delay = self.alarm.patience().map_or(look, |left| left.min(look));
        self.machine.vcpu.set_alarm(Some(delay))
    }
}

/// A number for what the exit was for.
fn exit_code(exit: &Exit) -> u64 {
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
