//! A run that can be gone through backwards.
//!
//! On a clock that counts a run repeats to the byte, so a place in it is two numbers: how many events had been
//! told, and how many instructions had been executed since. To go back is to put a checkpoint back that lies before
//! the place, and to go on to it from there, freely from event to event and by single instructions from the last
//! one on.
//!
//! ```text
//!  base ── kept ── kept ── kept ── … ─ here ─ … ─ the farthest that was ever come to
//!            ▲               └─ near ones, where somebody looks around
//!            └ put back, event by event, then step by step
//! ```
//! Events that are counted are those that come at the same instruction however the guest is let go on. What is
//! written to the console is told once the first time, and not again when it is passed anew.
//!
//! A place at which the guest was stopped in the middle of running freely has no number of instructions yet. It is
//! counted when it is needed first ([`Timeline::count`]): from the last event on, until registers, time and memory
//! are those of the place.

mod back;
mod forward;
mod kept;
mod log;
mod search;
mod touch;

pub use forward::Past;
pub use log::Log;
pub use search::{Hit, Sought, Watched};
pub use touch::{Touched, touches};

use crate::machine::MachineError;
use crate::run::{Checkpoint, Event, Run};
use ia32::Vector;
use kept::Shelf;

/// Instructions between two checkpoints where somebody steps.
const NEAR: u64 = 64;

/// A place in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Events told so far.
    pub event: u64,
    /// Instructions executed since the last of them.
    pub step: u64,
}

/// An event that was told, as far as it is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Its number and vector, if it was an entry.
    pub entry: Option<(u64, Vector)>,
    /// What was made of it.
    pub remark: Remark,
}

/// What somebody who judges events makes of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remark {
    /// There is something to find fault with.
    pub found: bool,
    /// Another task runs from here on.
    pub switched: bool,
}

/// Who goes along.
pub trait Company {
    /// What it remembers, and has to be put back where the run is.
    type Memory: Clone;

    /// What it remembers now.
    fn memory(&self) -> Self::Memory;

    /// The run is where it was when this was remembered.
    fn put_back(&mut self, memory: &Self::Memory);

    /// An event was told; for the first time if `new`. Of the console it is only what is new.
    fn told(&mut self, run: &mut Run, event: &Event, new: bool) -> Remark;

    /// Whether to give up what takes long.
    fn gives_up(&mut self) -> bool {
        false
    }
}

/// What the run has come to.
#[derive(Clone, Debug)]
pub enum Came {
    /// An instruction has been executed.
    Executed,
    /// The next exit, at which there is nothing to tell.
    Nothing,
    /// An event that is counted.
    Event(Noted),
    /// A task switch by hardware.
    Switch,
    /// An address at which it was asked to stop.
    Reached,
    /// The end.
    End,
}

/// A place of one timeline, for a checkpoint that somebody else keeps.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    here: Here,
    epoch: u64,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Here {
    event: u64,
    /// None in the middle of running freely.
    step: Option<u64>,
    /// Bytes that were written to the console.
    console: u64,
    /// Task switches by hardware.
    switches: u64,
}

impl Here {
    fn place(&self) -> Option<Place> {
        Some(Place { event: self.event, step: self.step? })
    }
}

/// What a search backwards has cost.
#[derive(Clone, Copy, Debug, Default)]
struct Search {
    /// Instructions that were stepped.
    stepped: u64,
    /// Ways between two events that were not, for it was enough.
    passed_over: u64,
}

/// The places of a run, and what is kept to go back to them. It belongs to one run, which nobody else lets go on.
#[derive(Debug)]
pub struct Timeline<M> {
    shelf: Shelf<M>,
    here: Here,
    /// The farthest that was ever come to.
    farthest: Here,
    /// The run there, where it is not there now.
    ahead: Option<(Checkpoint, M)>,
    /// The counted events behind the base.
    log: Log,
    /// Where the run can be gone back to.
    base: Place,
    /// How often the guest was changed.
    epoch: u64,
    /// The last search backwards.
    search: Search,
    /// Why a place was not come to again.
    parted: Option<String>,
}

