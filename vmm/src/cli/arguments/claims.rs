//! `esp0 claims`: which claims are shown, and how.

use super::choices::Color;
use clap::Args;
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub(crate) struct ClaimsOptions {
    /// Which claims: H1, K, … [default: all]
    #[arg(value_name = "IDS")]
    pub(crate) ids: Vec<String>,

    /// Only what this kernel shows
    #[arg(long, value_name = "NAME", value_parser = ["micro", "classic"])]
    pub(crate) kernel: Option<String>,

    /// Show the twin in which this claim is false on purpose, and has to be refuted
    #[arg(long = "break", value_name = "ID", conflicts_with = "ids")]
    pub(crate) broken: Option<String>,

    /// Write the table to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write the table as a page to this file, for a browser
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Run without the sandbox, which is told
    #[arg(long)]
    pub(crate) no_sandbox: bool,

    /// How entries are caught
    #[arg(long, value_name = "MEANS", default_value = "auto", value_parser = probes())]
    pub(crate) probe: String,

    /// When to colour the output
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

fn probes() -> clap::builder::PossibleValuesParser {
    ["auto", "breakpoint", "patch"].into()
}
