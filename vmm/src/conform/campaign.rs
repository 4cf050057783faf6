//! Many cases: drawn, run, compared, counted; and the mismatches shrunk.

use super::case::Case;
use super::generate::Generator;
use super::lab::{CaseOutcome, Lab};
use super::shrink::{shrink, shrink_deviation, shrink_path};
use super::summary::{Refused, Summary, Weighed};
use crate::host::Backend;
use crate::machine::{MachineError, StopRequest};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

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

/// How many cases of a shard are a chunk, of which a thread has one at a time.
pub const CHUNK: u64 = 256;

impl Plan {
    /// How many cases this shard has.
    pub fn size(&self) -> u64 {
        self.cases.saturating_sub(self.shard).div_ceil(self.shards.max(1))
    }

    /// How many chunks this shard has.
    pub fn chunks(&self) -> u64 {
        self.size().div_ceil(CHUNK)
    }

    /// The numbers of the cases of a chunk.
    fn numbers(&self, chunk: u64) -> impl Iterator<Item = u64> + use<> {
        let (shard, shards) = (self.shard, self.shards.max(1));
        let end = self.size().min((chunk + 1) * CHUNK);
        (chunk * CHUNK..end).map(move |place| shard + place * shards)
    }
}

/// What a run takes besides its plan.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// What stands behind /dev/kvm.
    pub backend: &'a Backend,
    /// Cases that take decisions of the model which no other takes are kept.
    pub collect: bool,
    /// The number of cases done so far.
    pub progress: &'a AtomicU64,
    /// Asks for an early end.
    pub stop: &'a StopRequest,
    /// Chunks that need not be run.
    pub done: &'a BTreeSet<u64>,
    /// Mismatches of those chunks, to be made small as well.
    pub known: &'a [(u64, Case)],
    /// Is told what came of a chunk, by the thread that ran it.
    pub sink: &'a (dyn Fn(u64, &Summary) + Sync),
}

impl std::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// Runs a plan.
///
/// A part that KVM or the operating system does not let go on is in [`Summary::failed`], beside all that was found.
pub fn run(plan: &Plan, backend: &Backend, stop: &StopRequest) -> Summary {
    let (progress, done) = (AtomicU64::new(0), BTreeSet::new());
    let sink = |_: u64, _: &Summary| ();
    let (progress, done) = (&progress, &done);
    let means = Means { backend, collect: false, progress, stop, done, known: &[], sink: &sink };
    match run_with(plan, &means, || Ok::<_, Infallible>(())) {
        Ok(summary) => summary,
        Err(never) => match never {},
    }
}

/// The same with these means. Once all threads and their machines are there, and before a case is run, `begin` is
/// called: a sandbox goes up there.
///
/// # Errors
/// That of `begin`, and then no case is run.
pub fn run_with<E>(
    plan: &Plan,
    means: &Means<'_>,
    begin: impl FnOnce() -> Result<(), E>,
) -> Result<Summary, E> {
    let shared =
        Shared { plan, means, next: &AtomicU64::new(0), abandoned: &AtomicBool::new(false) };
    // Held until all may begin.
    let gate = Mutex::new(());
    let (results, begun) = std::thread::scope(|scope| {
        let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let (ready, all_ready) = mpsc::channel::<Infallible>();
        let threads: Vec<_> = (0..plan.jobs.max(1))
            .map(|job| {
                let (ready, gate) = (ready.clone(), &gate);
                let work = move || shared.job(job == 0, ready, gate);
                std::thread::Builder::new().spawn_scoped(scope, work)
            })
            .collect();
        drop(ready);
        // Nothing is ever sent: it ends when the last thread has let go of its end.
        let _ = all_ready.recv();
        let begun = begin();
        shared.abandoned.store(begun.is_err(), Ordering::Relaxed);
        drop(closed);
        let results: Vec<Summary> = threads
            .into_iter()
            .map(|thread| match thread.map(|thread| thread.join()) {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => Summary::of_failure(MachineError::Thread(error)),
            })
            .collect();
        (results, begun)
    });
    begun?;
    let mut summary = Summary::default();
    for result in results {
        summary.merge(result);
    }
    summary.found.sort_by_key(|found| found.number);
    Ok(summary)
}

/// Runs given cases, on this thread.
///
/// # Errors
/// [`MachineError`] if KVM refuses something that is no matter of a case.
pub fn replay(
    cases: &[Case],
    backend: &Backend,
    stop: &StopRequest,
) -> Result<Summary, MachineError> {
    replay_with(cases, backend, stop, || Ok(()))
}

