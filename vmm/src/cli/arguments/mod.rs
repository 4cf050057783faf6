//! The command line: which command, and for each a file with its options.
//!
//! What stands in a doc comment here is printed by `--help`; a type of options has none, as it would become the command's
//! own text.

mod attest;
mod choices;
mod claims;
mod conform;
mod run;
mod trace;
mod values;

pub(super) use attest::{AttestCommand, AttestOptions};
pub(super) use choices::{Color, LoaderArgument};
pub(super) use claims::ClaimsOptions;
pub(super) use conform::{ConformCommand, ConformOptions};
pub(super) use run::RunOptions;
pub(super) use trace::{ConversionArgument, TraceCommand};

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use values::guest_names;

/// Boots a 32-bit x86 kernel on KVM and checks, from outside, every entry into ring 0.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Without a command, the microkernel that esp0 carries is booted. QEMU's -kernel, \
    -append, -initrd and -m are understood.\n\n\
    Exit status: 0 all entries right; 1 findings; 2 usage or bad input, or output \
    that cannot be written; 3 no usable KVM; \
    4 the guest failed; 130 interrupted."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) options: RunOptions,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Boot a kernel and check its entries
    Run {
        /// An ELF32 kernel with a Multiboot header, a Linux bzImage, or an image of a disk or a CD that a BIOS
        /// boots [default: a guest that esp0 carries]
        #[arg(conflicts_with = "guest")]
        kernel: Option<PathBuf>,
        #[command(flatten)]
        options: Box<RunOptions>,
    },
    /// Explain an entry of a trace step by step, as the manuals have it
    Explain {
        /// A trace that was written with --exact --trace
        trace: PathBuf,
        /// Number of the entry
        #[arg(value_name = "N")]
        entry: u64,
        /// The return after that entry instead
        #[arg(short, long = "return")]
        returning: bool,
    },
    /// Show, count, compare or convert traces of runs
    Trace {
        #[command(subcommand)]
        command: TraceCommand,
    },
    /// Hold this KVM against the model of the architecture, with random cases
    #[command(
        after_help = "Exit status: 0 only named deviations; 1 mismatches; 2 usage or bad input; \
        3 no usable KVM; 130 interrupted.",
        args_conflicts_with_subcommands = true
    )]
    Conform(ConformOptions),
    /// Show what is claimed of kernel stacks, and whether it is so
    #[command(
        after_help = "Exit status: 0 all proved; 1 something refuted or open; 2 usage; 3 no \
        usable KVM. With --break a claim is to be refuted: 1 is right."
    )]
    Claims {
        #[command(flatten)]
        options: ClaimsOptions,
    },
    /// Write what this KVM was seen to do to a file: by the doctor, conform and the claims
    #[command(
        after_help = "Exit status: 0 all as it should be; 1 not so, as the file says; 2 usage, or a file that is no \
        attestation or was changed; 3 no usable KVM; 130 interrupted.",
        args_conflicts_with_subcommands = true
    )]
    Attest {
        #[command(flatten)]
        options: AttestOptions,
    },
    /// Test what this KVM does in 32-bit protected mode
    Doctor {
        /// Run without the sandbox, which is told
        #[arg(long)]
        no_sandbox: bool,
        /// When to colour the output
        #[arg(long, value_name = "WHEN", default_value = "auto")]
        color: Color,
    },
    /// Print a file of commands for gdb: symbols of a kernel and its modules, and what to type for what esp0 can
    Gdbinit {
        /// An ELF32 kernel [default: a guest that esp0 carries, with --into]
        #[arg(required_unless_present = "into", conflicts_with = "into")]
        kernel: Option<PathBuf>,
        /// A module, as in `esp0 run`; may be repeated
        #[arg(long = "module", value_name = "\"FILE ARGS\"")]
        modules: Vec<String>,
        /// A file with symbols, as in `esp0 run`; may be repeated
        #[arg(long = "symbols", value_name = "FILE")]
        symbols: Vec<PathBuf>,
        /// Which of the guests that esp0 carries
        #[arg(long, value_name = "NAME", default_value = "micro", value_parser = guest_names(), requires = "into")]
        guest: String,
        /// Write that guest and its programs to this folder, for gdb to read
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
        /// Where esp0 waits for gdb
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1234")]
        gdb: String,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual's page: of esp0, or of one of its commands
    Man {
        /// Which command
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
