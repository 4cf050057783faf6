//! The last line of a trace.

use super::{FindingRecord, LastRecord, ScreenRecord, hex, is_empty, is_zero, names};
use crate::check::{Judge, Verdict};
use crate::entry::Kind;
use crate::probe::Census;
use crate::run::{Ending, Unjudged};
use serde::{Deserialize, Serialize};

/// How a run ended, and what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    /// How, in words.
    pub ending: String,
    /// The verdict on the run.
    pub verdict: Verdict,
    /// What was counted.
    pub counts: Counts,
    /// Entries by what raised them.
    pub events: Vec<EventCount>,
    /// The kernel stacks that were seen.
    pub stacks: Vec<StackRow>,
    /// Known deviations of the processor model that showed, and how often.
    pub deviations: Vec<DeviationCount>,
    /// What each rule found.
    pub rules: Vec<RuleCount>,
    /// How the places to stop at were probed at the end.
    pub probes: ProbeCounts,
    /// Frames are popped out of copies: no task has a kernel stack to itself, and what concerns such stacks is not
    /// judged.
    pub copies_frames: bool,
    /// What the console was expected to say and never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmet: Option<String>,
    /// The registers of a guest that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Box<LastRecord>>,
    /// The text screen, if anything stands on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<ScreenRecord>,
    /// What was not judged, though the verdict may be good.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub unjudged: Vec<UnjudgedRecord>,
    /// Places at which the guest found nobody, a line each.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub unanswered: Vec<String>,
    /// What the run as a whole has to answer for.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub findings: Vec<FindingRecord>,
    /// What is unusual of it, but consistent.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub notes: Vec<FindingRecord>,
}

/// What was counted in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Entries in all.
    pub entries: u64,
    /// Those from an outer ring.
    pub outer: u64,
    /// Those from ring 0.
    pub same: u64,
    /// Entries by SYSENTER, which are none of those.
    #[serde(default)]
    pub sysenters: u64,
    /// Returns from those by SYSEXIT, as far as the next entry tells.
    #[serde(default)]
    pub sysexits: u64,
    /// Entries by call gates, which are none of those either.
    #[serde(default)]
    pub calls: u64,
    /// Far RETs to an outer ring.
    #[serde(default)]
    pub far_returns: u64,
    /// Entries by task gates, which are none of those either.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub by_task_gates: u64,
    /// IRETs back from those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub task_returns: u64,
    /// Returns that were seen and not refused.
    pub returns: u64,
    /// Task switches by a far jump.
    pub switches: u64,
    /// Entries that have not been returned from.
    pub live: u64,
    /// IRETs that returned to nobody.
    pub refused: u64,
    /// Returns to ring 3 that were not seen.
    pub missed: u64,
    /// Entries, at least, that were not seen.
    pub unseen: u64,
    /// Findings in all.
    pub findings: u64,
    /// Notes in all.
    pub notes: u64,
    /// Entries that were held against the model.
    pub exact_entries: u64,
    /// The same of returns.
    pub exact_returns: u64,
}

/// A way into the kernel that nobody watched, or a time in which nobody did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnjudgedRecord {
    /// Its name: `call_gate`, `task_gate`, `before_idt`.
    pub what: String,
    /// What is not judged, and where.
    pub sentence: String,
    /// It is known that nothing came by it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unused: bool,
}

impl UnjudgedRecord {
    /// Of what a run says of itself; the code that a gate leads to gets the name that `names` gives.
    pub fn new(unjudged: &Unjudged, names: impl Fn(u32) -> Option<String>) -> Self {
        let name = match unjudged {
            Unjudged::CallGate { gate, .. } => names(gate.address),
            _ => None,
        };
        let name = name.map_or_else(String::new, |name| format!(" <{name}>"));
        UnjudgedRecord {
            what: unjudged.name().into(),
            sentence: format!("{unjudged}{name}"),
            unused: unjudged.is_unused(),
        }
    }
}

/// What one rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCount {
    /// Its name.
    pub rule: String,
    /// What is wrong.
    pub findings: u64,
    /// What is unusual, but consistent.
    pub notes: u64,
}

