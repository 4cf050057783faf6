//! What is claimed of the processor at kernel stacks, and what the debugged guest has shown of it.

use super::once_more::once_more;
use super::session::Session;
use super::socket::Line;
use crate::check::{Judge, Sink};
use crate::claims::{CLAIMS, Claim, ClaimsRow, ClaimsTable, Collector, STRANGER, Topic};
use crate::host::Backend;
use crate::machine::MachineError;
use crate::run::{End, Ending, Event, Run};
use crate::timeline::Place;
use crate::trace::Colour;
use std::io::Write;

/// Events that are looked at, at most: what is kept of each has its size.
const MOST: u64 = 20_000;

/// What has been seen from the first of the events on that are looked at.
struct Seen {
    first: u64,
    judge: Judge,
    collector: Collector,
}

impl Seen {
    fn told(&mut self, run: &Run, event: &Event) {
        let judged = self.judge.judge(run.machine(), event.clone());
        self.collector.take(run.machine(), &judged);
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
    let start = |session: &Session<'_, W>| {
        let timeline = session.timeline();
        let first = timeline.first_event().max(timeline.event().saturating_sub(MOST));
        let (judge, collector) = (session.judge_afresh(), Collector::new(&STRANGER));
        Some((Place { event: first, step: 0 }, Seen { first, judge, collector }))
    };
    once_more(session, line, start, Seen::told, |Seen { first, collector, .. }, session| {
        let here = session.timeline().event();
        let run = session.run();
        let end =
            End { ending: Ending::Enough, state: run.state(), last_event: None, arriving: None };
        let seen = collector.finish(end, run.machine(), &STRANGER);
        let judged =
            |claim: &&'static Claim| ClaimsRow::new(claim, "guest", (claim.judge)(&seen), None);
        let table =
            ClaimsTable { rows: claims.iter().map(judged).collect(), backend: Backend::detect() };
        table.text(Colour::new(false)) + &format!("of events {first} to {here}\n")
    })
}

/// What is claimed of kernels is claimed of esp0's own.
fn is_wanted(claim: &Claim, names: &[&str]) -> bool {
    let named = |name: &&str| {
        let start = claim.id.get(..name.len());
        claim.id.eq_ignore_ascii_case(name)
            || (name.len() == 1 && start.is_some_and(|start| start.eq_ignore_ascii_case(name)))
    };
    claim.subject == Topic::Hardware && (names.is_empty() || names.iter().any(named))
}
