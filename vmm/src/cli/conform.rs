//! `esp0 conform`: random cases in KVM and in the model.

use super::arguments::ConformOptions;
use super::failure::Failure;
use super::{FINDINGS, INTERRUPTED, OK};
use esp0::conform::{self, Case, Known, Plan, Summary};
use esp0::host::doctor::{self, Problem};
use esp0::host::{Backend, Deviation};
use esp0::machine::{Machine, StopRequest};
use ia32::Branch;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// RAM for the self-test.
const SELF_TEST: u64 = 2 << 20;
/// How many kinds of mismatch are shown.
const SHOWN: usize = 20;

pub(super) fn conform(options: &ConformOptions) -> Result<u8, Failure> {
    let cases = options.replay.as_deref().map(read_cases).transpose()?;
    let backend = usable_backend()?;
    let stop = StopRequest::default();
    stop.on_signals()?;
    let plan = Plan {
        cases: options.cases,
        seed: options.seed,
        shard: options.shard.0,
        shards: options.shard.1,
        jobs: options.jobs,
    };
    let mut out = io::stdout().lock();
    let started = Instant::now();
    let summary = match &cases {
        Some(cases) => {
            writeln!(out, "{backend}; {} given cases", cases.len())?;
            conform::replay(cases, &backend, &stop)?
        }
        None => {
            writeln!(out, "{backend}; {} cases, seed {:#x}", plan.cases, plan.seed)?;
            let done = AtomicU64::new(0);
            let collect = options.collect.is_some();
            with_progress(&plan, &done, || conform::run(&plan, &backend, collect, &done, &stop))?
        }
    };
    print(&mut out, &summary, started.elapsed())?;
    if let Some(path) = &options.collect {
        let mut text = String::new();
        for (_, case) in summary.collected.values() {
            text += &format!("{case}\n");
        }
        std::fs::write(path, text).map_err(|error| {
            Failure::Input(format!("{} cannot be written: {error}", path.display()))
        })?;
    }
    Ok(if summary.mismatches != 0 {
        FINDINGS
    } else if summary.interrupted {
        INTERRUPTED
    } else {
        OK
    })
}

/// The cases of a file: a line each; empty lines and those that begin with # are passed over.
fn read_cases(path: &Path) -> Result<Vec<Case>, Failure> {
    let fail =
        |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| fail(&error))?;
    conform::cases(&text).map_err(|error| fail(&error))
}

fn usable_backend() -> Result<Backend, Failure> {
    let no_kvm = |problem: Problem| Failure::NoKvm(problem.to_string());
    let mut machine =
        Machine::new(SELF_TEST).map_err(|error| no_kvm(Problem::no_machine(error)))?;
    let quick = doctor::quick(&mut machine);
    if let Err(problem) = &quick.usable {
        return Err(Failure::NoKvm(problem.to_string()));
    }
    Ok(quick.corrected(Backend::detect()))
}

/// Shows a bar on a terminal while `work` goes on.
fn with_progress<T: Send>(plan: &Plan, done: &AtomicU64, work: impl FnOnce() -> T + Send) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let total = plan.cases / plan.shards.max(1);
    let bar = indicatif::ProgressBar::new(total);
    let rate = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{:.0} a second", state.per_sec());
    };
    let template = "{wide_bar} {pos} of {len} cases, {rate}, {eta} left";
    if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
        bar.set_style(style.with_key("rate", rate));
    }
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !finished.load(Ordering::Relaxed) {
                bar.set_position(done.load(Ordering::Relaxed));
                std::thread::sleep(Duration::from_millis(100));
            }
            bar.finish_and_clear();
        });
        let result = work();
        finished.store(true, Ordering::Relaxed);
        result
    })
}

fn print(out: &mut impl Write, summary: &Summary, time: Duration) -> io::Result<()> {
    for found in summary.found.iter().take(SHOWN) {
        writeln!(out, "\nmismatch, case #{} (and {} like it):", found.number, found.others)?;
        writeln!(out, "    {}", found.case)?;
        write!(out, "{}", found.mismatch)?;
        writeln!(out, "  the model says:")?;
        for line in found.explanation.lines() {
            writeln!(out, "    {line}")?;
        }
    }
    writeln!(out)?;
    let rate = summary.compared as f64 / time.as_secs_f64();
    writeln!(out, "{} cases compared, {rate:.0} a second", summary.compared)?;
    for (reason, count) in &summary.unfit {
        writeln!(out, "{count:>9} not run: {reason}")?;
    }
    for (name, Known { count, number, case, .. }) in &summary.deviations {
        writeln!(out, "{count:>9} known deviation {name} (first: #{number})")?;
        writeln!(out, "          {case}")?;
        if let Some(known) = Deviation::named(name) {
            writeln!(out, "          {}", known.description)?;
        }
    }
    let missing: Vec<_> = summary.branches_missing().map(Branch::name).collect();
    let all = Branch::ALL.len();
    writeln!(out, "{} of {all} branches of the model taken", all - missing.len())?;
    if !missing.is_empty() {
        writeln!(out, "          not: {}", missing.join(", "))?;
    }
    let kinds = summary.found.len();
    writeln!(out, "{} mismatches of {kinds} kinds", summary.mismatches)
}
