//! What the user types, and the exit status that they get.

mod arguments;
mod claims;
mod conform;
mod doctor;
mod explain;
mod failure;
mod input;
mod machine;
mod output;
mod run;
mod terminal;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// Everything was right.
const OK: u8 = 0;
/// There are findings.
const FINDINGS: u8 = 1;
/// The guest did not come to a good end.
const GUEST_FAILED: u8 = 4;
/// Ended by SIGINT: 128 and the signal's number, as shells have it.
const INTERRUPTED: u8 = 130;

pub(crate) fn main() -> ExitCode {
    // clap prints its own sentence for a wrong word and exits with 2.
    let arguments = Arguments::parse();
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
        Err(failure) if failure.is_closed_pipe() => ExitCode::from(OK),
        Err(failure) => {
            eprintln!("esp0: {failure}");
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
