//! The exit status of a run: the verdict's, unless a part of a right run was lost.
//!
//! What could not be written is told, one sentence each. A lost output never turns a finding into status 0.

use super::super::arguments::RunOptions;
use super::super::failure::{Failure, tell};
use super::super::{FINDINGS, GUEST_FAILED, INTERRUPTED, OK, UNWRITTEN};
use super::watch::TextReport;
use esp0::check::Verdict;
use esp0::trace::LostOutput;
use std::path::Path;

/// The verdict's.
pub(super) fn of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Interrupted => INTERRUPTED,
        Verdict::Ok | Verdict::Unchecked => OK,
        Verdict::Findings => FINDINGS,
        Verdict::GuestFailed | Verdict::NoEntries => GUEST_FAILED,
    }
}

/// Says which outputs took no more while the guest ran.
pub(super) fn unless_lost(status: u8, report: &mut TextReport, options: &RunOptions) -> u8 {
    let name = |path: Option<&Path>| path.map_or(String::new(), |path| path.display().to_string());
    let verdict = report.verdict_line();
    let lost = report.lost();
    for lost in lost {
        tell(&match lost.output {
            LostOutput::Text => format!("the output cannot be written: {lost}; {verdict}"),
            LostOutput::Trace => {
                format!("the trace {} is not whole: {lost}", name(options.trace.as_deref()))
            }
            LostOutput::Console => {
                let name = name(options.raw_console.as_deref());
                format!("the raw console {name} is not whole: {lost}")
            }
        });
    }
    if lost.is_empty() { status } else { unwritten(status) }
}

/// Says what could not be written when the run was over, if anything.
pub(super) fn unless_unwritten(status: u8, written: Result<(), Failure>) -> u8 {
    let Err(failure) = written else { return status };
    tell(&failure.to_string());
    unwritten(status)
}

fn unwritten(status: u8) -> u8 {
    if status == OK { UNWRITTEN } else { status }
}
