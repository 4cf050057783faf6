//! The page of a run: `esp0 run --report`, and of a trace: `esp0 trace report`.
//!
//! A page is made from a trace. Where none is asked for, the run writes one into a file without a name, which is
//! gone when esp0 is.

use super::OK;
use super::failure::Failure;
use super::files::{Begun, Destination, identity_of, standard_output};
use super::progress::Progress;
use esp0::claims::ClaimsTable;
use esp0::machine::StopRequest;
use esp0::report::read;
use esp0::trace::TraceReader;
use esp0::trace::schema::{HeaderRecord, Record};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, BufWriter, Seek as _};
use std::path::Path;

/// A page that is going to be written when the run is over.
pub(super) struct PageFile {
    out: Begun,
    /// What the trace is read from.
    trace: File,
}

impl PageFile {
    /// Takes the page's file, and finds out where its trace is to be read; with the file that the trace is to
    /// be written to, if none was asked for.
    pub(super) fn begin(
        page: Destination,
        trace: Option<&Destination>,
    ) -> Result<(Self, Option<File>), Failure> {
        let (trace, unnamed) = match trace {
            Some(trace) if !trace.path().is_file() => {
                return Err(Failure::Input(format!(
                    "the page is made from the trace, and {} is no file that can be read back",
                    trace.path().display()
                )));
            }
            Some(trace) => {
                let file = File::open(trace.path()).map_err(|error| {
                    let path = trace.path().display();
                    Failure::Input(format!("the trace {path} cannot be read back: {error}"))
                })?;
                (file, None)
            }
            None => {
                let both = unnamed_file().and_then(|file| Ok((file.try_clone()?, Some(file))));
                both.map_err(|error| {
                    Failure::Input(format!("there is no room for the page's trace: {error}"))
                })?
            }
        };
        Ok((PageFile { out: page.begun()?, trace }, unnamed))
    }

    /// Writes the page, of a trace that has been ended.
    pub(super) fn write(mut self) -> Result<(), Failure> {
        let fail = |error: &dyn std::fmt::Display| {
            Failure::Input(format!("the {} is not written: {error}", self.out.name))
        };
        self.trace.rewind().map_err(|error| fail(&error))?;
        let trace = Progress::of(self.trace, "making the page");
        let trace = TraceReader::of_file(trace, false).map_err(|error| fail(&error))?;
        let page = read(trace).map_err(|error| fail(&error))?;
        self.out.write(|out| page.write(&mut BufWriter::new(out)))
    }
}

/// A file without a name, on the disk if there is one that can have such, else in memory.
fn unnamed_file() -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(std::env::temp_dir(), flags, mode) {
        Ok(file) => Ok(file.into()),
        Err(_) => Ok(rustix::fs::memfd_create("trace", rustix::fs::MemfdFlags::CLOEXEC)?.into()),
    }
}

/// Writes a page of claims alone, without a run.
pub(super) fn of_claims(table: &ClaimsTable, page: Destination) -> Result<(), Failure> {
    let name = page.path().display().to_string();
    let header = HeaderRecord {
        kernel: "claims".into(),
        authority: table.backend.authority.to_string(),
        backend: table.backend.to_string(),
        clock: "deterministic".into(),
        ..HeaderRecord::new()
    };
    let header = Record::Header(header).to_line();
    let fail = |error: &dyn std::fmt::Display| {
        Failure::Input(format!("the page {name} is not written: {error}"))
    };
    let trace = TraceReader::new(&*header).map_err(|error| fail(&error))?;
    let read = read(trace).and_then(|page| page.with_claims(table.value()));
    let read = read.map_err(|error| fail(&error))?;
    page.begun()?.write(|out| read.write(&mut BufWriter::new(out)))
}

/// Makes a page of a trace, with claims if there are some.
pub(super) fn report(trace: &Path, page: &Path, claims: Option<&Path>) -> Result<u8, Failure> {
    let fail =
        |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", trace.display()));
    let file = File::open(trace).map_err(|error| fail(&error))?;
    let compressed = trace.extension().is_some_and(|extension| extension == "zst");
    let destination = Destination::open(page, "page", None, &StopRequest::default())?;
    let mut taken: Vec<_> = standard_output().into_iter().collect();
    taken.extend(identity_of(&file, "the trace"));
    destination.differs_from(&taken)?;
    let claims = claims.map(|path| Ok::<_, Failure>((path, super::files::read(path)?)));
    let claims = claims.transpose()?;
    if let Some((_, (_, Some(id)))) = &claims {
        destination.differs_from(&[(*id, "the table of claims".to_owned())])?;
    }
    let file = Progress::of(file, "making a page");
    let trace = TraceReader::of_file(file, compressed).map_err(|error| fail(&error))?;
    let mut page = read(trace).map_err(|error| fail(&error))?;
    if let Some((path, (bytes, _))) = claims {
        let fail =
            |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", path.display()));
        // What is no JSON at all is no table either, and told so.
        let claims = serde_json::from_slice(&bytes).unwrap_or_default();
        page = page.with_claims(claims).map_err(|error| fail(&error))?;
    }
    destination.begun()?.write(|out| page.write(&mut BufWriter::new(out)))?;
    Ok(OK)
}
