//! The file that `esp0 conform --results` writes: opened, gone on with, and read again.

use super::failure::Failure;
use super::files::{self, standard_output};
use esp0::conform::{Results, ResultsHeader, ResultsRecord, Stored};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A file of results, ours alone until it is closed.
#[derive(Debug)]
pub(super) struct ResultsFile {
    file: File,
    path: PathBuf,
    /// What an earlier run has left in it.
    stored: Option<Stored>,
    /// It was made for this run, and nothing is in it yet.
    made: bool,
}

impl ResultsFile {
    /// Opens it, before anything is done.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let fail = |error: &dyn std::fmt::Display| {
            Failure::Input(format!("the results {} cannot be written: {error}", path.display()))
        };
        let made = !path.exists();
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| fail(&error))?;
        let metadata = file.metadata().map_err(|error| fail(&error))?;
        if !metadata.is_file() {
            return Err(fail(&"it is no file, and a later run is to go on with it"));
        }
        let id = files::FileId::of(&metadata);
        if standard_output().is_some_and(|(output, _)| Some(output) == id) {
            return Err(fail(&"it is the same file as standard output"));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| fail(&"another run is writing it"))?;
        let mut results = ResultsFile { file, path: path.into(), stored: None, made };
        let mut bytes = Vec::new();
        results.file.read_to_end(&mut bytes).map_err(|error| fail(&error))?;
        results.stored = Stored::read(&bytes).map_err(|error| {
            Failure::Input(format!("{} is not written over: {error}", path.display()))
        })?;
        Ok(results)
    }

    /// What is in it of the run that `header` names.
    pub(super) fn begin(&mut self, header: &ResultsHeader) -> Result<Option<Stored>, Failure> {
        if let Some(stored) = &self.stored
            && let Some(conflict) = stored.header.differs(header, true)
        {
            return Err(Failure::Input(format!(
                "{}: {conflict}; give another name, or remove it",
                self.path.display()
            )));
        }
        let length = self.stored.as_ref().map_or(0, |stored| stored.length);
        self.file.set_len(length)?;
        self.file.seek(io::SeekFrom::Start(length))?;
        if self.stored.is_none() {
            self.file.write_all(Stored::first_line(header).as_bytes())?;
        }
        self.made = false;
        Ok(self.stored.take())
    }

    /// Adds a record.
    pub(super) fn add(&mut self, record: &ResultsRecord) -> io::Result<()> {
        self.file.write_all(record.line().as_bytes())
    }
}

impl Drop for ResultsFile {
    fn drop(&mut self) {
        if self.made {
            // Whoever removed it before has done the same.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Takes records from several threads, and keeps the first error.
#[derive(Debug)]
pub(super) struct Log(Mutex<(ResultsFile, io::Result<()>)>);

impl Log {
    pub(super) fn new(file: ResultsFile) -> Self {
        Log(Mutex::new((file, Ok(()))))
    }

    pub(super) fn add(&self, record: &ResultsRecord) {
        let mut log = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if log.1.is_ok() {
            log.1 = log.0.add(record);
        }
    }

    /// Whether all was written.
    pub(super) fn end(self) -> io::Result<()> {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).1
    }
}

/// Reads the files of all shards, and puts them together.
pub(super) fn merge(paths: &[PathBuf]) -> Result<(ResultsHeader, Results), Failure> {
    let mut stored = Vec::new();
    for path in paths {
        let at = |why: &dyn std::fmt::Display| Failure::Input(format!("{}: {why}", path.display()));
        let (bytes, _) = files::read(path)?;
        let file = Stored::read(&bytes).map_err(|error| at(&error))?;
        stored.push(file.ok_or_else(|| at(&"nothing was written to it yet"))?);
    }
    match esp0::conform::merge(&stored) {
        Ok(results) => Ok((stored.swap_remove(0).header, results)),
        Err((Some(place), conflict)) => {
            Err(Failure::Input(format!("{}: {conflict}", paths[place].display())))
        }
        Err((None, conflict)) => Err(Failure::Input(conflict.to_string())),
    }
}
