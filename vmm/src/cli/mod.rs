//! What the user types, and the exit status that they get.

mod arguments;
mod claims;
mod conform;
mod doctor;
mod explain;
mod failure;
mod files;
mod input;
mod output;
mod run;
mod standard;
mod terminal;

use arguments::{Arguments, Command};
use clap::Parser;
use std::io::Write as _;
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
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help) if !help.use_stderr() => {
            let text = help.render();
            let text = if colour(arguments::Color::Auto).is_on() {
                text.ansi().to_string()
            } else {
                text.to_string()
            };
            let mut out = output::Output::standard();
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            return ExitCode::from(failure::with_output(OK, written));
        }
        // clap prints its own sentence for a wrong word and exits with 2.
        Err(misuse) => misuse.exit(),
    };
    let result = match arguments.command {
        None => run::run(None, &arguments.options),
        Some(Command::Run { kernel, options }) => run::run(kernel.as_deref(), &options),
        Some(Command::Explain { trace, entry, returning }) => {
            explain::explain(&trace, entry, returning)
        }
        Some(Command::Conform(options)) => conform::conform(&options),
        Some(Command::Claims { options }) => claims::claims(&options),
        Some(Command::Doctor { color }) => doctor::doctor(color),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            failure::tell(&failure.to_string());
            ExitCode::from(failure.status())
        }
    }
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
