//! `esp0 trace`: what is made of traces.

use super::choices::{Color, FramesArgument};
use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Print a trace as its run was printed
    Show {
        /// The trace: JSON Lines, or compressed by Zstandard
        file: PathBuf,
        /// Print a line for each entry, however ordinary
        #[arg(short, long)]
        all: bool,
        /// Which frames to draw
        #[arg(long, value_name = "WHICH", default_value = "first")]
        frames: FramesArgument,
        /// Print a line for each return too, and the code that findings are about
        #[arg(short, long, action = clap::ArgAction::Count)]
        verbose: u8,
        /// Print the guest's console, findings and the verdict only
        #[arg(short, long)]
        quiet: bool,
        /// When to colour the output
        #[arg(long, value_name = "WHEN", default_value = "auto")]
        color: Color,
    },
    /// Make a page of a trace, for a browser: findings, timeline, every entry with its stacks
    Report {
        /// The trace; that of a run with --report holds whole stacks, and the code of each entry
        file: PathBuf,
        /// The page
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Show these claims too: a table that `esp0 claims --json` wrote
        #[arg(long, value_name = "FILE")]
        claims: Option<PathBuf>,
    },
    /// Count what a trace holds: by event, handler and task, with depth of the stacks
    Stats {
        /// The trace
        file: PathBuf,
    },
    /// Align two traces by the order of their events, and explain where they part
    #[command(after_help = "Exit status: 0 the same; 1 they differ; 2 one of them cannot be read.")]
    Diff {
        /// A trace
        file: PathBuf,
        /// The one that it is held against
        other: PathBuf,
        /// Addresses, registers, tasks and the console have to be the same too: of one kernel on the deterministic
        /// clock
        #[arg(long)]
        values: bool,
        /// Pass over external interrupts and the returns from them
        #[arg(long)]
        without_interrupts: bool,
    },
    /// Make another file of a trace
    Convert {
        /// The trace
        file: PathBuf,
        /// What to make
        #[arg(long, value_name = "FORMAT")]
        to: ConversionArgument,
        /// The file to write; a trace is compressed if its name ends in .zst
        output: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ConversionArgument {
    /// A file for ui.perfetto.dev
    Perfetto,
    /// A trace: unpacked, or packed
    Jsonl,
}
