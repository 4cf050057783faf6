//! Many cases: drawn, run, compared, counted; and the mismatches shrunk.

use super::case::Case;
use super::fit::Unfit;
use super::generate::Generator;
use super::lab::{Lab, Verdict};
use super::mismatch::Mismatch;
use super::shrink::{shrink, shrink_deviation, shrink_path};
use crate::host::Backend;
use crate::machine::{MachineError, stop_requested};
use ia32::{Branch, Path};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many cases are run between two looks at all of memory.
pub(super) const BATCH: usize = 64;

/// Which cases a run has.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many.
    pub cases: u64,
    /// What they are drawn from.
    pub seed: u64,
    /// Of these only each `shards`-th, from `shard` on (0 is the first).
    pub shard: u64,
    /// How many shards there are, at least 1.
    pub shards: u64,
    /// How many VMs run at a time, at least 1.
    pub jobs: u64,
}

/// A mismatch with the case that shows it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its number in the run.
    pub number: u64,
    /// As drawn, or shrunk.
    pub case: Case,
    /// What differed.
    pub mismatch: Mismatch,
    /// How many other cases of the run differed in the same fields.
    pub others: u64,
    /// What the model says, step by step.
    pub explanation: String,
}

/// A known deviation, as a run has met it.
#[derive(Clone, Debug)]
pub struct Known {
    /// In how many cases.
    pub count: u64,
    /// The case shows no other deviation.
    pub alone: bool,
    /// The number of the first case, of one that shows it alone if there is any.
    pub number: u64,
    /// That case; where cases are collected, shrunk.
    pub case: Case,
}