impl<M: Clone> Timeline<M> {
    /// What `run` does from now on can be gone back to. At most so many bytes are kept beside one image of its
    /// memory.
    ///
    /// # Errors
    /// [`MachineError`] if KVM does not give its state.
    pub fn new(
        run: &mut Run,
        company: &impl Company<Memory = M>,
        bytes: u64,
    ) -> Result<Self, MachineError> {
        let here = Here { event: 0, step: Some(0), console: 0, switches: 0 };
        let mut timeline = Timeline {
            shelf: Shelf::new(bytes),
            here,
            farthest: here,
            ahead: None,
            log: Log::default(),
            base: Place { event: 0, step: 0 },
            epoch: 0,
            search: Search::default(),
            parted: None,
        };
        timeline.keep(run, company)?;
        Ok(timeline)
    }

    /// Where the run is; none in the middle of running freely.
    pub fn place(&self) -> Option<Place> {
        self.here.place()
    }

    /// The number of the last event before this place.
    pub fn event(&self) -> u64 {
        self.here.event
    }

    /// The events that were told, up to the farthest place; the first of them is that with the number 1 more
    /// than [`Timeline::first_event`].
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The event at which going back ends.
    pub fn first_event(&self) -> u64 {
        self.base.event
    }

    /// Going back ends where somebody has changed the guest.
    pub fn begins_anew(&self) -> bool {
        self.epoch > 0
    }

    /// Ways between two events on which the last search for a watched word did not look: its page was written there, but it was
    /// the same at both ends, and enough had been stepped already. It may have been changed there and back.
    pub fn passed_over(&self) -> u64 {
        self.search.passed_over
    }

    /// Why the run did not repeat when it was to come to a place again; none if it did, or whoever went along gave up.
    pub fn parted(&self) -> Option<&str> {
        self.parted.as_deref()
    }

    /// What comes next has been before.
    pub fn is_in_the_past(&self) -> bool {
        self.ahead.is_some()
    }

    /// Checkpoints that are kept, and the bytes that they hold beside the first one.
    pub fn kept(&self) -> (usize, u64) {
        self.shelf.size()
    }

    /// The last checkpoint at intervals that lies at `place` or before it, and has something `wanted` with it.
    pub fn kept_before(&self, place: Place, wanted: impl Fn(&M) -> bool) -> Option<(Place, M)> {
        self.shelf.at_intervals_before(place, wanted)
    }

    /// Where the run is, for a checkpoint that is taken now.
    pub fn mark(&self) -> Mark {
        Mark { here: self.here, epoch: self.epoch }
    }

    /// Puts the run back to a checkpoint that was taken at `mark`. False, and nothing done, if the guest has been
    /// changed since.
    ///
    /// # Errors
    /// [`MachineError`] if KVM does not take its state.
    pub fn restore(
        &mut self,
        run: &mut Run,
        company: &impl Company<Memory = M>,
        checkpoint: &Checkpoint,
        mark: Mark,
    ) -> Result<bool, MachineError> {
        if mark.epoch != self.epoch {
            return Ok(false);
        }
        self.leave(run, company)?;
        back::put(run, checkpoint)?;
        self.here = mark.here;
        self.arrive();
        Ok(true)
    }

    /// Somebody has changed the guest here: what was before can be gone back to no more.
    ///
    /// # Errors
    /// [`MachineError`] if KVM does not give its state.
    pub fn begin_anew(
        &mut self,
        run: &mut Run,
        company: &impl Company<Memory = M>,
    ) -> Result<(), MachineError> {
        self.here.step = Some(0);
        self.farthest = self.here;
        self.ahead = None;
        self.epoch += 1;
        self.log.clear();
        self.base = Place { event: self.here.event, step: 0 };
        self.shelf.clear();
        self.keep(run, company)
    }

    fn keep(
        &mut self,
        run: &mut Run,
        company: &impl Company<Memory = M>,
    ) -> Result<(), MachineError> {
        if let Some(place) = self.here.place() {
            self.shelf.keep(place, self.here, run.checkpoint()?, company.memory());
        }
        Ok(())
    }

