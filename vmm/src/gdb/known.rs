//! What had been seen of a guest up to where it stands: in the past less than up to the farthest place.
//!
//! The checkpoints that were taken on the way forwards have it with them. From the last of them on, the events up to here are
//! judged once more.

use super::once_more::once_more;
use super::session::Session;
use super::socket::Line;
use crate::check::{Judge, Judged};
use crate::machine::MachineError;
use crate::run::{Event, Run};
use crate::timeline::Place;
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
pub(super) type Remembered = Option<Rc<Known>>;

/// What `tell` says of what has been seen up to here. The guest stays where it is.
pub(super) fn tell<W: Write>(
    session: &mut Session<'_, W>,
    line: &Line<'_>,
    tell: impl Fn(&Known, &Session<'_, W>) -> String,
) -> Result<String, MachineError> {
    if !session.timeline().is_in_the_past() {
        return Ok(tell(&session.known(), session));
    }
    let last_kept = |session: &Session<'_, W>| {
        let here = Place { event: session.timeline().event(), step: 0 };
        let (place, known) = session.timeline().kept_before(here, Option::is_some)?;
        Some((place, (*known?).clone()))
    };
    once_more(session, line, last_kept, Known::told, |known, session| tell(&known, session))
}