/// The same; `begin` is called when the machine is there, and before a case is run.
///
/// # Errors
/// [`MachineError`] if KVM refuses something that is no matter of a case, and that of `begin`.
pub fn replay_with<E: From<MachineError>>(
    cases: &[Case],
    backend: &Backend,
    stop: &StopRequest,
    begin: impl FnOnce() -> Result<(), E>,
) -> Result<Summary, E> {
    let mut lab = Lab::on(backend)?;
    begin()?;
    let mut summary = Summary::default();
    for (number, case) in (0..).zip(cases) {
        match lab.judge(case) {
            Ok(outcome) => summary.add(number, case, weigh(&lab, case, outcome), true),
            Err(error) => {
                summary.refuse(Refused { count: 1, number, case: case.clone(), error });
                lab.recover()?;
            }
        }
        if stop.is_requested() {
            summary.interrupted = true;
            break;
        }
    }
    for found in &mut summary.found {
        found.explanation = lab.explain(&found.case);
    }
    Ok(summary)
}

/// What the threads of a run have in common.
#[derive(Clone, Copy)]
struct Shared<'a> {
    plan: &'a Plan,
    means: &'a Means<'a>,
    /// The next chunk that nobody has.
    next: &'a AtomicU64,
    /// Nothing is to be run.
    abandoned: &'a AtomicBool,
}

impl Shared<'_> {
    /// One thread, from its machine to its results. `ready` is let go of when the machine is there.
    fn job(&self, first: bool, ready: mpsc::Sender<Infallible>, gate: &Mutex<()>) -> Summary {
        let lab = Lab::on(self.means.backend);
        drop(ready);
        drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
        if self.abandoned.load(Ordering::Relaxed) {
            return Summary::default();
        }
        let mut lab = match lab {
            Ok(lab) => lab,
            Err(error) => return Summary::of_failure(error),
        };
        let mut summary = Summary::default();
        if let Err(error) = self.run(&mut lab, &mut summary, first) {
            summary.failed = Some(error);
        }
        summary
    }

    fn run(&self, lab: &mut Lab, summary: &mut Summary, first: bool) -> Result<(), MachineError> {
        let Means { collect, stop, done, known, sink, .. } = *self.means;
        let generator = Generator::new(self.plan.seed);
        while !summary.interrupted {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            if chunk >= self.plan.chunks() {
                break;
            }
            if done.contains(&chunk) {
                continue;
            }
            let mut part = Summary::default();
            let ran = self.chunk(lab, &generator, chunk, &mut part);
            let whole = ran.is_ok() && !part.interrupted;
            if whole {
                sink(chunk, &part);
            }
            summary.merge(part);
            ran?;
            summary.interrupted |= stop.is_requested();
        }
        if first {
            for (number, case) in known {
                if let CaseOutcome::Differs(mismatch) = lab.judge(case)? {
                    summary.found_before(*number, case, *mismatch);
                }
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

    fn chunk(
        &self,
        lab: &mut Lab,
        generator: &Generator,
        chunk: u64,
        part: &mut Summary,
    ) -> Result<(), MachineError> {
        let Means { collect, progress, stop, .. } = *self.means;
        let mut numbers = self.plan.numbers(chunk);
        loop {
            let batch: Vec<(u64, Case)> = numbers
                .by_ref()
                .take(BATCH)
                .map(|number| (number, generator.case(number)))
                .collect();
            if batch.is_empty() {
                return Ok(());
            }
            progress.fetch_add(batch.len() as u64, Ordering::Relaxed);
            match judge_batch(lab, &batch) {
                Ok(all) => {
                    for ((number, case), weighed) in batch.iter().zip(all) {
                        part.add(*number, case, weighed, collect);
                    }
                }
                Err(_) => one_by_one(lab, &batch, collect, part)?,
            }
            if stop.is_requested() {
                part.interrupted = true;
                return Ok(());
            }
        }
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
            Ok(outcome) => summary.add(*number, case, weigh(lab, case, outcome), collect),
            Err(error) => {
                let case = case.clone();
                summary.refuse(Refused { count: 1, number: *number, case, error });
                lab.recover()?;
            }
        }
    }
    Ok(())
}

/// Runs some cases of which none is expected to write where it should not.
pub(super) fn judge_batch(
    lab: &mut Lab,
    batch: &[(u64, Case)],
) -> Result<Vec<Weighed>, MachineError> {
    let mut weighed = Vec::with_capacity(batch.len());
    for (_, case) in batch {
        let outcome = lab.judge_in_batch(case)?;
        weighed.push(weigh(lab, case, outcome));
    }
    if !lab.end_batch() {
        weighed.clear();
        for (_, case) in batch {
            let outcome = lab.judge(case)?;
            weighed.push(weigh(lab, case, outcome));
        }
        lab.end_batch();
    }
    Ok(weighed)
}

fn weigh(lab: &Lab, case: &Case, outcome: CaseOutcome) -> Weighed {
    let path = lab.expectation().path();
    match outcome {
        CaseOutcome::Unfit(unfit) => Weighed::Unfit(unfit),
        CaseOutcome::Same => Weighed::Compared { path, known: Vec::new(), unknown: None },
        CaseOutcome::Differs(mismatch) => match lab.known_deviations(case, &mismatch) {
            Some(known) => Weighed::Compared { path, known, unknown: None },
            None => Weighed::Compared { path, known: Vec::new(), unknown: Some(mismatch) },
        },
    }
}
