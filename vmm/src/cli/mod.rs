//! What the user types, and the exit status that they get.

mod arguments;
mod attest;
mod boxed;
mod claims;
mod conform;
mod dialogue;
mod doctor;
mod drives;
mod explain;
mod failure;
mod files;
mod gdbinit;
mod guest_files;
mod output;
mod page;
mod pages;
mod programs;
mod progress;
mod qemu;
mod results;
mod run;
mod shard;
mod standard;
mod terminal;
mod trace;

use arguments::{Arguments, Command};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use failure::Failure;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Everything was right.
const OK: u8 = 0;
/// There are findings.
const FINDINGS: u8 = 1;
/// Usage, bad input, or output that could not be written.
const UNWRITTEN: u8 = 2;
/// There is no KVM that does the job.
const NO_KVM: u8 = 3;
/// The guest did not come to a good end.
const GUEST_FAILED: u8 = 4;
/// Ended by SIGINT: 128 and the signal's number, as shells have it.
const INTERRUPTED: u8 = 130;

pub(crate) fn main() -> ExitCode {
    if standard::output_is_unwritable() {
        failure::tell("standard output is closed: what is found could be told to nobody");
        return ExitCode::from(UNWRITTEN);
    }
    let result = qemu::translate(std::env::args_os()).and_then(command);
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            failure::tell(&failure.to_string());
            ExitCode::from(failure.status())
        }
    }
}

/// Does what the command line says; its exit status.
fn command(words: Vec<OsString>) -> Result<u8, Failure> {
    let Some(arguments) = parse(words)? else { return Ok(OK) };
    match arguments.command {
        None => run::run(None, &arguments.options),
        Some(Command::Run { kernel, options }) => run::run(kernel.as_deref(), &options),
        Some(Command::Explain { trace, entry, returning }) => {
            explain::explain(&trace, entry, returning)
        }
        Some(Command::Trace { command }) => trace::trace(command),
        Some(Command::Conform(options)) => conform::conform(&options),
        Some(Command::Claims { options }) => claims::claims(&options),
        Some(Command::Attest { options }) => attest::attest(&options),
        Some(Command::Doctor { color, no_sandbox }) => doctor::doctor(color, no_sandbox),
        Some(Command::Gdbinit { kernel, modules, symbols, guest, into, gdb }) => {
            let files = gdbinit::Files { kernel, modules, symbols };
            gdbinit::print(files, into.as_deref().map(|into| (guest.as_str(), into)), &gdb)
        }
        Some(Command::Completions { shell }) => pages::completions(shell),
        Some(Command::Man { command }) => pages::manual(command.as_deref()),
    }
}

/// Reads the command line; `None` where it was a question and has been answered. To a wrong word clap prints
/// its own sentence and exits with 2.
fn parse(words: Vec<OsString>) -> Result<Option<Arguments>, Failure> {
    let is_run = words.get(1).is_some_and(|word| word == "run");
    let matches = match Arguments::command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(help) if !help.use_stderr() => {
            let text = help.render();
            let text = if colour(arguments::Color::Auto).is_on() {
                text.ansi().to_string()
            } else {
                text.to_string()
            };
            let mut out = output::Output::standard();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
            return Ok(None);
        }
        Err(error) => {
            if let Some(file) = file_without_run(&error) {
                if is_run {
                    return Err(Failure::Input(format!(
                        "{file} is a second kernel, and a run boots one"
                    )));
                }
                return Err(Failure::Input(format!(
                    "{file} is a file and no command: `esp0 run {file}` boots it"
                )));
            }
            error.exit();
        }
    };
    let mut arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match &mut arguments.command {
        None => arguments.options.steps = dialogue::from_options(&matches)?,
        Some(Command::Run { options, .. }) => {
            if let Some((_, matches)) = matches.subcommand() {
                options.steps = dialogue::from_options(matches)?;
            }
        }
        Some(_) => {}
    }
    Ok(Some(arguments))
}

/// The file that stands where a command should.
fn file_without_run(error: &clap::Error) -> Option<&str> {
    let word = match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) => word,
        _ => match (error.kind(), error.get(ContextKind::InvalidArg)) {
            (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => word,
            _ => return None,
        },
    };
    Path::new(word).is_file().then_some(word)
}

/// Whether to colour what goes to standard output.
fn colour(choice: arguments::Color) -> esp0::trace::Colour {
    use std::io::IsTerminal;
    let on = match choice {
        arguments::Color::Always => true,
        arguments::Color::Never => false,
        arguments::Color::Auto => {
            let terminal = std::io::stdout().is_terminal();
            let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            terminal && !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    };
    esp0::trace::Colour::new(on)
}
