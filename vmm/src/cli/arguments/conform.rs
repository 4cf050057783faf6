//! `esp0 conform`: which cases, and where their results go.

use super::super::shard::Shard;
use super::values::{processors, seed};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub(crate) struct ConformOptions {
    /// How many cases to draw
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) cases: u64,

    /// What they are drawn from: the same cases for the same seed
    #[arg(long, value_name = "S", default_value = "1", value_parser = seed)]
    pub(crate) seed: u64,

    /// How many VMs run at a time [default: one a processor]
    #[arg(long, value_name = "J", default_value_t = processors(), value_parser = clap::value_parser!(u64).range(1..=256), hide_default_value = true)]
    pub(crate) jobs: u64,

    /// Run only the k-th of n parts. `auto` has Slurm, GitLab, CircleCI, Buildkite or Bazel say which, and
    /// `auto/N` Kubernetes too
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    pub(crate) shard: Shard,

    /// Write what comes of it to this file meanwhile. What it holds already of the same run is not run again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["replay", "collect"])]
    pub(crate) results: Option<PathBuf>,

    /// Run the cases of this file, a line each, instead of drawing some
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cases", "seed", "jobs", "shard"])]
    pub(crate) replay: Option<PathBuf>,

    /// Run without the sandbox, which is told
    #[arg(long)]
    pub(crate) no_sandbox: bool,

    /// Write a case for each distinct path through the model to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) collect: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Option<ConformCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ConformCommand {
    /// Put the results of all parts together
    Merge {
        /// What each part has written with --results
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}