    fn keep_near(
        &mut self,
        run: &mut Run,
        company: &impl Company<Memory = M>,
    ) -> Result<(), MachineError> {
        if let Some(place) = self.here.place()
            && !self.shelf.has(place)
        {
            self.shelf.keep_near(place, self.here, run.checkpoint()?, company.memory());
        }
        Ok(())
    }

    /// Goes on by one instruction, or to one event.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn step(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
    ) -> Result<Came, MachineError> {
        if run.has_ended() {
            return Ok(Came::End);
        }
        let moment = run.go_on_by_one()?;
        let counted = moment.event.as_ref().is_some_and(is_counted);
        if moment.moved
            && !counted
            && let Some(step) = &mut self.here.step
        {
            *step += 1;
            self.arrive();
        }
        match moment.event {
            Some(event) => self.told(run, company, event, moment.moved),
            None if moment.moved => Ok(Came::Executed),
            None => Ok(Came::Nothing),
        }
    }

    /// Goes on freely to the next exit.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn turn(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
    ) -> Result<Came, MachineError> {
        if run.has_ended() {
            return Ok(Came::End);
        }
        let event = run.turn()?;
        self.turned(run, company, event)
    }

    /// The guest has run freely to its next exit.
    fn turned(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        event: Option<Event>,
    ) -> Result<Came, MachineError> {
        match event {
            Some(event) => self.told(run, company, event, false),
            None => {
                self.here.step = None;
                Ok(Came::Nothing)
            }
        }
    }

    /// An event has come.
    fn told(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        event: Event,
        moved: bool,
    ) -> Result<Came, MachineError> {
        if !is_counted(&event) {
            // How far it is from the last event is known where it was stepped.
            let stepped = moved && self.here.step.is_some();
            if !stepped {
                self.here.step = None;
            }
            return Ok(match event {
                Event::Reached(_) => Came::Reached,
                Event::Console(bytes) => {
                    self.here.console += bytes.len() as u64;
                    let fresh = self.here.console.saturating_sub(self.farthest.console);
                    let fresh = fresh.min(bytes.len() as u64);
                    self.farthest.console = self.farthest.console.max(self.here.console);
                    let tail = bytes[bytes.len() - fresh as usize..].to_vec();
                    company.told(run, &Event::Console(tail), fresh > 0);
                    if stepped { Came::Executed } else { Came::Nothing }
                }
                event => {
                    self.here.switches += 1;
                    let new = self.here.switches > self.farthest.switches;
                    self.farthest.switches = self.farthest.switches.max(self.here.switches);
                    company.told(run, &event, new);
                    Came::Switch
                }
            });
        }
        self.here.event += 1;
        self.here.step = Some(0);
        let number = (self.here.event - self.base.event) as usize;
        let new = number > self.log.len();
        let remark = company.told(run, &event, new);
        if new {
            let entry = match &event {
                Event::Entry(entry) => Some((entry.sequence, entry.vector)),
                _ => None,
            };
            self.log.push(Noted { entry, remark });
            self.farthest = self.here;
            self.ahead = None;
            if self.shelf.is_due(self.here.event) {
                self.keep(run, company)?;
            }
        }
        self.arrive();
        Ok(match event {
            Event::End(_) => Came::End,
            _ => Came::Event(self.log.get(number - 1).unwrap_or_default()),
        })
    }

    /// Going on has led to the farthest place.
    fn arrive(&mut self) {
        if self.ahead.is_some() && self.here == self.farthest && self.here.step.is_some() {
            self.ahead = None;
        }
        if self.ahead.is_none() {
            self.farthest.event = self.here.event;
            self.farthest.step = self.here.step;
        }
    }
}

/// It comes at the same instruction, whether the guest is stepped or runs.
fn is_counted(event: &Event) -> bool {
    !matches!(event, Event::Console(_) | Event::Switch(_) | Event::Reached(_) | Event::Step(_))
}