/// Entries of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCount {
    /// The vector.
    #[serde(with = "hex")]
    pub vector: u8,
    /// What raised them.
    #[serde(with = "names::kind")]
    pub kind: Kind,
    /// The ring that was interrupted.
    pub from_ring: u8,
    /// How many.
    pub count: u64,
}

/// A kernel stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRow {
    /// The task whose it is, from 1.
    pub task: u32,
    /// The address at which it is empty.
    #[serde(with = "hex")]
    pub esp0: u32,
    /// What ends there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The lowest ESP seen at an entry, a return or a task switch.
    #[serde(with = "hex")]
    pub lowest: u32,
    /// Entries on it.
    pub entries: u64,
    /// The most frames that were live on it at once.
    pub deepest: u32,
}

/// A known deviation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviationCount {
    /// Its name.
    pub name: String,
    /// Events that showed it.
    pub count: u64,
    /// What the manual says and what happens instead.
    pub description: String,
}

/// How many places to stop at there were, by means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeCounts {
    /// Hardware breakpoints.
    pub breakpoints: u64,
    /// Patches over a no-op that the kernel left.
    pub patched_no_ops: u64,
    /// Patches that displace an instruction.
    pub patched_instructions: u64,
    /// Places in pages that are not mapped.
    pub unreachable: u64,
}

impl EndRecord {
    /// The names of what was not judged and may have been entered, each once.
    pub fn unjudged_ways(&self) -> Vec<&str> {
        let may_be_used = self.unjudged.iter().filter(|unjudged| !unjudged.unused);
        let mut ways: Vec<&str> = may_be_used.map(|unjudged| unjudged.what.as_str()).collect();
        ways.dedup();
        ways
    }

    /// What a run came to that ended so; conclusions and names of stacks come to it later.
    pub fn new(ending: &Ending, judge: &Judge, census: &Census) -> Self {
        let (tally, history) = (judge.tally(), judge.history());
        EndRecord {
            ending: ending.to_string(),
            verdict: judge.verdict(ending),
            counts: Counts {
                entries: tally.entries,
                outer: tally.outer,
                same: tally.same,
                sysenters: tally.sysenters,
                sysexits: history.sysexits(),
                calls: tally.calls,
                far_returns: tally.far_returns,
                by_task_gates: tally.by_task_gates,
                task_returns: tally.task_returns,
                returns: tally.returns,
                switches: tally.switches,
                live: history.live().len() as u64,
                refused: history.refused_returns(),
                missed: history.missed_returns(),
                unseen: census.missed_entries,
                findings: tally.findings,
                notes: tally.notes,
                exact_entries: tally.exact_entries,
                exact_returns: tally.exact_returns,
            },
            events: (tally.events().into_iter())
                .map(|((vector, kind, from_ring), count)| EventCount {
                    vector: vector.0,
                    kind,
                    from_ring,
                    count,
                })
                .collect(),
            stacks: (history.stacks().iter())
                .map(|stack| StackRow {
                    task: stack.task.0,
                    esp0: stack.top,
                    name: None,
                    lowest: stack.lowest,
                    entries: stack.entries,
                    deepest: stack.deepest,
                })
                .collect(),
            deviations: (tally.deviations())
                .map(|(deviation, count)| DeviationCount {
                    name: deviation.name.into(),
                    count,
                    description: deviation.description.into(),
                })
                .collect(),
            rules: (tally.rules())
                .map(|(rule, [findings, notes])| RuleCount { rule: rule.into(), findings, notes })
                .collect(),
            probes: ProbeCounts {
                breakpoints: census.breakpoints as u64,
                patched_no_ops: census.patched_no_ops as u64,
                patched_instructions: census.patched_instructions as u64,
                unreachable: census.unreachable as u64,
            },
            copies_frames: history.copies_frames(),
            unmet: judge.unmet().map(Into::into),
            last: None,
            screen: None,
            unjudged: Vec::new(),
            unanswered: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }
}
