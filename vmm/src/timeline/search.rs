//! Backwards to the last place of some kind: an address, an event, what changed a word.
//!
//! It is looked for from checkpoint to checkpoint, the latest first: the way from one to the next is gone forwards, and the
//! last hit on it is the one. Addresses and events are met in running freely; a watched word is looked at after each
//! instruction, from one event to the next where its page was written.

use super::{Came, Company, Noted, Place, Search, Timeline, Touched, touches};
use crate::machine::MachineError;
use crate::run::{Boundary, Run};

/// Bytes that are watched, by physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    /// Where they lie.
    pub physical: u64,
    /// How many there are; 8 at most.
    pub length: u8,
    /// What whoever watches calls them by.
    pub address: u32,
}

impl Watched {
    /// What they are now; zero where there is no RAM.
    pub fn value(&self, run: &Run) -> u64 {
        let mut bytes = [0; 8];
        let length = usize::from(self.length.min(8));
        let _ = run.machine().memory().read(self.physical, &mut bytes[..length]);
        u64::from_le_bytes(bytes)
    }

    /// It lies in one of these pages (address / 4096).
    pub fn is_in(&self, pages: &[usize]) -> bool {
        let last = self.physical + u64::from(self.length.max(1)) - 1;
        let own = (self.physical / 4096) as usize..=(last / 4096) as usize;
        pages.iter().any(|page| own.contains(page))
    }
}

/// Instructions that are stepped to find a word that was changed there and back between two events. Where more would have to
/// be, only what lies between events at which the word differs is looked at.
const PATIENCE: u64 = 60_000;

/// What is looked for.
pub struct Sought<'a> {
    /// The guest is about to execute what lies at one of these linear addresses.
    pub addresses: &'a [u32],
    /// The next instruction, or the next event, changes one of these.
    pub watched: &'a [Watched],
    /// The next instruction uses one of these: each one back to there is stepped.
    pub touched: &'a [Touched],
    /// One of these events has come.
    pub events: &'a dyn Fn(&Noted) -> bool,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// An address.
    Address,
    /// What changes next, or is used.
    Watched(Watched),
    /// An event.
    Event,
    /// Nothing, as far back as can be gone. The run is there.
    Beginning,
    /// Whoever went along has given up. Where the run stands is undefined until it is put back.
    GivenUp,
}

/// Where something was found: by its number of instructions, or by how many times an address had been reached
/// since the event.
#[derive(Clone, Copy, Debug)]
enum At {
    Place(Place),
    Reached { event: u64, times: u64 },
}

type Found = Option<(At, Hit)>;

/// Where a search backwards begins.
#[derive(Clone, Copy, Debug)]
struct Origin {
    boundary: Boundary,
    event: u64,
}

impl Origin {
    /// The run is there, with an event between at most.
    fn is_here(&self, run: &mut Run, event: u64) -> bool {
        event + 1 >= self.event && run.is_at(&self.boundary)
    }
}

/// What lies between two events, and may hold something that is sought.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    /// The first of the two.
    event: u64,
    /// It does hold something. Else only the page of a watched word was written.
    certain: bool,
}

