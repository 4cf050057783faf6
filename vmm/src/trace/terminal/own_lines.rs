//! Which events have a line of their own.
//!
//! A kernel may have the same exception at each step, or the same remark on each interrupt, and what is printed is not
//! to grow with the run. So the first of each kind has a line, and what tells something new; of what is worth more than
//! one look, exceptions and what is wrong, some have one, and the others are counted.

use super::super::schema::{CrossingRecord, EntryRecord, SwitchBy, SwitchRecord, SysenterRecord};
use crate::check::EventKind;
use crate::entry::Kind;
use rustc_hash::{FxHashMap, FxHashSet};

/// So many of a kind have a line each.
const SOME: u32 = 8;

/// So many kinds are told apart; a kernel that writes its gates anew each time would have ever more.
const KINDS: usize = 64;

/// What is one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Group {
    /// An exception by a gate, or any entry that findings were made of.
    Entry {
        kind: EventKind,
        gate: u64,
        wrong: bool,
    },
    /// An entry by SYSENTER that findings were made of.
    Sysenter,
    /// A crossing by a call gate that findings were made of.
    Crossing,
    Switch {
        by: SwitchBy,
        wrong: bool,
    },
}

/// The lines that there were.
#[derive(Debug, Default)]
pub(super) struct OwnLines {
    seen: FxHashSet<EventKind>,
    sysentered: bool,
    /// There was a crossing inwards, and one outwards.
    crossed: [bool; 2],
    some: FxHashMap<Group, u32>,
}

impl OwnLines {
    /// Whether the entry is the first of its kind.
    pub(super) fn is_first(&mut self, entry: &EntryRecord) -> bool {
        self.seen.insert(kind(entry))
    }

    /// Whether an entry that is not the first and tells nothing new has a line all the same.
    pub(super) fn of_entry(&mut self, entry: &EntryRecord) -> bool {
        let wrong = !entry.findings.is_empty();
        let ordinary = matches!(entry.kind, Kind::External | Kind::Software) && !wrong;
        !ordinary && self.another(Group::Entry { kind: kind(entry), gate: entry.gate, wrong })
    }

    /// The same of one by SYSENTER, of which the first has a line.
    pub(super) fn of_sysenter(&mut self, entry: &SysenterRecord) -> bool {
        let first = !std::mem::replace(&mut self.sysentered, true);
        first || !entry.findings.is_empty() && self.another(Group::Sysenter)
    }

    /// The same of a crossing by a call gate, of which the first of each way has a line.
    pub(super) fn of_crossing(&mut self, crossing: &CrossingRecord) -> bool {
        let crossed = &mut self.crossed[usize::from(crossing.is_call())];
        let first = !std::mem::replace(crossed, true);
        first || !crossing.findings.is_empty() && self.another(Group::Crossing)
    }

    /// The same of a task switch.
    pub(super) fn of_switch(&mut self, switch: &SwitchRecord) -> bool {
        self.another(Group::Switch { by: switch.by, wrong: !switch.findings.is_empty() })
    }

    fn another(&mut self, group: Group) -> bool {
        if self.some.len() == KINDS && !self.some.contains_key(&group) {
            return false;
        }
        let count = self.some.entry(group).or_default();
        *count = count.saturating_add(1);
        *count <= SOME
    }
}

fn kind(entry: &EntryRecord) -> EventKind {
    (entry.vector(), entry.kind, entry.from_ring)
}
