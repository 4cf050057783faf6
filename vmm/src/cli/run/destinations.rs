//! The files that a run writes: opened before there is a machine, emptied when the guest is about to run, and each handed
//! to whoever writes it.
//!
//! ```text
//!  open ──► Destinations ──► begin ──► Outputs ─┬─ meanwhile   trace, raw console
//!                                               ├─ record      what it takes to repeat the run
//!                                               └─ last        page, JUnit's XML, screenshot
//! ```

use super::super::arguments::RunOptions;
use super::super::failure::Failure;
use super::super::files::{Begun, Destination, identity, standard_output};
use super::super::guest_files::GuestFiles;
use super::super::page::PageFile;
use super::final_files::FinalFiles;
use super::watch::Meanwhile;
use esp0::machine::StopRequest;
use esp0::trace::schema::HeaderRecord;
use esp0::trace::{JsonLines, TraceOutput};
use std::path::Path;
use std::time::Instant;

/// Files that are going to be written, and hold still what they held before.
pub(super) struct Destinations {
    trace: Option<Destination>,
    console: Option<Destination>,
    junit: Option<Destination>,
    page: Option<Destination>,
    screenshot: Option<Destination>,
    record: Option<Destination>,
}

/// The same files, emptied.
pub(super) struct Outputs {
    /// What is written while the guest runs.
    pub(super) meanwhile: Meanwhile,
    /// The recording.
    pub(super) record: Option<Begun>,
    /// What is written when the run is over.
    pub(super) last: FinalFiles,
}

impl Destinations {
    /// Opens them, and none that is read or written otherwise.
    pub(super) fn open(
        options: &RunOptions,
        input: &GuestFiles,
        until: Option<Instant>,
        stop: &StopRequest,
    ) -> Result<Self, Failure> {
        let mut taken = input.files.clone();
        taken.extend(standard_output());
        taken.extend(options.replay.as_deref().and_then(identity));
        let mut open = |path: Option<&Path>, what: &'static str| {
            let Some(path) = path else { return Ok(None) };
            let destination = Destination::open(path, what, until, stop)?;
            destination.differs_from(&taken)?;
            taken.extend(destination.identity());
            Ok::<_, Failure>(Some(destination))
        };
        Ok(Destinations {
            trace: open(options.trace.as_deref(), "trace")?,
            console: open(options.raw_console.as_deref(), "raw console")?,
            junit: open(options.junit.as_deref(), "report")?,
            page: open(options.report.as_deref(), "page")?,
            screenshot: open(options.screenshot.as_deref(), "screenshot")?,
            record: open(options.record.as_deref(), "recording")?,
        })
    }

    /// Empties them. A page without a trace beside it gets one of its own.
    pub(super) fn begin(self, header: &HeaderRecord) -> Result<Outputs, Failure> {
        let trace = self.trace;
        let page = self.page.map(|page| PageFile::begin(page, trace.as_ref())).transpose()?;
        let (page, pages_trace) = page.unzip();
        let trace = match (trace, pages_trace.flatten()) {
            (Some(trace), _) => Some(trace.begun()?),
            (None, Some(file)) => Some(Begun::unnamed(file, "trace", "of the page")),
            (None, None) => None,
        };
        let trace = trace.map(|trace| begin_trace(trace, header)).transpose()?;
        let begun = |file: Option<Destination>| file.map(Destination::begun).transpose();
        let console = begun(self.console)?;
        let junit = begun(self.junit)?;
        let screenshot = begun(self.screenshot)?;
        let record = begun(self.record)?;
        let console = console.map(|console| console.file);
        let meanwhile = Meanwhile { trace, console, for_page: page.is_some() };
        Ok(Outputs { meanwhile, record, last: FinalFiles { page, junit, screenshot } })
    }
}

fn begin_trace(trace: Begun, header: &HeaderRecord) -> Result<JsonLines, Failure> {
    let Begun { file, name } = trace;
    TraceOutput::by_name(file, name.path())
        .and_then(|output| JsonLines::to(output, header.clone()))
        .map_err(|error| name.unwritable(&error))
}
