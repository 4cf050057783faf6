//! What came of many cases: counted, and the first of each kind kept.

use super::case::Case;
use super::fit::Unfit;
use super::mismatch::CaseMismatch;
use crate::machine::MachineError;
use ia32::{Branch, Path};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What came of a case, without what was expected of it.
#[derive(Debug)]
pub(super) enum Weighed {
    /// It was not run.
    Unfit(Unfit),
    /// It was compared.
    Compared {
        /// The branches that it takes in the model.
        path: Path,
        /// Names of the known deviations that it shows.
        known: Vec<&'static str>,
        /// What is none of them.
        unknown: Option<Box<CaseMismatch>>,
    },
}

/// A mismatch with the case that shows it.
#[derive(Clone, Debug)]
pub struct FoundMismatch {
    /// Its number in the run.
    pub number: u64,
    /// As drawn, or shrunk.
    pub case: Case,
    /// What differed.
    pub mismatch: CaseMismatch,
    /// How many other cases of the run differed in the same fields.
    pub others: u64,
    /// What the model says, step by step.
    pub explanation: String,
}

/// A known deviation, as a run has met it.
#[derive(Clone, Debug)]
pub struct MetDeviation {
    /// In how many cases.
    pub count: u64,
    /// The case shows no other deviation.
    pub alone: bool,
    /// The number of the first case, of one that shows it alone if there is any.
    pub number: u64,
    /// That case; where cases are collected, shrunk.
    pub case: Case,
}

impl MetDeviation {
    /// Adds what was met elsewhere.
    fn merge(&mut self, other: MetDeviation) {
        let count = self.count + other.count;
        if (!other.alone, other.number) < (!self.alone, self.number) {
            *self = other;
        }
        self.count = count;
    }
}

/// Cases that KVM did not take.
#[derive(Debug)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// The number of the first.
    pub number: u64,
    /// That case.
    pub case: Case,
    /// What KVM answered.
    pub error: MachineError,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Summary {
    /// Cases that were compared.
    pub compared: u64,
    /// Cases that were not run, by reason.
    pub unfit: BTreeMap<Unfit, u64>,
    /// Known deviations by name.
    pub deviations: BTreeMap<&'static str, MetDeviation>,
    /// Unknown mismatches, the first of each kind.
    pub found: Vec<FoundMismatch>,
    /// Unknown mismatches in all.
    pub mismatches: u64,
    /// Branches of the model that were taken.
    pub path: Path,
    /// Cases whose set of branches no earlier case had, if they were asked for.
    pub collected: BTreeMap<[u64; 3], (u64, Case)>,
    /// A signal ended the run early.
    pub interrupted: bool,
    /// Cases that could not be run, because KVM refused something that they need.
    pub refused: Option<Refused>,
    /// A part of the run ended early for this reason. What was found before is here.
    pub failed: Option<MachineError>,
}

impl Summary {
    /// The branches of the model that no case took.
    pub fn branches_missing(&self) -> impl Iterator<Item = Branch> {
        let path = self.path;
        Branch::ALL.iter().copied().filter(move |branch| !path.contains(*branch))
    }

    /// Counts a case that KVM has refused.
    pub(super) fn refuse(&mut self, refused: Refused) {
        match &mut self.refused {
            Some(known) => {
                let count = known.count + refused.count;
                if refused.number < known.number {
                    *known = refused;
                }
                known.count = count;
            }
            none => *none = Some(refused),
        }
    }

    pub(super) fn merge(&mut self, other: Summary) {
        if let Some(refused) = other.refused {
            self.refuse(refused);
        }
        self.failed = self.failed.take().or(other.failed);
        self.compared += other.compared;
        self.mismatches += other.mismatches;
        self.path = self.path.union(other.path);
        self.interrupted |= other.interrupted;
        for (reason, count) in other.unfit {
            *self.unfit.entry(reason).or_default() += count;
        }
        for (name, met) in other.deviations {
            self.meet(name, met);
        }
        for (path, (number, case)) in other.collected {
            match self.collected.get(&path) {
                Some((known, _)) if *known < number => {}
                _ => {
                    self.collected.insert(path, (number, case));
                }
            }
        }
        for found in other.found {
            self.keep(found);
        }
    }

    /// Counts a case.
    pub(super) fn add(&mut self, number: u64, case: &Case, weighed: Weighed, collect: bool) {
        let (path, known, unknown) = match weighed {
            Weighed::Unfit(unfit) => {
                *self.unfit.entry(unfit).or_default() += 1;
                return;
            }
            Weighed::Compared { path, known, unknown } => (path, known, unknown),
        };
        self.compared += 1;
        self.path = self.path.union(path);
        let alone = known.len() == 1;
        for name in known {
            self.meet(name, MetDeviation { count: 1, alone, number, case: case.clone() });
        }
        if let Some(mismatch) = unknown {
            self.mismatches += 1;
            let explanation = String::new();
            self.keep(FoundMismatch {
                number,
                case: case.clone(),
                mismatch: *mismatch,
                others: 0,
                explanation,
            });
        }
        if collect {
            self.collected.entry(path.to_bits()).or_insert_with(|| (number, case.clone()));
        }
    }

    /// Keeps a mismatch that an earlier run has counted.
    pub(super) fn found_before(&mut self, number: u64, case: &Case, mismatch: CaseMismatch) {
        let explanation = String::new();
        self.keep(FoundMismatch { number, case: case.clone(), mismatch, others: 0, explanation });
    }

    fn meet(&mut self, name: &'static str, met: MetDeviation) {
        match self.deviations.entry(name) {
            Entry::Occupied(mut known) => known.get_mut().merge(met),
            Entry::Vacant(free) => {
                free.insert(met);
            }
        }
    }

    /// Keeps the first of each kind.
    fn keep(&mut self, found: FoundMismatch) {
        let kind = found.mismatch.kind();
        match self.found.iter_mut().find(|known| known.mismatch.kind() == kind) {
            Some(known) => {
                let others = known.others + found.others + 1;
                if found.number < known.number {
                    *known = found;
                }
                known.others = others;
            }
            None => self.found.push(found),
        }
    }
}

impl Summary {
    pub(super) fn of_failure(error: MachineError) -> Self {
        Summary { failed: Some(error), ..Summary::default() }
    }
}
