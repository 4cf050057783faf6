//! `esp0 explain`: the model's account of one entry or return of a trace.

use super::OK;
use super::failure::{Failure, with_output};
use super::output::Output;
use esp0::trace::{Line, TraceReader, explain_line};
use std::io::Write as _;
use std::path::Path;

pub(super) fn explain(path: &Path, entry: u64, returning: bool) -> Result<u8, Failure> {
    let fail =
        |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", path.display()));
    let trace = TraceReader::open(path).map_err(|error| fail(&error))?;
    let line = if returning { Line::Return(entry) } else { Line::Entry(entry) };
    let text = explain_line(trace, line).map_err(|error| fail(&error))?;
    let mut out = Output::standard();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(with_output(OK, written))
}
