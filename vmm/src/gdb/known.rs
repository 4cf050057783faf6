//! What had been seen of a guest up to where it stands: in the past less than up to the farthest place.
//!
//! The checkpoints that were taken on the way forwards have it with them. From the last of them on, the events up to here are
//! judged once more.

use super::monitor::{given_up, origin};
use super::session::Session;
use super::socket::Line;
use crate::check::{Judge, Judged};
use crate::machine::MachineError;
use crate::run::{Event, Run};
use crate::timeline::{Company, Place, Remark};
use crate::trace::LastEntries;
use std::io::Write;
use std::rc::Rc;

/// What has been seen up to some place.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) judge: Judge,
    pub(super) entries: LastEntries,
}

impl Known {
    fn told(&mut self, run: &Run, event: &Event) {
        let judged = self.judge.judge(run.machine(), event.clone());
        if let Judged::Entry(entry, judgement) = &judged {
            self.entries.note(entry, judgement);
        }
    }
}

/// What goes with a checkpoint: nothing where it was taken in the past.
pub(super) type Memory = Option<Rc<Known>>;

/// Who looks on while the guest goes to a place once more.
struct Observer<'s> {
    known: Known,
    line: &'s Line<'s>,
}

impl Company for Observer<'_> {
    type Memory = Memory;

    fn memory(&self) -> Memory {
        None
    }

    fn put_back(&mut self, _: &Memory) {}

    fn told(&mut self, run: &mut Run, event: &Event, _: bool) -> Remark {
        if !matches!(event, Event::End(_) | Event::Console(_)) {
            self.known.told(run, event);
        }
        Remark::default()
    }

    fn gives_up(&mut self) -> bool {
        self.line.calls()
    }
}

/// What `tell` says of what has been seen up to here. The guest stays where it is.
pub(super) fn tell<W: Write>(
    session: &mut Session<'_, W>,
    line: &Line<'_>,
    tell: impl Fn(&Known, &Session<'_, W>) -> String,
) -> Result<String, MachineError> {
    if !session.timeline().is_in_the_past() {
        let known = session.known();
        return Ok(tell(&known, session));
    }
    let Some(origin) = origin(session, line)? else { return Ok(given_up(session)) };
    let here = session.timeline().event();
    let place = Place { event: here, step: 0 };
    let kept = session.timeline().kept_before(place, Option::is_some);
    let mut text = given_up(session);
    if let Some((place, Some(known))) = kept
        && session.go_to(line, place)?
    {
        let mut observer = Observer { known: (*known).clone(), line };
        let (run, timeline, _) = session.parts(None);
        while timeline.event() < here && !run.has_ended() && !observer.gives_up() {
            timeline.turn(run, &mut observer)?;
        }
        if timeline.event() == here {
            text = tell(&observer.known, session);
        }
    }
    if !origin.back(session, line)? {
        text += "given up on the way back\n";
    }
    Ok(text)
}
