//! What a trace comes to in numbers.

use super::line::numbered;
use super::schema::{EntryRecord, FrameRecord, PlaceUse, Record};
use super::{KnownPlaces, ReadError, TraceReader, event_name};
use crate::check::EventKind;
use ia32::Vector;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead;

/// Counts of a trace.
#[derive(Debug, Default)]
pub struct Stats {
    records: BTreeMap<&'static str, u64>,
    events: BTreeMap<EventKind, Times>,
    handlers: BTreeMap<u32, u64>,
    tasks: BTreeMap<u32, Stack>,
    deviations: BTreeMap<String, u64>,
    rules: BTreeMap<String, u64>,
    /// Entries that are not returned from, by task: where their frames end.
    live: BTreeMap<u32, Vec<u32>>,
    depths: BTreeMap<usize, u64>,
    clock: Clock,
    /// Time is counted in exits, and not in instructions.
    by_exits: bool,
}

/// How often something came, and the time that lay between.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    count: u64,
    /// When the last one came.
    last: Option<u64>,
    least: Option<u64>,
    most: u64,
}

/// What a task did.
#[derive(Clone, Copy, Debug, Default)]
struct Stack {
    entries: u64,
    returns: u64,
    /// Linear addresses of the lowest frame and of the highest frame's end.
    lowest: u32,
    top: u32,
    deepest: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    first: Option<u64>,
    last: u64,
}

/// Counts all of a trace.
///
/// # Errors
/// [`ReadError`] if a line cannot be read.
pub fn stats<R: BufRead>(trace: &mut TraceReader<R>) -> Result<(Stats, KnownPlaces), ReadError> {
    let (mut stats, mut places) = (Stats::default(), KnownPlaces::default());
    stats.by_exits = trace.header().clock == "exits";
    while let Some(record) = trace.next_record()? {
        *stats.records.entry(record.kind()).or_default() += 1;
        match record {
            Record::Place(place) => places.learn(place),
            Record::Entry(entry) => stats.entry(&entry),
            Record::Return(returning) => {
                stats.said(&returning.deviations, returning.findings.iter().map(|one| &one.rule));
                stats.leave(returning.task, &returning.frame);
            }
            Record::Returned(returned) => {
                stats.said(&returned.deviations, returned.findings.iter().map(|one| &one.rule));
            }
            Record::Sysenter(entry) => {
                stats.said(&entry.deviations, entry.findings.iter().map(|one| &one.rule));
            }
            Record::Crossing(crossing) => {
                stats.said(&crossing.deviations, crossing.findings.iter().map(|one| &one.rule));
            }
            Record::Switch(switch) => {
                stats.said(&switch.deviations, switch.findings.iter().map(|one| &one.rule));
            }
            Record::End(end) => stats.said(&[], end.findings.iter().map(|one| &one.rule)),
            Record::Header(_) | Record::Stack(_) | Record::Console(_) | Record::Cause(_) => {}
        }
    }
    Ok((stats, places))
}

impl Stats {
    fn unit(&self) -> &'static str {
        if self.by_exits { "exits" } else { "instructions" }
    }

    fn entry(&mut self, entry: &EntryRecord) {
        self.said(&entry.deviations, entry.findings.iter().map(|one| &one.rule));
        let event = self.events.entry((entry.vector(), entry.kind, entry.from_ring)).or_default();
        event.add(entry.time);
        self.clock.first.get_or_insert(entry.time);
        self.clock.last = entry.time;
        if let Some(gate) = entry.gate() {
            *self.handlers.entry(gate.offset).or_default() += 1;
        }
        let live = self.live.entry(entry.task).or_default();
        if entry.from_outer_ring() {
            live.clear();
        }
        live.push(entry.frame.end());
        *self.depths.entry(live.len()).or_default() += 1;
        let (end, low) = (entry.frame.end(), entry.frame.address);
        let stack = self.tasks.entry(entry.task).or_insert(Stack {
            lowest: low,
            top: end,
            ..Stack::default()
        });
        stack.entries += 1;
        stack.lowest = stack.lowest.min(low);
        stack.top = stack.top.max(end);
        stack.deepest = stack.deepest.max(live.len());
    }

    fn leave(&mut self, task: u32, frame: &FrameRecord) {
        if let Some(stack) = self.tasks.get_mut(&task) {
            stack.returns += 1;
        }
        if let Some(live) = self.live.get_mut(&task)
            && let Some(index) = live.iter().rposition(|end| *end == frame.end())
        {
            live.truncate(index);
        }
    }

    fn said<'a>(&mut self, deviations: &[String], rules: impl Iterator<Item = &'a String>) {
        for name in deviations {
            *self.deviations.entry(name.clone()).or_default() += 1;
        }
        for rule in rules {
            *self.rules.entry(rule.clone()).or_default() += 1;
        }
    }

    /// As a table.
    pub fn text(&self, places: &KnownPlaces) -> String {
        let mut text = String::new();
        let records: Vec<String> =
            self.records.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let _ = writeln!(text, "records      {}", records.join("   "));
        if let Some(first) = self.clock.first.filter(|first| *first != self.clock.last) {
            let _ = writeln!(
                text,
                "time         {} {} between the first and the last entry",
                self.clock.last - first,
                self.unit(),
            );
        }
        let mut heading = "events";
        for ((vector, kind, ring), times) in &self.events {
            let name = event_name(*kind, Vector(vector.0));
            let _ = writeln!(
                text,
                "{heading:<12} {:<8} {name} from ring {ring}{}",
                times.count,
                times.between(self.unit())
            );
            heading = "";
        }
        let mut heading = "handlers";
        for (handler, count) in &self.handlers {
            let name = places.find(PlaceUse::Code, 0, *handler);
            let name = name.map_or(String::new(), |name| format!("  {name}"));
            let _ = writeln!(text, "{heading:<12} {count:<8} {handler:08x}{name}");
            heading = "";
        }
        let mut heading = "tasks";
        for (task, stack) in &self.tasks {
            let name = numbered(*task);
            let _ = writeln!(
                text,
                "{heading:<12} {name:<8} entries {}  returns {}  frames {:08x} to {:08x}  deepest {}",
                stack.entries, stack.returns, stack.lowest, stack.top, stack.deepest
            );
            heading = "";
        }
        let depths: Vec<String> =
            self.depths.iter().map(|(depth, count)| format!("{depth}: {count}")).collect();
        if !depths.is_empty() {
            let _ = writeln!(
                text,
                "depth        entries by frames on their stack: {}",
                depths.join("   ")
            );
        }
        for (heading, counts) in [("deviations", &self.deviations), ("findings", &self.rules)] {
            let counts: Vec<String> =
                counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let counts = if counts.is_empty() { "none".into() } else { counts.join("   ") };
            let _ = writeln!(text, "{heading:<12} {counts}");
        }
        text
    }
}

impl Times {
    fn add(&mut self, time: u64) {
        self.count += 1;
        if let Some(last) = self.last.replace(time) {
            let gap = time.saturating_sub(last);
            self.least = Some(self.least.map_or(gap, |least| least.min(gap)));
            self.most = self.most.max(gap);
        }
    }

    /// The time between two of them, where the clock counts.
    fn between(&self, unit: &str) -> String {
        match self.least {
            Some(least) if self.most > 0 => {
                format!("  every {least} to {} {unit}", self.most)
            }
            _ => String::new(),
        }
    }
}