impl Known {
    /// Adds what was met elsewhere.
    fn merge(&mut self, other: Known) {
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
    pub deviations: BTreeMap<&'static str, Known>,
    /// Unknown mismatches, the first of each kind.
    pub found: Vec<Found>,
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
    fn refuse(&mut self, refused: Refused) {
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

    fn merge(&mut self, other: Summary) {
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
    fn add(&mut self, number: u64, case: &Case, judged: Judged, collect: bool) {
        let (path, known, unknown) = match judged {
            Judged::Unfit(unfit) => {
                *self.unfit.entry(unfit).or_default() += 1;
                return;
            }
            Judged::Compared { path, known, unknown } => (path, known, unknown),
        };
        self.compared += 1;
        self.path = self.path.union(path);
        let alone = known.len() == 1;
        for name in known {
            self.meet(name, Known { count: 1, alone, number, case: case.clone() });
        }
        if let Some(mismatch) = unknown {
            self.mismatches += 1;
            let explanation = String::new();
            self.keep(Found {
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

    fn meet(&mut self, name: &'static str, met: Known) {
        match self.deviations.entry(name) {
            Entry::Occupied(mut known) => known.get_mut().merge(met),
            Entry::Vacant(free) => {
                free.insert(met);
            }
        }
    }

    /// Keeps the first of each kind.
    fn keep(&mut self, found: Found) {
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

/// Runs a plan. `progress` is the number of cases done so far.
///
/// A part that KVM or the operating system does not let go on is in [`Summary::failed`], beside all that was found.
pub fn run(plan: &Plan, backend: &Backend, collect: bool, progress: &AtomicU64) -> Summary {
    let jobs = plan.jobs.max(1);
    let results: Vec<Summary> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs)
            .map(|job| {
                let work = move || run_job(plan, job, jobs, backend, collect, progress);
                std::thread::Builder::new().spawn_scoped(scope, work)
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.map(|thread| thread.join()) {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => Summary::of_failure(MachineError::Thread(error)),
            })
            .collect()
    });
    let mut summary = Summary::default();
    for result in results {
        summary.merge(result);
    }
    summary.found.sort_by_key(|found| found.number);
    summary
}

/// Runs given cases, on this thread.
///
/// # Errors
/// [`MachineError`] if KVM refuses something that is no matter of a case.
pub fn replay(cases: &[Case], backend: &Backend) -> Result<Summary, MachineError> {
    let mut lab = Lab::on(backend)?;
    let mut summary = Summary::default();
    for (number, case) in (0..).zip(cases) {
        match lab.judge(case) {
            Ok(verdict) => summary.add(number, case, judge(&lab, case, verdict), true),
            Err(error) => {
                summary.refuse(Refused { count: 1, number, case: case.clone(), error });
                lab.recover()?;
            }
        }
        if stop_requested() {
            summary.interrupted = true;
            break;
        }
    }
    for found in &mut summary.found {
        found.explanation = lab.explain(&found.case);
    }
    Ok(summary)
}

impl Summary {
    fn of_failure(error: MachineError) -> Self {
        Summary { failed: Some(error), ..Summary::default() }
    }
}

fn run_job(
    plan: &Plan,
    job: u64,
    jobs: u64,
    backend: &Backend,
    collect: bool,
    progress: &AtomicU64,
) -> Summary {
    let mut lab = match Lab::on(backend) {
        Ok(lab) => lab,
        Err(error) => return Summary::of_failure(error),
    };
    let mut summary = Summary::default();
    let parts = Parts { plan, job, jobs, collect, progress };
    if let Err(error) = parts.run(&mut lab, &mut summary) {
        summary.failed = Some(error);
    }
    summary
}

/// What one thread does of a plan.
struct Parts<'a> {
    plan: &'a Plan,
    job: u64,
    jobs: u64,
    collect: bool,
    progress: &'a AtomicU64,
}

impl Parts<'_> {
    fn run(&self, lab: &mut Lab, summary: &mut Summary) -> Result<(), MachineError> {
        let Parts { plan, job, jobs, collect, progress } = *self;
        let generator = Generator::new(plan.seed);
        let step = plan.shards.max(1) * jobs;
        let first = plan.shard + job * plan.shards.max(1);
        let mut numbers = (first..plan.cases).step_by(step as usize);
        loop {
            let batch: Vec<(u64, Case)> = numbers
                .by_ref()
                .take(BATCH)
                .map(|number| (number, generator.case(number)))
                .collect();
            if batch.is_empty() {
                break;
            }
            progress.fetch_add(batch.len() as u64, Ordering::Relaxed);
            match judge_batch(lab, &batch) {
                Ok(all) => {
                    for ((number, case), judged) in batch.iter().zip(all) {
                        summary.add(*number, case, judged, collect);
                    }
                }
                Err(_) => one_by_one(lab, &batch, collect, summary)?,
            }
            if stop_requested() {
                summary.interrupted = true;
                break;
            }
        }
        if collect {
            for (_, case) in summary.collected.values_mut() {
                *case = shrink_path(lab, case)?;
            }
            for (name, known) in &mut summary.deviations {
                known.case = shrink_deviation(lab, &known.case, name)?;
            }
        }
        for found in &mut summary.found {
            let (case, mismatch) = shrink(lab, &found.case, &found.mismatch)?;
            found.case = case;
            found.mismatch = mismatch;
            found.explanation = lab.explain(&found.case);
        }
        Ok(())
    }
}

/// The cases of a batch of which KVM has refused one.
fn one_by_one(
    lab: &mut Lab,
    batch: &[(u64, Case)],
    collect: bool,
    summary: &mut Summary,
) -> Result<(), MachineError> {
    lab.recover()?;
    for (number, case) in batch {
        match lab.judge(case) {
            Ok(verdict) => summary.add(*number, case, judge(lab, case, verdict), collect),
            Err(error) => {
                let case = case.clone();
                summary.refuse(Refused { count: 1, number: *number, case, error });
                lab.recover()?;
            }
        }
    }
    Ok(())
}

/// What came of a case, without what was expected of it.
#[derive(Debug)]
pub(super) enum Judged {
    /// It was not run.
    Unfit(Unfit),
    /// It was compared.
    Compared {
        /// The branches that it takes in the model.
        path: Path,
        /// Names of the known deviations that it shows.
        known: Vec<&'static str>,
        /// What is none of them.
        unknown: Option<Box<Mismatch>>,
    },
}

/// Runs some cases of which none is expected to write where it should not.
pub(super) fn judge_batch(
    lab: &mut Lab,
    batch: &[(u64, Case)],
) -> Result<Vec<Judged>, MachineError> {
    let mut judged = Vec::with_capacity(batch.len());
    for (_, case) in batch {
        let verdict = lab.judge_in_batch(case)?;
        judged.push(judge(lab, case, verdict));
    }
    if !lab.end_batch() {
        judged.clear();
        for (_, case) in batch {
            let verdict = lab.judge(case)?;
            judged.push(judge(lab, case, verdict));
        }
        lab.end_batch();
    }
    Ok(judged)
}

fn judge(lab: &Lab, case: &Case, verdict: Verdict) -> Judged {
    let path = lab.expectation().path();
    match verdict {
        Verdict::Unfit(unfit) => Judged::Unfit(unfit),
        Verdict::Same => Judged::Compared { path, known: Vec::new(), unknown: None },
        Verdict::Differs(mismatch) => match lab.known_deviations(case, &mismatch) {
            Some(known) => Judged::Compared { path, known, unknown: None },
            None => Judged::Compared { path, known: Vec::new(), unknown: Some(mismatch) },
        },
    }
}
