//! Runs of events without a line of their own, in one line.
//!
//! A timer ticks a hundred times a second, and each tick looks like the last one. So what is of a kind that has been
//! shown, and tells nothing new, is counted instead of printed; `own_lines` says which that is.

use super::super::event_name;
use super::super::line::numbered;
use super::super::schema::{EntryRecord, FindingRecord, SwitchBy, SwitchRecord};
use crate::check::EventKind;
use std::collections::{BTreeMap, BTreeSet};

/// A run is shown when it has so many events, so that a long one is seen to go on.
const MOST: u64 = 10_000;

/// How many tasks are named.
const TASKS: usize = 8;

/// Events that were not printed.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// The first entry and the last.
    range: Option<(u64, u64)>,
    kinds: BTreeMap<EventKind, u64>,
    tasks: BTreeSet<u32>,
    /// By a far jump, by a task gate, and by an IRET.
    switches: [u64; 3],
    /// Of all these.
    count: u64,
    /// How many of them have findings, and how many notes, all of them told before.
    findings: u64,
    notes: u64,
    /// The only one, as long as there is one.
    only: Option<String>,
}

impl Fold {
    /// Adds an entry; `line` is what it would be printed as. The text of the run, if it has become too long.
    pub(super) fn add(
        &mut self,
        entry: &EntryRecord,
        line: impl FnOnce() -> String,
    ) -> Option<String> {
        let first = self.range.map_or(entry.sequence, |(first, _)| first);
        self.range = Some((first, entry.sequence));
        *self.kinds.entry((entry.vector(), entry.kind, entry.from_ring)).or_default() += 1;
        self.event(entry.task, &entry.findings, &entry.notes, line)
    }

    /// The same of a task switch.
    pub(super) fn add_switch(
        &mut self,
        switch: &SwitchRecord,
        line: impl FnOnce() -> String,
    ) -> Option<String> {
        let by = match switch.by {
            SwitchBy::Jump => 0,
            SwitchBy::Gate => 1,
            SwitchBy::Iret => 2,
        };
        self.switches[by] += 1;
        self.event(switch.task, &switch.findings, &switch.notes, line)
    }

    fn event(
        &mut self,
        task: u32,
        findings: &[FindingRecord],
        notes: &[FindingRecord],
        line: impl FnOnce() -> String,
    ) -> Option<String> {
        self.only = (self.count == 0).then(line);
        self.count += 1;
        self.findings += u64::from(!findings.is_empty());
        self.notes += u64::from(!notes.is_empty());
        if self.tasks.len() <= TASKS {
            self.tasks.insert(task);
        }
        if self.count == MOST { self.take() } else { None }
    }

    /// The run, as a line; none if there was nothing.
    pub(super) fn take(&mut self) -> Option<String> {
        let run = std::mem::take(self);
        if run.count < 2 {
            return run.only;
        }
        let mut kinds: Vec<String> = run
            .kinds
            .iter()
            .map(|((vector, kind, ring), count)| {
                let name = event_name(*kind, *vector);
                if *ring == 3 {
                    format!("{count} × {name}")
                } else {
                    format!("{count} × {name} from ring {ring}")
                }
            })
            .collect();
        let names = ["jmp far to a task", "entry by a task gate", "iret to a task"];
        for (count, name) in run.switches.into_iter().zip(names).filter(|(count, _)| *count > 0) {
            kinds.push(format!("{count} × {name}"));
        }
        let range = match run.range {
            Some((first, last)) => format!("{first:>6} … {last}"),
            None => "       …".into(),
        };
        let (verdict, whose) = (run.verdict(), run.whose());
        Some(format!("{range}  {}: {verdict}{whose}", kinds.join(", ")))
    }

    fn verdict(&self) -> String {
        let mut text = match self.findings {
            0 => "all ok".to_owned(),
            all if all == self.count => "all with findings told before".to_owned(),
            some => format!("{some} with findings told before, the others ok"),
        };
        if self.notes > 0 {
            text += &format!("; {} with notes told before", self.notes);
        }
        text
    }

    fn whose(&self) -> String {
        let numbers: Vec<String> =
            self.tasks.iter().filter(|task| **task > 0).take(TASKS).map(u32::to_string).collect();
        let whose = match (&*numbers, self.tasks.len() > TASKS) {
            ([], _) => return String::new(),
            ([one], _) => format!("; task {one}"),
            (many, false) => format!("; tasks {}", many.join(" ")),
            (many, true) => format!("; tasks {} and others", many.join(" ")),
        };
        if self.tasks.contains(&0) { format!("{whose}, {}", numbered(0)) } else { whose }
    }
}
