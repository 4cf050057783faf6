//! What is counted while a guest is judged.

use super::Judgement;
use crate::entry::{Crossing, Entry, Exact, Kind, Returned, SwitchCause, TaskSwitch};
use crate::host::Deviation;
use ia32::Vector;
use std::collections::BTreeMap;

/// What entries are counted by: the vector, what raised it, the ring that was interrupted.
pub type EventKind = (Vector, Kind, u8);

/// Counts of a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Entries in all.
    pub entries: u64,
    /// Entries from an outer ring.
    pub outer: u64,
    /// Entries from ring 0.
    pub same: u64,
    /// Entries by SYSENTER, which are none of those.
    pub sysenters: u64,
    /// Entries by call gates, which are none of those either.
    pub calls: u64,
    /// Far RETs to an outer ring.
    pub far_returns: u64,
    /// Returns that were seen, those aside that were refused.
    pub returns: u64,
    /// Task switches by a far jump.
    pub switches: u64,
    /// Entries by task gates.
    pub by_task_gates: u64,
    /// IRETs back to what those have interrupted.
    pub task_returns: u64,
    /// Findings in all.
    pub findings: u64,
    /// Notes in all: what is unusual, but consistent.
    pub notes: u64,
    /// Entries that were held against the model.
    pub exact_entries: u64,
    /// The same of returns.
    pub exact_returns: u64,
    events: BTreeMap<EventKind, u64>,
    /// Findings and notes by rule.
    rules: BTreeMap<&'static str, [u64; 2]>,
    deviations: BTreeMap<&'static str, (&'static Deviation, u64)>,
    /// The kind that was counted last, and how often in a row: counting such runs is cheap.
    last: Option<(EventKind, u64)>,
}

impl Tally {
    /// Counts an entry.
    #[inline]
    pub(super) fn entry(&mut self, entry: &Entry, judgement: &Judgement) {
        self.entries += 1;
        if entry.from_outer_ring() {
            self.outer += 1;
        } else {
            self.same += 1;
        }
        self.returns = self.returns.saturating_sub(u64::from(judgement.refuses_return));
        self.exact_entries += u64::from(is_decided(entry.exact.as_deref()));
        self.judged(judgement);
        let key = (entry.vector, entry.kind, entry.origin.ring);
        if let Some((last, count)) = &mut self.last
            && *last == key
        {
            *count += 1;
            return;
        }
        self.settle();
        self.last = Some((key, 1));
    }

    /// Entries of all kinds.
    pub(super) fn in_all(&self) -> u64 {
        self.entries + self.sysenters + self.calls + self.by_task_gates
    }

    /// Counts a return.
    #[inline]
    pub(super) fn leave(&mut self, judgement: &Judgement) {
        self.returns += 1;
        self.judged(judgement);
    }

    /// Counts an IRET that exact mode saw as a whole.
    pub(super) fn returned(&mut self, returned: &Returned, judgement: &Judgement) {
        self.exact_returns += u64::from(returned.exact.decided);
        self.judged(judgement);
    }

    /// Counts an entry by SYSENTER.
    pub(super) fn sysenter(&mut self, judgement: &Judgement) {
        self.sysenters += 1;
        self.judged(judgement);
    }

    /// Counts an entry by a call gate, or the way back.
    pub(super) fn crossing(&mut self, crossing: &Crossing, judgement: &Judgement) {
        match crossing.is_call() {
            true => self.calls += 1,
            false => self.far_returns += 1,
        }
        self.judged(judgement);
    }

    /// Counts a task switch.
    pub(super) fn switch(&mut self, switch: &TaskSwitch, judgement: &Judgement) {
        match switch.cause {
            SwitchCause::Jump => self.switches += 1,
            SwitchCause::Gate { .. } => self.by_task_gates += 1,
            SwitchCause::Return => self.task_returns += 1,
        }
        self.judged(judgement);
    }

    /// Counts what was said of an event, or of the run as a whole.
    #[inline(always)]
    pub(super) fn judged(&mut self, judgement: &Judgement) {
        if !judgement.is_unremarkable() {
            self.count(judgement);
        }
    }

    fn count(&mut self, judgement: &Judgement) {
        for deviation in &judgement.deviations {
            self.deviations.entry(deviation.name).or_insert((deviation, 0)).1 += 1;
        }
        for finding in &judgement.findings {
            self.findings += 1;
            self.rules.entry(finding.rule).or_default()[0] += 1;
        }
        for note in &judgement.notes {
            self.notes += 1;
            self.rules.entry(note.rule).or_default()[1] += 1;
        }
    }

    fn settle(&mut self) {
        if let Some((key, count)) = self.last.take() {
            *self.events.entry(key).or_default() += count;
        }
    }

    /// Entries by their kind.
    pub fn events(&self) -> BTreeMap<EventKind, u64> {
        let mut events = self.events.clone();
        if let Some((key, count)) = self.last {
            *events.entry(key).or_default() += count;
        }
        events
    }

    /// How many findings and how many notes each rule made.
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, [u64; 2])> {
        self.rules.iter().map(|(rule, counts)| (*rule, *counts))
    }

    /// The known deviations that showed, and how often.
    pub fn deviations(&self) -> impl Iterator<Item = (&'static Deviation, u64)> {
        self.deviations.values().copied()
    }
}

fn is_decided(exact: Option<&Exact>) -> bool {
    exact.is_some_and(|exact| exact.decided)
}
