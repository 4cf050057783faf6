//! `esp0 completions` and `esp0 man`: what shells and `man` want to know of the command line.

use super::OK;
use super::arguments::Arguments;
use super::failure::{Failure, with_output};
use super::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

/// Completions for a shell, on standard output.
pub(super) fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "esp0", &mut text);
    Ok(print(&text))
}

/// The manual's page of the program or of one of its commands, on standard output.
pub(super) fn manual(command: Option<&str>) -> Result<u8, Failure> {
    let mut program = Arguments::command();
    program.build();
    let page = match command {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            found.ok_or_else(|| Failure::Input(format!("there is no command {name}")))?
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    Ok(print(&text))
}

fn print(text: &[u8]) -> u8 {
    let mut out = Output::standard();
    let written = out.write_all(text).and_then(|()| out.flush());
    with_output(OK, written)
}
