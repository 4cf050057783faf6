//! `esp0 trace`: shows, counts, compares and converts traces.

use super::arguments::{ConversionArgument, TraceCommand};
use super::failure::{Failure, tell, with_output};
use super::output::Output;
use super::progress::Progress;
use super::{FINDINGS, OK, UNWRITTEN, colour};
use esp0::trace::{
    Aspects, Shown, Style, TraceDifference, TraceReader, diff, show, stats, to_perfetto,
};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

type Reader = TraceReader<Box<dyn BufRead>>;

pub(super) fn trace(command: TraceCommand) -> Result<u8, Failure> {
    match command {
        TraceCommand::Show { file, all, frames, verbose, quiet, color } => {
            let style = Style {
                colour: colour(color),
                frames: frames.into(),
                quiet,
                returns: verbose > 0,
                all,
            };
            show_file(&file, style)
        }
        TraceCommand::Stats { file } => {
            let mut trace = open(&file, "counting")?;
            let (counted, places) = stats(&mut trace).map_err(|error| of_file(&file, &error))?;
            let status = whole(&file, trace.is_whole(), trace.line());
            print(&counted.text(&places), status)
        }
        TraceCommand::Diff { file, other, values, without_interrupts } => {
            diff_files([&file, &other], Aspects { values, without_interrupts })
        }
        TraceCommand::Report { file, output, claims } => {
            super::page::report(&file, &output, claims.as_deref())
        }
        TraceCommand::Convert { file, to, output } => convert(&file, to, &output),
    }
}

fn of_file(file: &Path, error: &dyn Display) -> Failure {
    Failure::Input(format!("{}: {error}", file.display()))
}

/// Opens a trace, whose reading is called `what` if it takes long.
fn open(file: &Path, what: &'static str) -> Result<Reader, Failure> {
    let compressed = file.extension().is_some_and(|extension| extension == "zst");
    let opened = File::open(file)
        .map_err(|error| of_file(file, &format!("the trace cannot be read: {error}")))?;
    TraceReader::of_file(Progress::of(opened, what), compressed)
        .map_err(|error| of_file(file, &error))
}

/// Says so where a trace has no end; the status of what was told of it.
fn whole(file: &Path, whole: bool, line: usize) -> u8 {
    if whole {
        return OK;
    }
    tell(&format!(
        "{}: the trace was cut off: it has no end after its last line, {}",
        file.display(),
        line.saturating_sub(1)
    ));
    UNWRITTEN
}

fn print(text: &str, status: u8) -> Result<u8, Failure> {
    let mut out = Output::standard();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(with_output(status, written))
}

fn show_file(file: &Path, style: Style) -> Result<u8, Failure> {
    // A trace that is shown on a terminal shows by itself how far it has come.
    let trace = if std::io::stdout().is_terminal() {
        TraceReader::open(file).map_err(|error| of_file(file, &error))?
    } else {
        open(file, "reading")?
    };
    let out = Output::standard();
    let columns = out.columns();
    let shown = show(trace, BufWriter::new(out), style, columns);
    let Shown { whole: ended, line, unwritten } = shown.map_err(|error| of_file(file, &error))?;
    let status = whole(file, ended, line);
    Ok(with_output(status, unwritten.map_or(Ok(()), Err)))
}

fn diff_files(files: [&PathBuf; 2], aspects: Aspects) -> Result<u8, Failure> {
    let other = TraceReader::open(files[1]).map_err(|error| of_file(files[1], &error))?;
    let traces = (open(files[0], "comparing")?, other);
    let names = files.map(|file| file.display().to_string());
    let TraceDifference { same, divergence, authorities } =
        diff(traces, [&names[0], &names[1]], aspects)
            .map_err(|(which, error)| of_file(files[which], &error))?;
    match divergence {
        Some(text) => print(&text, FINDINGS),
        None => {
            let authorities = authorities.map_or(String::new(), |text| format!("; {text}"));
            print(&format!("the same: {same} events, and the end{authorities}\n"), OK)
        }
    }
}

fn convert(file: &Path, to: ConversionArgument, output: &Path) -> Result<u8, Failure> {
    let mut trace = open(file, "converting")?;
    if output.canonicalize().is_ok_and(|one| file.canonicalize().is_ok_and(|other| one == other)) {
        return Err(of_file(output, &"it is the trace that is read"));
    }
    let unwritable =
        |error: &dyn Display| of_file(output, &format!("it cannot be written: {error}"));
    let created = File::create(output).map_err(|error| unwritable(&error))?;
    match to {
        ConversionArgument::Perfetto => {
            let mut out =
                to_perfetto(&mut trace, BufWriter::new(created)).map_err(|error| match error {
                    esp0::trace::ConvertError::Read(error) => of_file(file, &error),
                    error @ esp0::trace::ConvertError::Write(_) => of_file(output, &error),
                })?;
            out.flush().map_err(|error| unwritable(&error))?;
        }
        ConversionArgument::Jsonl => {
            let written = esp0::trace::TraceOutput::by_name(created, output);
            let mut out = written.map_err(|error| unwritable(&error))?;
            out.write(trace.header_line()).map_err(|error| unwritable(&error))?;
            loop {
                let next = trace.next_line().map_err(|error| of_file(file, &error))?;
                let Some(line) = next else { break };
                out.write(line).map_err(|error| unwritable(&error))?;
            }
            out.finish().map_err(|error| unwritable(&error))?;
        }
    }
    Ok(whole(file, trace.is_whole(), trace.line()))
}
