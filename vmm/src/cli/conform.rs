//! `esp0 conform`: random cases in KVM and in the model.

use super::arguments::ConformOptions;
use super::failure::{Failure, no_machine, tell, with_output};
use super::files::{self, Destination, FileId};
use super::output::Output;
use super::{FINDINGS, INTERRUPTED, NO_KVM, OK, UNWRITTEN};
use esp0::conform::{self, Case, Known, Plan, Refused, Summary};
use esp0::doctor;
use esp0::host::{Backend, Deviation};
use esp0::machine::{Machine, StopRequest};
use ia32::Branch;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// RAM for the self-test.
const SELF_TEST: u64 = 2 << 20;
/// How many kinds of mismatch are shown.
const SHOWN: usize = 20;

pub(super) fn conform(options: &ConformOptions) -> Result<u8, Failure> {
    let stop = StopRequest::default();
    let given = options.replay.as_deref().map(read_cases).transpose()?;
    let collect = options.collect.as_deref().map(|path| {
        let what = "list of cases";
        let collect = Destination::open(path, what, None, &stop)?;
        let read = given.as_ref().and_then(|(_, id)| *id);
        let read = read.map(|id| (id, "the one that is replayed".to_owned()));
        collect.differs_from(what, read.as_slice())?;
        Ok::<_, Failure>(collect)
    });
    let collect = collect.transpose()?;
    let backend = usable_backend()?;
    stop.on_signals()?;
    let plan = Plan {
        cases: options.cases,
        seed: options.seed,
        shard: options.shard.0,
        shards: options.shard.1,
        jobs: options.jobs,
    };
    let mut out = BufWriter::new(Output::standard());
    let started = Instant::now();
    let (mut written, summary) = match &given {
        Some((cases, _)) => {
            let written = writeln!(out, "{backend}; {} given cases", cases.len());
            (written.and_then(|()| out.flush()), conform::replay(cases, &backend, &stop)?)
        }
        None => {
            let written = writeln!(out, "{backend}; {} cases, seed {:#x}", plan.cases, plan.seed);
            let written = written.and_then(|()| out.flush());
            let done = AtomicU64::new(0);
            let work = || conform::run(&plan, &backend, collect.is_some(), &done, &stop);
            (written, with_progress(&plan, &done, work))
        }
    };
    written = written.and(print(&mut out, &summary, started.elapsed()).and_then(|()| out.flush()));
    if let Some(collect) = collect {
        let mut text = String::new();
        for (_, case) in summary.collected.values() {
            text += &format!("{case}\n");
        }
        let kept = collect.begin().and_then(|mut file| file.write_all(text.as_bytes()));
        written = written.and(kept);
    }
    Ok(with_output(status(&summary, plan.jobs), written))
}

/// The exit status: what was found comes first, and nothing that was not judged is called right.
fn status(summary: &Summary, jobs: u64) -> u8 {
    let failed = summary.failed.as_ref().map(|error| {
        let advice = if error.is_shortage() {
            format!("; of --jobs {jobs} not all got what they need: give fewer, or raise the limits (ulimit -a)")
        } else {
            String::new()
        };
        tell(&format!("a part of the cases was not run: {error}{advice}"));
        if error.is_shortage() { UNWRITTEN } else { NO_KVM }
    });
    if summary.mismatches != 0 {
        FINDINGS
    } else if summary.interrupted {
        INTERRUPTED
    } else if let Some(status) = failed {
        status
    } else if summary.refused.is_some() {
        tell("KVM refused cases, which were not compared");
        UNWRITTEN
    } else if summary.compared == 0 {
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

fn usable_backend() -> Result<Backend, Failure> {
    let mut machine = Machine::new(SELF_TEST).map_err(no_machine)?;
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
    if let Some(Refused { count, number, case, error }) = &summary.refused {
        writeln!(out, "{count:>9} refused: {error} (first: #{number})")?;
        writeln!(out, "          {case}")?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use esp0::machine::MachineError;

    fn failure() -> MachineError {
        MachineError::Thread(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    #[test]
    fn what_was_found_comes_first_and_what_was_not_judged_is_not_right() {
        let compared = || Summary { compared: 9, ..Summary::default() };
        assert_eq!(status(&compared(), 1), OK);
        assert_eq!(status(&Summary::default(), 1), UNWRITTEN);
        let failed = || Summary { failed: Some(failure()), ..compared() };
        assert_eq!(status(&failed(), 256), UNWRITTEN);
        assert_eq!(status(&Summary { mismatches: 1, ..failed() }, 256), FINDINGS);
        let case: Case = "ring3 int:80".parse().unwrap();
        let refused = Refused { count: 1, number: 0, case, error: failure() };
        let refused = Summary { refused: Some(refused), ..compared() };
        assert_eq!(status(&refused, 1), UNWRITTEN);
        let missing = MachineError::Missing("KVM_CAP_EXIT_ON_EMULATION_FAILURE");
        assert_eq!(status(&Summary { failed: Some(missing), ..compared() }, 1), NO_KVM);
    }
}