impl<M: Clone> Timeline<M> {
    /// Goes back to the last place of a kind.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn back_to(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        sought: &Sought<'_>,
    ) -> Result<Hit, MachineError> {
        if !self.count(run, company)? {
            return Ok(Hit::GivenUp);
        }
        let Some(mut end) = self.here.place() else { return Ok(Hit::GivenUp) };
        let origin = Origin { boundary: run.boundary(), event: end.event };
        self.search = Search::default();
        while end > self.base {
            let before = match end {
                Place { event, step: 0 } => Place { event: event - 1, step: u64::MAX },
                Place { event, step } => Place { event, step: step - 1 },
            };
            self.put_back(run, company, before)?;
            let Some(start) = self.here.place() else { return Ok(Hit::GivenUp) };
            let found = if sought.watched.is_empty() || !sought.touched.is_empty() {
                self.last_on_the_way(run, company, sought, end, &origin)?
            } else {
                self.last_written(run, company, sought, end, &origin)?
            };
            let Some(found) = found else {
                return Ok(Hit::GivenUp);
            };
            if let Some((at, hit)) = found {
                return Ok(if self.go_to_hit(run, company, sought, start, at)? {
                    hit
                } else {
                    Hit::GivenUp
                });
            }
            end = start;
        }
        self.put_back(run, company, self.base)?;
        Ok(Hit::Beginning)
    }

    /// The last hit from here on, before `end`; none if whoever goes along has given up. What is where the search
    /// began is none.
    fn last_on_the_way(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        sought: &Sought<'_>,
        end: Place,
        origin: &Origin,
    ) -> Result<Option<Found>, MachineError> {
        let mut found: Found = None;
        let freely = sought.watched.is_empty()
            && sought.touched.is_empty()
            && asked(run, sought.addresses, true)?;
        if freely {
            let mut times = 0;
            while self.here.event < end.event {
                let came = self.turn(run, company)?;
                match came {
                    Came::Reached => {
                        times += 1;
                        if !origin.is_here(run, self.here.event) {
                            let event = self.here.event;
                            found = Some((At::Reached { event, times }, Hit::Address));
                        }
                    }
                    Came::Event(noted) => {
                        times = 0;
                        if self.here.event < end.event || end.step > 0 {
                            self.note_event(run, sought, &noted, origin, &mut found);
                        }
                    }
                    Came::End => break,
                    _ => {}
                }
                if company.gives_up() {
                    asked(run, sought.addresses, false)?;
                    return Ok(None);
                }
            }
            asked(run, sought.addresses, false)?;
        }
        while let Some(here) = self.here.place().filter(|here| *here < end) {
            let is_origin = origin.is_here(run, here.event);
            if !is_origin && sought.addresses.contains(&run.state().instruction_address()) {
                found = Some((At::Place(here), Hit::Address));
            }
            let before: Vec<u64> = sought.watched.iter().map(|word| word.value(run)).collect();
            let touched = touches(run, sought.touched);
            let came = self.step(run, company)?;
            self.search.stepped += 1;
            if let Some(word) = touched.filter(|_| matches!(came, Came::Executed)) {
                found = Some((At::Place(here), Hit::Watched(word)));
            }
            let mut values = sought.watched.iter().zip(&before);
            if let Some((word, _)) = values.find(|(word, before)| word.value(run) != **before) {
                found = Some((At::Place(here), Hit::Watched(*word)));
            }
            match came {
                Came::Event(noted) if self.here.place().is_some_and(|here| here < end) => {
                    self.note_event(run, sought, &noted, origin, &mut found);
                }
                Came::End => break,
                _ => {}
            }
            if company.gives_up() {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// The same where words are watched. Who has not written to their pages between two events has not written them:
    /// only where one has been, or something else that is sought is met, the guest is stepped. That takes long where a page
    /// is written often: see [`PATIENCE`].
    fn last_written(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        sought: &Sought<'_>,
        end: Place,
        origin: &Origin,
    ) -> Result<Option<Found>, MachineError> {
        let Some(start) = self.here.place() else { return Ok(None) };
        if !asked(run, sought.addresses, true)? {
            return self.last_on_the_way(run, company, sought, end, origin);
        }
        let suspects = self.suspects(run, company, sought, end);
        asked(run, sought.addresses, false)?;
        let Some(suspects) = suspects? else { return Ok(None) };
        for Suspect { event, certain } in suspects.into_iter().rev() {
            if !certain && self.search.stepped > PATIENCE {
                self.search.passed_over += 1;
                continue;
            }
            let first = Place { event, step: 0 }.max(start);
            let last = Place { event: event + 1, step: 0 }.min(end);
            if !self.go_to(run, company, first)? {
                return Ok(None);
            }
            // The event itself belongs to it, but for the one at which the search began.
            let last = if last < end { Place { step: 1, ..last } } else { last };
            match self.last_on_the_way(run, company, sought, last, origin)? {
                None => return Ok(None),
                Some(None) => {}
                found => return Ok(found),
            }
        }
        Ok(Some(None))
    }

    /// The events from here on behind which something sought may lie before `end`; none if whoever goes along has given
    /// up.
    fn suspects(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        sought: &Sought<'_>,
        end: Place,
    ) -> Result<Option<Vec<Suspect>>, MachineError> {
        let values =
            |run: &Run| -> Vec<u64> { sought.watched.iter().map(|word| word.value(run)).collect() };
        let mut suspects = Vec::new();
        run.take_recent_pages()?;
        let mut met = false;
        let mut before = values(run);
        while self.here.event < end.event {
            let event = self.here.event;
            match self.turn(run, company)? {
                Came::Reached => met = true,
                Came::Event(noted) => {
                    let recent = run.take_recent_pages()?;
                    let written = sought.watched.iter().any(|word| word.is_in(&recent));
                    let now = values(run);
                    let certain =
                        std::mem::take(&mut met) || (sought.events)(&noted) || now != before;
                    before = now;
                    if certain || written {
                        suspects.push(Suspect { event, certain });
                    }
                }
                Came::End => {
                    suspects.push(Suspect { event, certain: true });
                    break;
                }
                _ => {}
            }
            if company.gives_up() {
                return Ok(None);
            }
        }
        if end.step > 0 {
            suspects.push(Suspect { event: end.event, certain: true });
        }
        Ok(Some(suspects))
    }

    fn note_event(
        &self,
        run: &mut Run,
        sought: &Sought<'_>,
        noted: &Noted,
        origin: &Origin,
        found: &mut Found,
    ) {
        let place = self.here.place().filter(|_| (sought.events)(noted));
        if let Some(place) = place.filter(|place| !origin.is_here(run, place.event)) {
            *found = Some((At::Place(place), Hit::Event));
        }
    }

    fn go_to_hit(
        &mut self,
        run: &mut Run,
        company: &mut impl Company<Memory = M>,
        sought: &Sought<'_>,
        start: Place,
        at: At,
    ) -> Result<bool, MachineError> {
        let (event, times) = match at {
            At::Place(place) => return self.go_to(run, company, place),
            At::Reached { event, times } => (event, times),
        };
        self.put_back(run, company, start)?;
        asked(run, sought.addresses, true)?;
        let mut seen = 0;
        let mut arrived = false;
        while !arrived {
            let before = self.here.event;
            match self.turn(run, company)? {
                Came::Reached if self.here.event == event => {
                    seen += 1;
                    arrived = seen == times;
                }
                Came::End => break,
                _ if self.here.event != before => seen = 0,
                _ => {}
            }
            if company.gives_up() {
                break;
            }
        }
        asked(run, sought.addresses, false)?;
        Ok(arrived)
    }
}

/// Has the run stop at these addresses, or no more. False if it cannot: then it does at none.
fn asked(run: &mut Run, addresses: &[u32], on: bool) -> Result<bool, MachineError> {
    for (index, address) in addresses.iter().enumerate() {
        match run.stop_at(*address, on) {
            Ok(()) => {}
            Err(MachineError::Missing(_)) if on => {
                for address in &addresses[..=index] {
                    run.stop_at(*address, false)?;
                }
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
