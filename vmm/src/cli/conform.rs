//! `esp0 conform`: random cases in KVM and in the model.

use super::arguments::{ConformCommand, ConformOptions};
use super::boxed::Boxed;
use super::failure::{Failure, tell, with_output};
use super::files::{self, Destination, FileId};
use super::output::Output;
use super::results::{self, Log, ResultsFile};
use super::{FINDINGS, INTERRUPTED, NO_KVM, OK, UNWRITTEN};
use esp0::conform::{
    self, Case, Means, Plan, Results, ResultsHeader, ResultsRecord, Stored, Summary,
};
use esp0::doctor::TestedMachine;
use esp0::host::{Backend, Deviation};
use esp0::machine::{MachineError, StopRequest};
use esp0::sandbox::Phase;
use ia32::Branch;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// RAM for the self-test.
const SELF_TEST: u64 = 2 << 20;
/// How many kinds of mismatch are shown.
const SHOWN: usize = 20;

pub(super) fn conform(options: &ConformOptions) -> Result<u8, Failure> {
    match (&options.command, &options.replay) {
        (Some(ConformCommand::Merge { files }), _) => merged(files),
        (None, Some(cases)) => replayed(options, cases),
        (None, None) => drawn(options),
    }
}

/// `esp0 conform merge`: what all shards came to.
fn merged(paths: &[std::path::PathBuf]) -> Result<u8, Failure> {
    let (header, results) = results::merge(paths)?;
    let ResultsHeader { cases, seed, shards, .. } = header;
    let mut out = BufWriter::new(Output::standard());
    let written =
        writeln!(out, "{}; {cases} cases, seed {seed:#x}, {shards} shards", header.backend)
            .and_then(|()| print(&mut out, &results, None))
            .and_then(|()| out.flush());
    Ok(with_output(status(&results, &Failed::default()), written))
}

/// `esp0 conform --replay`: the cases of a file.
fn replayed(options: &ConformOptions, path: &Path) -> Result<u8, Failure> {
    let stop = StopRequest::default();
    let (cases, id) = read_cases(path)?;
    let collect = destination(options, &stop, id)?;
    let backend = TestedMachine::new(SELF_TEST)?.backend;
    stop.on_signals()?;
    let mut out = BufWriter::new(Output::standard());
    let started = Instant::now();
    let written = writeln!(out, "{backend}; {} given cases", cases.len());
    let written = written.and_then(|()| out.flush());
    let boxed = Boxed::withdraw(options.no_sandbox)?;
    let summary = conform::replay_with(&cases, &backend, &stop, || boxed.filter(Phase::Cases))?;
    let results = Results::of(&summary);
    let written = written.and(print(&mut out, &results, Some(started.elapsed())));
    let written = written.and_then(|()| out.write_all(boxed.told().as_bytes())).and(out.flush());
    let written = written.and(collect.map_or(Ok(()), |file| write_cases(file, &summary)));
    Ok(with_output(status(&results, &Failed::of(&summary, 1)), written))
}

/// `esp0 conform`: cases that are drawn.
fn drawn(options: &ConformOptions) -> Result<u8, Failure> {
    let stop = StopRequest::default();
    let (shard, shards) =
        options.shard.part(|name| std::env::var(name).ok()).map_err(Failure::Input)?;
    let plan = Plan { cases: options.cases, seed: options.seed, shard, shards, jobs: options.jobs };
    let collect = destination(options, &stop, None)?;
    let file = options.results.as_deref().map(ResultsFile::open).transpose()?;
    let backend = TestedMachine::new(SELF_TEST)?.backend;
    stop.on_signals()?;
    let (log, stored) = file.map(|file| begin(file, &plan, &backend)).transpose()?.unzip();
    let stored = stored.flatten();
    let mut out = BufWriter::new(Output::standard());
    let started = Instant::now();
    let mut written = writeln!(out, "{backend}; {} cases, seed {:#x}", plan.cases, plan.seed)
        .and_then(|()| told_of_shard(&mut out, &plan, stored.as_ref()))
        .and_then(|()| out.flush());
    if let Some(Stored { results, ended: true, .. }) = &stored {
        written = written.and(print(&mut out, results, None)).and(out.flush());
        return Ok(with_output(status(results, &Failed::default()), written));
    }
    let (done, mut results) =
        stored.map_or_else(Default::default, |stored| (stored.chunks, stored.results));
    let known = known(&results)?;
    let boxed = Boxed::withdraw(options.no_sandbox)?;
    let progress = AtomicU64::new(0);
    let sink = |chunk, summary: &Summary| {
        if let Some(log) = &log {
            log.add(&ResultsRecord::Chunk(chunk, Results::of(summary)));
        }
    };
    let means = Means {
        backend: &backend,
        collect: collect.is_some(),
        progress: &progress,
        stop: &stop,
        done: &done,
        known: &known,
        sink: &sink,
    };
    let work = || conform::run_with(&plan, &means, || boxed.filter(Phase::Cases));
    let summary = with_progress(&plan, &progress, work)?;
    results.add(Results::of(&summary));
    let whole = !summary.interrupted && summary.failed.is_none();
    if let Some(log) = log {
        if whole {
            log.add(&ResultsRecord::End(results.clone()));
        }
        written = written.and(log.end());
    }
    written = written.and(print(&mut out, &results, Some(started.elapsed())));
    written = written.and_then(|()| out.write_all(boxed.told().as_bytes())).and(out.flush());
    written = written.and(collect.map_or(Ok(()), |file| write_cases(file, &summary)));
    Ok(with_output(status(&results, &Failed::of(&summary, plan.jobs)), written))
}

