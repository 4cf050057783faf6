//! `esp0 attest`: what the attestation is made of.

use super::values::{processors, seed};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub(crate) struct AttestOptions {
    /// Where to write it
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) out: Option<PathBuf>,

    /// How many cases conform is to draw
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) cases: u64,

    /// What they are drawn from
    #[arg(long, value_name = "S", default_value = "1", value_parser = seed)]
    pub(crate) seed: u64,

    /// How many VMs run at a time [default: one a processor]
    #[arg(long, value_name = "J", default_value_t = processors(), value_parser = clap::value_parser!(u64).range(1..=256), hide_default_value = true)]
    pub(crate) jobs: u64,

    /// Take what all shards of `esp0 conform --results` on this machine have written, instead of a run
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["cases", "seed", "jobs"])]
    pub(crate) conform: Vec<PathBuf>,

    /// Which claims [default: all]
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub(crate) claims: Vec<String>,

    /// Run without the sandbox, which is told
    #[arg(long)]
    pub(crate) no_sandbox: bool,

    #[command(subcommand)]
    pub(crate) command: Option<AttestCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AttestCommand {
    /// See that an attestation is as it was written, and print what it says
    Verify {
        /// The attestation
        file: PathBuf,
    },
}
