//! Backwards: to a place, by one instruction, to before an event.
//!
//! A checkpoint that lies before is put back, and the way from there is gone forwards.

use super::{Came, Company, NEAR, Place, Timeline};
use crate::machine::MachineError;
use crate::run::{Boundary, Checkpoint, Run};

/// Events before a place that is gone to, from which on places are kept on the way.
const FAR: u64 = 4096;

impl<M: Clone> Timeline<M> {
    /// Before the run leaves the farthest place it is kept as it is there.
    pub(super) fn leave(
        &mut self,
        run: &mut Run,
        company: &impl Company<Memory = M>,
    ) -> Result<(), MachineError> {
        if self.ahead.is_none() {
            self.farthest = self.here;
            self.ahead = Some((run.checkpoint()?, company.memory()));
        }
        Ok(())
    }

    /// Puts the run to the last checkpoint before `place`; there is one.
    pub(super) fn put_back(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        place: Place,
    ) -> Result<(), MachineError> {
        self.leave(run, company)?;
        if let Some(kept) = self.shelf.before(place) {
            put(run, &kept.state)?;
            company.put_back(&kept.memory);
            self.here = kept.here;
        }
        Ok(())
    }

    /// Goes to a place that has been. False if whoever goes along has given up on the way.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn go_to(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        place: Place,
    ) -> Result<bool, MachineError> {
        let place = place.max(self.base);
        let near = self.shelf.before(place).map(|kept| kept.place);
        let on_the_way = self.here.place().filter(|here| *here <= place);
        if on_the_way.is_none() || on_the_way < near {
            self.put_back(run, company, place)?;
        }
        while self.here.event < place.event {
            // Whoever goes back once goes back again: places lie the closer the nearer the end is.
            let left = place.event - self.here.event;
            if left.is_power_of_two() && left < FAR && self.here.step == Some(0) {
                self.keep_near(run, company)?;
            }
            if matches!(self.turn(run, company)?, Came::End) || company.gives_up() {
                return Ok(self.here.event == place.event);
            }
        }
        while self.here.step.is_some_and(|step| step < place.step) {
            if self.here.step.is_some_and(|step| step.is_multiple_of(NEAR)) {
                self.keep_near(run, company)?;
            }
            if matches!(self.step(run, company)?, Came::End) || company.gives_up() {
                return Ok(self.here.place() == Some(place));
            }
        }
        Ok(true)
    }

    /// Goes to the farthest place that was ever come to.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn go_to_the_end(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
    ) -> Result<(), MachineError> {
        if let Some((state, memory)) = self.ahead.take() {
            put(run, &state)?;
            company.put_back(&memory);
            self.here = self.farthest;
        }
        Ok(())
    }

    /// Counts the instructions since the last event, if that has not been done: the run stays where it is. False if
    /// whoever goes along has given up, or the run did not come to this place again: [`Timeline::parted`] says which.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn count(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
    ) -> Result<bool, MachineError> {
        self.parted = None;
        if self.here.step.is_some() {
            return Ok(true);
        }
        let at_the_end = self.ahead.is_none();
        if at_the_end && let Some(event) = run.keep_this_place()? {
            self.told(run, company, event, false)?;
            return Ok(true);
        }
        let goal = run.checkpoint()?;
        let memory = company.memory();
        let at = run.boundary();
        let end = self.here;
        self.go_to(run, company, Place { event: end.event, step: 0 })?;
        let arrived = self.step_until(run, company, &at, &goal)?;
        if !arrived {
            // It is where it was, and how far that is stays unknown.
            put(run, &goal)?;
            company.put_back(&memory);
            self.here = end;
            if at_the_end {
                self.farthest = end;
                self.ahead = None;
            }
        } else if at_the_end {
            self.farthest.step = self.here.step;
            self.arrive();
        }
        Ok(arrived)
    }

    /// Steps until the run is at this boundary, with this memory.
    fn step_until(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        at: &Boundary,
        goal: &Checkpoint,
    ) -> Result<bool, MachineError> {
        let event = self.here.event;
        loop {
            let here = run.boundary();
            if here == *at && run.checkpoint()?.has_memory_of(goal) {
                return Ok(true);
            }
            if here.is_beside(at) {
                self.parted = Some(here.differs_from(at));
            }
            if self.here.step.is_some_and(|step| step.is_multiple_of(NEAR)) {
                self.keep_near(run, company)?;
            }
            let came = self.step(run, company)?;
            if company.gives_up() {
                self.parted = None;
                return Ok(false);
            }
            if self.here.event != event || matches!(came, Came::End) {
                self.parted.get_or_insert_with(|| "its registers did not come again".into());
                return Ok(false);
            }
        }
    }

    /// Goes back by one instruction. False if there is nothing before, or whoever goes along has given up.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn step_back(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
    ) -> Result<bool, MachineError> {
        if !self.count(run, company)? {
            return Ok(false);
        }
        let from = run.boundary();
        loop {
            let Some(here) = self.here.place() else { return Ok(false) };
            if here <= self.base {
                return Ok(false);
            }
            if here.step > 0 {
                return self.go_to(run, company, Place { step: here.step - 1, ..here });
            }
            let Some(last) = self.last_before(run, company, here.event)? else { return Ok(false) };
            if !self.go_to(run, company, last)? {
                return Ok(false);
            }
            // An event may come where the vCPU stands already.
            if !run.boundary().is_beside(&from) {
                return Ok(true);
            }
        }
    }

    /// Goes to the last place before an event that has been; false if there is none, or whoever goes along has given
    /// up.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn go_before(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        event: u64,
    ) -> Result<bool, MachineError> {
        if event <= self.base.event {
            return Ok(false);
        }
        match self.last_before(run, company, event)? {
            Some(place) => self.go_to(run, company, place),
            None => Ok(false),
        }
    }

    /// The last place before an event.
    fn last_before(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        event: u64,
    ) -> Result<Option<Place>, MachineError> {
        let first = Place { event: event - 1, step: 0 };
        // From where it is close already, if it is.
        let near = self.shelf.before(Place { event: event - 1, step: u64::MAX });
        let from = near.map_or(first, |kept| kept.place.max(first));
        if !self.go_to(run, company, from)? {
            return Ok(None);
        }
        let mut last = from;
        while self.here.event < event {
            if let Some(place) = self.here.place() {
                last = place;
                if place.step.is_multiple_of(NEAR) {
                    self.keep_near(run, company)?;
                }
            }
            if company.gives_up() {
                return Ok(None);
            }
            if matches!(self.step(run, company)?, Came::End) && self.here.event < event {
                return Ok(None);
            }
        }
        Ok(Some(last))
    }
}

/// The run is as it was at a checkpoint, and stops only where somebody asks for it from now on.
pub(super) fn put(run: &mut Run, checkpoint: &Checkpoint) -> Result<(), MachineError> {
    run.restore(checkpoint)?;
    run.stop_nowhere()
}