/// The file of results, and what an earlier run has left in it.
fn begin(
    mut file: ResultsFile,
    plan: &Plan,
    backend: &Backend,
) -> Result<(Log, Option<Stored>), Failure> {
    let stored = file.begin(&ResultsHeader::of(plan, backend))?;
    Ok((Log::new(file), stored))
}

/// Which part it is, and how much of it there is already.
fn told_of_shard(out: &mut impl Write, plan: &Plan, stored: Option<&Stored>) -> io::Result<()> {
    if plan.shards > 1 {
        writeln!(out, "shard {} of {}: {} cases", plan.shard + 1, plan.shards, plan.size())?;
    }
    match stored {
        Some(stored) if stored.ended => writeln!(out, "all of them were run before"),
        Some(stored) => writeln!(out, "goes on after {} cases", stored.results.cases()),
        None => Ok(()),
    }
}

/// The mismatches of an earlier run, as cases.
fn known(results: &Results) -> Result<Vec<(u64, Case)>, Failure> {
    let case = |found: &conform::Mismatching| {
        let case = found.case.parse().map_err(|error| Failure::Input(format!("{error}")))?;
        Ok((found.number, case))
    };
    results.found.iter().map(case).collect()
}

/// The file for what `--collect` keeps.
fn destination(
    options: &ConformOptions,
    stop: &StopRequest,
    read: Option<FileId>,
) -> Result<Option<Destination>, Failure> {
    let Some(path) = &options.collect else { return Ok(None) };
    let collect = Destination::open(path, "list of cases", None, stop)?;
    let read = read.map(|id| (id, "the one that is replayed".to_owned()));
    collect.differs_from(read.as_slice())?;
    Ok(Some(collect))
}

fn write_cases(file: Destination, summary: &Summary) -> io::Result<()> {
    let mut text = String::new();
    for (_, case) in summary.collected.values() {
        text += &format!("{case}\n");
    }
    file.begin()?.write_all(text.as_bytes())
}

/// Why a run is not whole.
#[derive(Debug, Default)]
pub(super) struct Failed<'a> {
    interrupted: bool,
    by: Option<&'a MachineError>,
    jobs: u64,
}

impl<'a> Failed<'a> {
    pub(super) fn of(summary: &'a Summary, jobs: u64) -> Self {
        Failed { interrupted: summary.interrupted, by: summary.failed.as_ref(), jobs }
    }
}

/// The exit status: what was found comes first, and nothing that was not judged is called right.
pub(super) fn status(results: &Results, run: &Failed<'_>) -> u8 {
    let failed = run.by.map(|error| {
        let advice = if error.is_shortage() {
            let jobs = run.jobs;
            format!("; of --jobs {jobs} not all got what they need: give fewer, or raise the limits (ulimit -a)")
        } else {
            String::new()
        };
        tell(&format!("a part of the cases was not run: {error}{advice}"));
        if error.is_shortage() { UNWRITTEN } else { NO_KVM }
    });
    if results.mismatches != 0 {
        FINDINGS
    } else if run.interrupted {
        INTERRUPTED
    } else if let Some(status) = failed {
        status
    } else if results.refused.is_some() {
        tell("KVM refused cases, which were not compared");
        UNWRITTEN
    } else if results.compared == 0 {
        tell("no case was compared: nothing was judged");
        UNWRITTEN
    } else {
        OK
    }
}

