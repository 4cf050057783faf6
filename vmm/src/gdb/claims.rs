//! What is claimed of the processor at kernel stacks, and what the debugged guest has shown of it.

use super::known::Memory;
use super::monitor::{given_up, origin};
use super::session::Session;
use super::socket::Line;
use crate::check::{Judge, Judged, Sink};
use crate::claims::{CLAIMS, Claim, Collector, Row, STRANGER, Subject, Table};
use crate::host::Backend;
use crate::machine::MachineError;
use crate::run::{End, Ending, Event, Run};
use crate::timeline::{Company, Place, Remark};
use crate::trace::Colour;
use std::io::Write;

/// Events that are looked at, at most: what is kept of each has its size.
const MOST: u64 = 20_000;

/// Who looks on while the guest goes from one place to another once more.
struct Observer<'s> {
    judge: Judge,
    collector: Collector,
    line: &'s Line<'s>,
}

impl Company for Observer<'_> {
    type Memory = Memory;

    fn memory(&self) -> Memory {
        None
    }

    fn put_back(&mut self, _: &Memory) {}

    fn told(&mut self, run: &mut Run, event: &Event, _: bool) -> Remark {
        if !matches!(event, Event::End(_)) {
            let judged: Judged = self.judge.judge(run.machine(), event.clone());
            self.collector.take(run.machine(), &judged);
        }
        Remark::default()
    }

    fn gives_up(&mut self) -> bool {
        self.line.calls()
    }
}

/// The claims with these names or initials, and what was shown of each between the beginning and here. The guest stays
/// where it is.
pub(super) fn table<W: Write>(
    session: &mut Session<'_, W>,
    line: &Line<'_>,
    names: &[&str],
) -> Result<String, MachineError> {
    let claims: Vec<&'static Claim> =
        CLAIMS.iter().filter(|claim| is_wanted(claim, names)).collect();
    if claims.is_empty() {
        return Ok(format!("there is no such claim of the processor: {}\n", names.join(" ")));
    }
    let Some(origin) = origin(session, line)? else { return Ok(given_up(session)) };
    let here = session.timeline().event();
    let first = session.timeline().first_event().max(here.saturating_sub(MOST));
    let start = Place { event: first, step: 0 };
    let mut text = given_up(session);
    if session.go_to(line, start)? {
        let judge = session.judge_afresh();
        let mut observer = Observer { judge, collector: Collector::new(&STRANGER), line };
        let (run, timeline, _) = session.parts(None);
        while timeline.event() < here && !run.has_ended() && !observer.gives_up() {
            timeline.turn(run, &mut observer)?;
        }
        if timeline.event() == here {
            let end = End { ending: Ending::Enough, state: run.state(), last_event: None };
            let seen = observer.collector.finish(end, run.machine(), &STRANGER);
            let judged =
                |claim: &&'static Claim| Row::new(claim, "guest", (claim.judge)(&seen), None);
            let table =
                Table { rows: claims.iter().map(judged).collect(), backend: Backend::detect() };
            text = table.text(Colour::new(false));
            text += &format!("of events {first} to {here}\n");
        }
    }
    if !origin.back(session, line)? {
        text += "given up on the way back\n";
    }
    Ok(text)
}

/// What is claimed of kernels is claimed of esp0's own.
fn is_wanted(claim: &Claim, names: &[&str]) -> bool {
    let named = |name: &&str| {
        let start = claim.id.get(..name.len());
        claim.id.eq_ignore_ascii_case(name)
            || (name.len() == 1 && start.is_some_and(|start| start.eq_ignore_ascii_case(name)))
    };
    claim.subject == Subject::Hardware && (names.is_empty() || names.iter().any(named))
}
