//! `--record` and `--replay`: what a recording is of, and its file.

use super::super::arguments::RunOptions;
use super::super::failure::Failure;
use super::super::files::{Begun, FileId};
use super::guest::RequestedGuest;
use esp0::host::Backend;
use esp0::recording::{Identity, LARGEST, Recording, RecordingError, read, write};
use esp0::run::{ClockChoice, Run};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What is kept of a run, or has been.
pub(super) enum Recorded {
    /// Nothing.
    No,
    /// It is written to this file at the end.
    Kept(Begun),
    /// The run is that of this recording.
    Replayed(PathBuf, Identity, Recording),
}

impl Recorded {
    /// What is to be replayed, if anything is.
    pub(super) fn replayed(options: &RunOptions) -> Result<Self, Failure> {
        let Some(path) = &options.replay else { return Ok(Recorded::No) };
        let (identity, recording) = from_file(path)?;
        Ok(Recorded::Replayed(path.clone(), identity, recording))
    }

    /// What is replayed, or else kept in this file.
    pub(super) fn or_kept(self, file: Option<Begun>) -> Self {
        file.map_or(self, Recorded::Kept)
    }

    /// The run has been before.
    pub(super) fn is_replayed(&self) -> bool {
        matches!(self, Recorded::Replayed(..))
    }

    /// Refuses to repeat a run of something else.
    pub(super) fn is_of(&self, now: &Identity) -> Result<(), Failure> {
        let Recorded::Replayed(path, then, _) = self else { return Ok(()) };
        then.difference(now).map_or(Ok(()), |difference| {
            Err(Failure::Input(format!(
                "the recording {} is of another run: {difference}",
                path.display()
            )))
        })
    }

    /// The run is recorded, or is the one that was.
    pub(super) fn apply(&self, run: Run) -> Run {
        match self {
            Recorded::No => run,
            Recorded::Kept(_) => run.recorded(LARGEST),
            Recorded::Replayed(_, _, recording) => run.replaying(recording.clone()),
        }
    }

    /// Writes what was kept.
    pub(super) fn finish(self, run: &Run, identity: &Identity) -> Result<(), Failure> {
        let Recorded::Kept(file) = self else { return Ok(()) };
        let Some(recording) = run.recording() else {
            let why = if run.was_changed() {
                "the guest was changed in gdb, which would not happen again".into()
            } else {
                format!("it would hold more than {} MiB", LARGEST >> 20)
            };
            return Err(Failure::Input(format!("the {} is not written: {why}", file.name)));
        };
        file.write(|out| {
            let mut out = BufWriter::new(out);
            write(&mut out, identity, recording)?;
            out.flush()
        })
    }
}

fn from_file(path: &Path) -> Result<(Identity, Recording), Failure> {
    let fail = |why: &dyn std::fmt::Display| {
        Failure::Input(format!("the recording {} cannot be replayed: {why}", path.display()))
    };
    let file = File::open(path).map_err(|error| fail(&error))?;
    let metadata = file.metadata().map_err(|error| fail(&error))?;
    if FileId::of(&metadata).is_none() {
        return Err(fail(&"it is no file"));
    }
    if metadata.len() > LARGEST {
        return Err(fail(&RecordingError::TooLarge));
    }
    read(BufReader::new(file)).map_err(|error| fail(&error))
}

fn clock_name(clock: ClockChoice) -> String {
    match clock {
        ClockChoice::Exits { nanoseconds_per_exit } => format!("exits:{nanoseconds_per_exit}"),
        other => format!("{other:?}"),
    }
}

/// What a run is of, as far as it decides what happens in it.
pub(super) fn identity(
    guest: &RequestedGuest<'_>,
    backend: &Backend,
    clock: ClockChoice,
) -> Identity {
    let options = guest.options;
    let [kernel, modules] = guest.input.digests();
    Identity::default()
        .with("esp0", env!("CARGO_PKG_VERSION"))
        .with("the kernel", kernel)
        .with("what its modules are", modules)
        .with("the command line", options.cmdline.as_str())
        .with("the memory", format!("{} MiB", options.mem))
        .with("the clock", clock_name(clock))
        .with("the processor below", backend.to_string())
        .with("what CPUID tells of (--cpu)", format!("{:?}", options.cpu))
        .with("where a flat binary lies (--at)", format!("{:x?}", options.at))
        .with("the loader", format!("{:?}", options.loader))
        .with("how entries are caught (--probe)", format!("{:?}", options.probe))
        .with("the good ends (--exit-codes)", format!("{:?}", options.exit_codes))
        .with("what is said to the guest", format!("{:?}", guest.steps))
        .with("whether it is run to its halt (--until-halt)", options.until_halt.to_string())
}