/// The cases of a file: a line each; empty lines and those that begin with # are passed over.
fn read_cases(path: &Path) -> Result<(Vec<Case>, Option<FileId>), Failure> {
    let fail =
        |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", path.display()));
    let (bytes, id) = files::read(path)?;
    let text = String::from_utf8(bytes).map_err(|_| fail(&"it is no text"))?;
    conform::cases(&text).map(|cases| (cases, id)).map_err(|error| fail(&error))
}

/// Shows a bar on a terminal while `work` goes on.
fn with_progress<T: Send>(plan: &Plan, done: &AtomicU64, work: impl FnOnce() -> T + Send) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let total = plan.size();
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

/// Prints what came of a run, or of several, which have no time.
fn print(out: &mut impl Write, results: &Results, time: Option<Duration>) -> io::Result<()> {
    for found in results.found.iter().take(SHOWN) {
        writeln!(out, "\nmismatch, case #{} (and {} like it):", found.number, found.others)?;
        writeln!(out, "    {}", found.case)?;
        write!(out, "{}", found.differences)?;
        writeln!(out, "  the model says:")?;
        for line in found.explanation.lines() {
            writeln!(out, "    {line}")?;
        }
    }
    let rate = time.map(|time| results.compared as f64 / time.as_secs_f64());
    let rate = rate.map_or(String::new(), |rate| format!(", {rate:.0} a second"));
    writeln!(out, "\n{} cases compared{rate}", results.compared)?;
    for (reason, count) in &results.not_run {
        writeln!(out, "{count:>9} not run: {reason}")?;
    }
    for (name, met) in &results.deviations {
        writeln!(out, "{:>9} known deviation {name} (first: #{})", met.count, met.number)?;
        writeln!(out, "          {}", met.case)?;
        if let Some(known) = Deviation::named(name) {
            writeln!(out, "          {}", known.description)?;
        }
    }
    if let Some(refused) = &results.refused {
        let conform::NotTaken { count, number, case, error } = refused;
        writeln!(out, "{count:>9} refused: {error} (first: #{number})")?;
        writeln!(out, "          {case}")?;
    }
    let names: BTreeSet<&str> = results.taken.iter().map(String::as_str).collect();
    let missing: Vec<_> = Branch::ALL
        .iter()
        .map(|branch| branch.name())
        .filter(|name| !names.contains(name))
        .collect();
    let all = Branch::ALL.len();
    writeln!(out, "{} of {all} branches of the model taken", all - missing.len())?;
    if !missing.is_empty() {
        writeln!(out, "          not: {}", missing.join(", "))?;
    }
    let kinds = results.found.len();
    writeln!(out, "{} mismatches of {kinds} kinds", results.mismatches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> MachineError {
        MachineError::Thread(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    #[test]
    fn what_was_found_comes_first_and_what_was_not_judged_is_not_right() {
        let compared = || Results { compared: 9, ..Results::default() };
        let mismatches = || Results { mismatches: 1, ..compared() };
        let error = failure();
        let failed = Failed { by: Some(&error), jobs: 256, interrupted: false };
        let whole = Failed::default();
        assert_eq!(status(&compared(), &whole), OK);
        assert_eq!(status(&Results::default(), &whole), UNWRITTEN);
        assert_eq!(status(&compared(), &failed), UNWRITTEN);
        assert_eq!(status(&mismatches(), &failed), FINDINGS);
        let interrupted = Failed { interrupted: true, ..Failed::default() };
        assert_eq!(status(&compared(), &interrupted), INTERRUPTED);
        let (case, error) = ("ring3 int:80".to_owned(), failure().to_string());
        let refused = conform::NotTaken { count: 1, number: 0, case, error };
        let refused = Results { refused: Some(refused), ..compared() };
        assert_eq!(status(&refused, &whole), UNWRITTEN);
        let missing = MachineError::Missing("KVM_CAP_EXIT_ON_EMULATION_FAILURE");
        let failed = Failed { by: Some(&missing), ..Failed::default() };
        assert_eq!(status(&compared(), &failed), NO_KVM);
    }
}
