//! Backwards with a guest, for one that was set up to be [`reversible`](super::Setup::reversible).

use super::known::Known;
use super::{Checkpoint, Guest, GuestError, Judged};
use crate::retrace::Writer;
use crate::run::{Event, Run};
use crate::timeline::{Came, Company, Hit, Place, Remark, Sought, Timeline, Watched};

/// Bytes that checkpoints may hold beside one image of memory.
const MEMORY: u64 = 48 << 20;

const NOT_REVERSIBLE: GuestError =
    GuestError::Contradiction("a guest that is to be gone back with is set up by `reversible`");

/// What has been seen, and what came last.
struct Along<'a> {
    known: &'a mut Known,
    last: Option<Judged>,
}

impl<'a> Along<'a> {
    fn new(known: &'a mut Known) -> Self {
        Along { known, last: None }
    }
}

impl Company for Along<'_> {
    type Memory = Known;

    fn memory(&self) -> Known {
        self.known.clone()
    }

    fn put_back(&mut self, memory: &Known) {
        *self.known = memory.clone();
    }

    fn told(&mut self, run: &mut Run, event: &Event, _: bool) -> Remark {
        let before = self.known.findings.len();
        self.last = Some(self.known.take(run, event.clone())).filter(Known::is_told);
        Remark { found: self.known.findings.len() > before, switched: false }
    }
}

impl Guest {
    /// What the guest does from now on can be gone back to.
    pub(super) fn remember(&mut self) -> Result<(), GuestError> {
        let along = Along::new(&mut self.known);
        self.timeline = Some(Timeline::new(&mut self.run, &along, MEMORY)?);
        Ok(())
    }

    /// The guest has been changed: what was before is gone.
    pub(super) fn remember_from_here(&mut self) -> Result<(), GuestError> {
        if let Some(timeline) = &mut self.timeline {
            timeline.begin_anew(&mut self.run, &Along::new(&mut self.known))?;
        }
        Ok(())
    }

    /// Puts a guest back that can be gone back with; false if the checkpoint is of another past.
    pub(super) fn restore_remembered(
        &mut self,
        checkpoint: &Checkpoint,
    ) -> Result<bool, GuestError> {
        let (Some(timeline), Some(mark)) = (&mut self.timeline, checkpoint.mark) else {
            return Ok(false);
        };
        let along = Along::new(&mut self.known);
        if !timeline.restore(&mut self.run, &along, &checkpoint.run, mark)? {
            return Ok(false);
        }
        self.known = checkpoint.known.clone();
        Ok(true)
    }

    pub(super) fn next_remembered(&mut self) -> Result<Judged, GuestError> {
        let Some(timeline) = &mut self.timeline else { return Err(NOT_REVERSIBLE) };
        let mut along = Along::new(&mut self.known);
        loop {
            let came = timeline.turn(&mut self.run, &mut along)?;
            if let Some(judged) = along.last.take() {
                return Ok(judged);
            }
            match (came, &along.known.end) {
                (Came::Reached, _) => return Ok(Judged::Reached(Box::new(self.run.state()))),
                (Came::End, Some(end)) => return Ok(Judged::End(Box::new(end.clone()))),
                _ => {}
            }
        }
    }

    /// Goes on by one instruction; false if the guest has ended. Entries and returns on it are judged as they
    /// are otherwise.
    ///
    /// # Errors
    /// [`GuestError::Contradiction`] if the guest is not reversible; [`GuestError::Machine`] if KVM refuses
    /// something.
    pub fn step(&mut self) -> Result<bool, GuestError> {
        let Some(timeline) = &mut self.timeline else { return Err(NOT_REVERSIBLE) };
        let mut along = Along::new(&mut self.known);
        let before = self.run.boundary();
        loop {
            match timeline.step(&mut self.run, &mut along)? {
                Came::Executed => return Ok(true),
                Came::End => return Ok(false),
                _ if !self.run.boundary().is_beside(&before) => return Ok(true),
                _ => {}
            }
        }
    }

    /// Goes back by one instruction, or to before the event that has just come; false in front of the first
    /// instruction, or where the guest was changed last. What is known is what was known there.
    ///
    /// # Errors
    /// As [`Guest::step`].
    pub fn step_back(&mut self) -> Result<bool, GuestError> {
        let Some(timeline) = &mut self.timeline else { return Err(NOT_REVERSIBLE) };
        Ok(timeline.step_back(&mut self.run, &mut Along::new(&mut self.known))?)
    }

    /// Who changed the word at a linear address last, as the paging of the moment maps it; none if nobody did since
    /// the first instruction, or since the guest was changed last. The guest stays where it is.
    ///
    /// Who stores what was there already is not seen. Nor is who changes a word there and back between two events, where
    /// its page is written so often that 60,000 instructions were stepped without finding anybody.
    ///
    /// # Errors
    /// As [`Guest::step`], and [`GuestError::NoMemory`] if the word is not mapped.
    pub fn who_wrote(&mut self, address: u32) -> Result<Option<Writer>, GuestError> {
        let linear = self.run.machine().linear();
        let physical = linear.paging.translate(linear.memory, address);
        let physical = physical.ok_or(GuestError::NoMemory(address.into()))?;
        let word = Watched { physical, length: 4, address };
        let here = self.checkpoint()?;
        let end = self.timeline.as_ref().map_or(0, Timeline::event);
        let Some(timeline) = &mut self.timeline else { return Err(NOT_REVERSIBLE) };
        let mut along = Along::new(&mut self.known);
        let sought = Sought { addresses: &[], watched: &[word], touched: &[], events: &|_| false };
        let hit = timeline.back_to(&mut self.run, &mut along, &sought)?;
        let writer = match hit {
            Hit::Watched(_) => self.writer(word, end)?,
            _ => None,
        };
        self.restore(&here)?;
        Ok(writer)
    }

    /// What changes `word` next; none if nothing does before the event behind number `end`.
    fn writer(&mut self, word: Watched, end: u64) -> Result<Option<Writer>, GuestError> {
        let Some(timeline) = &mut self.timeline else { return Err(NOT_REVERSIBLE) };
        let old = word.value(&self.run) as u32;
        let before = self.run.state();
        let mut code = [0; 15];
        let linear = self.run.machine().linear();
        let count = self.run.probes().read_code(&linear, before.instruction_address(), &mut code);
        let Place { event, .. } = timeline.place().unwrap_or(Place { event: 0, step: 0 });
        let mut along = Along::new(&mut self.known);
        while word.value(&self.run) as u32 == old {
            if self.run.has_ended() || timeline.event() > end {
                return Ok(None);
            }
            timeline.step(&mut self.run, &mut along)?;
        }
        let new = word.value(&self.run) as u32;
        let last = (event - timeline.first_event()) as usize;
        if timeline.event() > event
            && let Some((entry, _)) = timeline.log().get(last).and_then(|noted| noted.entry)
        {
            return Ok(Some(Writer::Push { entry, old, new }));
        }
        let after_entry = timeline.log().last_number(last).unwrap_or(0);
        let code = code[..count].to_vec();
        Ok(Some(Writer::Instruction {
            before: Box::new(before),
            code,
            after_entry,
            old,
            new,
            stack_end: None,
        }))
    }
}
