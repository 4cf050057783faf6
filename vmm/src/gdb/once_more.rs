//! The way to where the guest stands, gone once more for somebody who looks on.

use super::known::Remembered;
use super::monitor::given_up;
use super::origin::origin;
use super::session::Session;
use super::socket::Line;
use crate::machine::MachineError;
use crate::run::{Event, Run};
use crate::timeline::{Company, Place, Remark};
use std::io::Write;

/// Who looks on.
struct Observer<'s, F> {
    told: F,
    line: &'s Line<'s>,
}

impl<F: FnMut(&Run, &Event)> Company for Observer<'_, F> {
    type Memory = Remembered;

    fn memory(&self) -> Remembered {
        None
    }

    fn put_back(&mut self, _: &Remembered) {}

    fn told(&mut self, run: &mut Run, event: &Event, _: bool) -> Remark {
        if !matches!(event, Event::End(_)) {
            (self.told)(run, event);
        }
        Remark::default()
    }

    fn gives_up(&mut self) -> bool {
        self.line.calls()
    }
}

/// What `text` makes of what was seen, the guest being where it stands now. `start` names the place to begin at, with what was
/// seen before it; `look` takes each event from there on. The guest stays where it is.
pub(super) fn once_more<W: Write, T>(
    session: &mut Session<'_, W>,
    line: &Line<'_>,
    start: impl FnOnce(&Session<'_, W>) -> Option<(Place, T)>,
    mut look: impl FnMut(&mut T, &Run, &Event),
    text: impl FnOnce(T, &mut Session<'_, W>) -> String,
) -> Result<String, MachineError> {
    let Some(origin) = origin(session, line)? else { return Ok(given_up(session)) };
    let here = session.timeline().event();
    let mut told = given_up(session);
    if let Some((place, mut seen)) = start(session)
        && session.go_to(line, place)?
    {
        let mut observer =
            Observer { told: |run: &Run, event: &Event| look(&mut seen, run, event), line };
        let (run, timeline, _) = session.parts(None);
        while timeline.event() < here && !run.has_ended() && !observer.gives_up() {
            timeline.turn(run, &mut observer)?;
        }
        if timeline.event() == here {
            told = text(seen, session);
        }
    }
    origin.back(session)?;
    Ok(told)
}
