//! Where the guest is while something else is looked for: it comes back to there at once, whatever became of that.

use super::session::Session;
use super::socket::Line;
use crate::machine::MachineError;
use crate::run::Checkpoint;
use crate::timeline::Mark;
use std::io::Write;

/// A place to come back to.
pub(super) enum Origin {
    /// It lies in the past.
    Past(Box<Checkpoint>, Mark),
    /// The farthest place, which is kept anyway.
    End,
}

impl Origin {
    pub(super) fn back<W: Write>(self, session: &mut Session<'_, W>) -> Result<(), MachineError> {
        match self {
            Origin::Past(checkpoint, mark) => {
                let (run, timeline, along) = session.parts(None);
                timeline.restore(run, &along, &checkpoint, mark).map(|_| ())
            }
            Origin::End => session.reach_the_end(),
        }
    }
}

/// Where the guest is now; none if that was not to be found out, since gdb called or the run did not repeat.
pub(super) fn origin<W: Write>(
    session: &mut Session<'_, W>,
    line: &Line<'_>,
) -> Result<Option<Origin>, MachineError> {
    let (run, timeline, mut along) = session.parts(Some(line));
    if !timeline.count(run, &mut along)? {
        return Ok(None);
    }
    Ok(Some(match timeline.is_in_the_past() {
        true => Origin::Past(Box::new(run.checkpoint()?), timeline.mark()),
        false => Origin::End,
    }))
}
