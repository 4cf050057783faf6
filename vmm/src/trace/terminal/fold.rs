//! Runs of ordinary entries, in one line.
//!
//! A timer ticks a hundred times a second, and each tick looks like the last one. So an interrupt or a system call
//! of a kind that has been shown, and that nothing is to be said of, is counted instead of printed. Faults are
//! always shown: they are rare, and each has a place of its own.

use super::super::event_name;
use super::super::schema::EntryRecord;
use crate::check::EventKind;
use crate::entry::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// A run is shown when it has so many entries, so that a long one is seen to go on.
const MOST: u64 = 10_000;

/// How many tasks are named.
const TASKS: usize = 8;

/// Entries that were not printed.
#[derive(Debug, Default)]
pub(super) struct Fold {
    first: u64,
    last: u64,
    count: u64,
    kinds: BTreeMap<EventKind, u64>,
    tasks: BTreeSet<u32>,
    /// The only one, as long as there is one.
    only: Option<String>,
}

/// Whether an entry may be folded into a line with others.
pub(super) fn is_ordinary(entry: &EntryRecord) -> bool {
    matches!(entry.kind, Kind::External | Kind::Software)
        && entry.findings.is_empty()
        && entry.notes.is_empty()
}

impl Fold {
    /// Adds an entry; `line` is what it would be printed as. The text of the run, if it has become too long.
    pub(super) fn add(
        &mut self,
        entry: &EntryRecord,
        line: impl FnOnce() -> String,
    ) -> Option<String> {
        if self.count == 0 {
            self.first = entry.sequence;
            self.only = Some(line());
        } else {
            self.only = None;
        }
        self.last = entry.sequence;
        self.count += 1;
        *self.kinds.entry((entry.vector(), entry.kind, entry.from_ring)).or_default() += 1;
        if self.tasks.len() <= TASKS {
            self.tasks.insert(entry.task);
        }
        if self.count == MOST { self.take() } else { None }
    }

    /// The run, as a line; none if there was nothing.
    pub(super) fn take(&mut self) -> Option<String> {
        let Fold { first, last, count, kinds, tasks, only } = std::mem::take(self);
        if count < 2 {
            return only;
        }
        let kinds: Vec<String> = kinds
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
        let numbers: Vec<String> = tasks.iter().take(TASKS).map(u32::to_string).collect();
        let whose = match (&*numbers, tasks.len() > TASKS) {
            ([one], _) if one == "0" => String::new(),
            ([one], _) => format!("; task {one}"),
            (many, false) => format!("; tasks {}", many.join(" ")),
            (many, true) => format!("; tasks {} and others", many.join(" ")),
        };
        Some(format!("{first:>6} … {last}  {}: all ok{whose}", kinds.join(", ")))
    }
}
