//! What a whole run came to.

use super::told::grouped;
use super::{Colour, FindingKind, Told, event_name};
use crate::check::{Degree, History, Judgement};
use crate::entry::{Entry, Exact, Kind, Returned};
use crate::host::Deviation;
use crate::host::{Authority, Backend};
use crate::probe::Census;
use crate::run::Ending;
use crate::symbols::Symbols;
use ia32::Vector;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All entries were right.
    Ok,
    /// There are findings.
    Findings,
    /// The guest did not come to a good end.
    GuestFailed,
    /// Nothing was entered that could have been right or wrong.
    NoEntries,
    /// There were no probes, as asked for.
    Unchecked,
    /// The user ended it before the guest did.
    Interrupted,
}

impl Verdict {
    /// The word in the verdict line.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Findings => "findings",
            Verdict::GuestFailed => "guest-failed",
            Verdict::NoEntries => "no-entries",
            Verdict::Unchecked => "unchecked",
            Verdict::Interrupted => "interrupted",
        }
    }
}

/// Counts while a guest runs.
#[derive(Debug, Default)]
pub struct Summary {
    /// Entries in all.
    pub entries: u64,
    /// Entries from an outer ring.
    pub outer: u64,
    /// Entries from ring 0.
    pub same: u64,
    /// Returns that were seen.
    pub returns: u64,
    /// Task switches by hardware.
    pub switches: u64,
    /// Findings in all.
    pub findings: u64,
    /// Notes in all: what is unusual, but consistent.
    pub notes: u64,
    /// What the guest's console was expected to say and never did.
    pub unmet: Option<String>,
    /// The guest ran without probes.
    pub unprobed: bool,
    /// The guest was run in exact mode.
    pub exact: bool,
    /// Entries that were held against the model.
    pub exact_entries: u64,
    /// The same of returns.
    pub exact_returns: u64,
    by_event: BTreeMap<(Vector, Kind, u8), u64>,
    by_rule: BTreeMap<&'static str, u64>,
    by_note: BTreeMap<&'static str, u64>,
    deviations: BTreeMap<&'static str, (&'static Deviation, u64)>,
    /// The entry that was counted last, to count runs of the same kind cheaply.
    last: Option<((Vector, Kind, u8), u64)>,
}

impl Summary {
    /// Counts an entry; whether it is the first of its kind.
    #[inline]
    pub fn entry(&mut self, entry: &Entry, judgement: &Judgement) -> bool {
        self.entries += 1;
        if entry.from_outer_ring() {
            self.outer += 1;
        } else {
            self.same += 1;
        }
        self.returns -= u64::from(judgement.refuses_return);
        self.exact_entries += u64::from(is_decided(entry.exact.as_deref()));
        self.judged(judgement);
        let key = (entry.vector, entry.kind, entry.origin.ring);
        if let Some((last, count)) = &mut self.last
            && *last == key
        {
            *count += 1;
            return false;
        }
        self.settle();
        self.last = Some((key, 1));
        !self.by_event.contains_key(&key)
    }

    /// Counts a return.
    #[inline]
    pub fn leave(&mut self, judgement: &Judgement) {
        self.returns += 1;
        self.judged(judgement);
    }

    /// Counts an IRET that exact mode saw as a whole.
    pub fn returned(&mut self, returned: &Returned, judgement: &Judgement) {
        self.exact_returns += u64::from(returned.exact.decided);
        self.judged(judgement);
    }

    /// Counts a task switch.
    pub fn switch(&mut self, judgement: &Judgement) {
        self.switches += 1;
        self.judged(judgement);
    }

    /// Counts what the run as a whole has to answer for.
    pub fn conclude(&mut self, judgement: &Judgement) {
        self.judged(judgement);
    }

    #[inline(always)]
    fn judged(&mut self, judgement: &Judgement) {
        if !judgement.is_unremarkable() {
            self.count(judgement);
        }
    }

    fn count(&mut self, judgement: &Judgement) {
        for deviation in &judgement.deviations {
            self.deviations.entry(deviation.name).or_insert((deviation, 0)).1 += 1;
        }
        for finding in &judgement.findings {
            self.findings += 1;
            *self.by_rule.entry(finding.rule).or_default() += 1;
        }
        for note in &judgement.notes {
            self.notes += 1;
            *self.by_note.entry(note.rule).or_default() += 1;
        }
    }

    fn held_against_the_model(&self) -> String {
        let text = format!(
            "{:<8} held against the model, registers and all of memory",
            format!("{}+{}", self.exact_entries, self.exact_returns),
        );
        let others = (self.entries - self.exact_entries, self.returns - self.exact_returns);
        match others {
            (0, 0) => text,
            (entries, returns) => {
                format!("{text}; not so: {entries} entries, {returns} returns")
            }
        }
    }

    fn settle(&mut self) {
        if let Some((key, count)) = self.last.take() {
            *self.by_event.entry(key).or_default() += count;
        }
    }

    /// The verdict on a run that ended so.
    pub fn verdict(&self, ending: &Ending) -> Verdict {
        if *ending == Ending::Stopped {
            Verdict::Interrupted
        } else if !ending.is_good() || (self.unmet.is_some() && *ending != Ending::Enough) {
            Verdict::GuestFailed
        } else if self.findings > 0 {
            Verdict::Findings
        } else if self.unprobed {
            Verdict::Unchecked
        } else if self.entries == 0 {
            Verdict::NoEntries
        } else {
            Verdict::Ok
        }
    }

    /// The last line: `verdict: ok entries=N ring3=N same=N findings=0 authority=tcg`.
    pub fn verdict_line(&self, ending: &Ending, backend: &Backend) -> String {
        format!(
            "verdict: {} entries={} ring3={} same={} findings={} authority={}",
            self.verdict(ending).name(),
            self.entries,
            self.outer,
            self.same,
            self.findings,
            backend.authority
        )
    }

    /// How the run ended, in words; and what the console did not say.
    pub fn end(&self, ending: &Ending) -> String {
        match &self.unmet {
            None => ending.to_string(),
            Some(text) => format!("{ending}; its console never said {text:?}"),
        }
    }

    /// The summary, the verdict line aside.
    pub(super) fn render(&mut self, ending: &Ending, seen: &Seen<'_>, colour: Colour) -> String {
        let Seen { history, backend, census, symbols, told } = *seen;
        self.settle();
        let mut text = String::new();
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(text, "{} {value}", colour.strong(&format!("{name:<12}")));
        };
        let changes: Vec<String> = [(3, "3→0"), (2, "2→0"), (1, "1→0"), (0, "0→0")]
            .into_iter()
            .filter_map(|(ring, name)| {
                let count: u64 = self
                    .by_event
                    .iter()
                    .filter(|((_, _, from), _)| *from == ring)
                    .map(|(_, count)| count)
                    .sum();
                (count > 0).then(|| format!("{name} {count}"))
            })
            .collect();
        row("entries", format!("{:<8} {}", self.entries, changes.join("   ")).trim_end());
        let mut heading = "by vector";
        for ((vector, kind, ring), count) in &self.by_event {
            row(heading, &format!("{count:<8} {} from ring {ring}", event_name(*kind, *vector)));
            heading = "";
        }
        let live = history.live().len();
        let unpopped = match live {
            0 => String::new(),
            1 => "1 entry without a return: its task ended, or was in the kernel".into(),
            _ => {
                format!("{live} entries without a return: their tasks ended, or were in the kernel")
            }
        };
        row("returns", format!("{:<8} {unpopped}", self.returns).trim_end());
        if census.missed_entries > 0 {
            row(
                "unseen",
                &format!(
                    "{:<8} entries at least: interrupts that no probe stopped at, returns to an outer ring \
                     without an entry before. What was not seen is not judged",
                    census.missed_entries
                ),
            );
        }
        if history.refused_returns() > 0 {
            row(
                "refused",
                &format!("{:<8} IRETs: they returned to nobody", history.refused_returns()),
            );
        }
        if history.missed_returns() > 0 {
            row(
                "missed",
                &format!(
                    "{:<8} returns to ring 3 that esp0 has not seen: by an IRET that it has not found, by \
                     RETF or SYSEXIT",
                    history.missed_returns()
                ),
            );
        }
        if self.switches > 0 {
            row(
                "switches",
                &format!(
                    "{:<8} of tasks, by a far jump to a TSS, carried out by {}",
                    self.switches,
                    switcher(backend.authority)
                ),
            );
        }
        if history.copies_frames() {
            row(
                "design",
                "frames are popped out of copies: no task has a kernel stack to itself, and what concerns \
                 such stacks is not judged",
            );
        }
        let mut heading = "stacks";
        for stack in history.stacks() {
            row(
                heading,
                &format!(
                    "task {:<3} ESP0 {:08x}{}  lowest ESP {:08x} ({} bytes)  entries {}  deepest {}",
                    stack.task.0,
                    stack.top,
                    symbols
                        .describe_top(stack.top)
                        .map_or(String::new(), |place| format!(" = {}", place.short())),
                    stack.lowest,
                    stack.top.wrapping_sub(stack.lowest),
                    stack.entries,
                    stack.deepest
                ),
            );
            heading = "";
        }
        if self.exact {
            row("exact", &self.held_against_the_model());
        }
        let mut heading = "deviations";
        for (name, (deviation, count)) in &self.deviations {
            row(heading, &colour.odd(&format!("{count:<8} {name}: {}", deviation.description)));
            heading = "";
        }
        row(
            "findings",
            &if self.findings == 0 {
                colour.good("none")
            } else {
                colour.bad(&format!("{:<8} {}", self.findings, by_rule(&self.by_rule)))
            },
        );
        for line in kinds(told, Degree::Fault) {
            row("", &line);
        }
        if self.notes > 0 {
            let text = format!("{:<8} {}", self.notes, by_rule(&self.by_note));
            row("notes", &colour.odd(&text));
            for line in kinds(told, Degree::Note) {
                row("", &line);
            }
        }
        if told.beyond() > 0 {
            row(
                "",
                &format!("{} more, of further kinds, were only counted", grouped(told.beyond())),
            );
        }
        row("probes", &probes(census));
        row("authority", &format!("{}: {backend}", backend.authority));
        row("end", &self.end(ending));
        text
    }
}

/// What a summary tells of, beside what was counted.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) history: &'a History,
    pub(super) backend: &'a Backend,
    pub(super) census: &'a Census,
    pub(super) symbols: &'a Symbols,
    pub(super) told: &'a Told,
}

/// How many kinds of findings the summary repeats.
const REPEATED: usize = 8;

/// `suspended_stack 49   return_frame 3`.
fn by_rule(counts: &BTreeMap<&'static str, u64>) -> String {
    let counts: Vec<String> =
        counts.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
    counts.join("   ")
}

/// A line for each kind of finding, the first ones.
fn kinds(told: &Told, degree: Degree) -> Vec<String> {
    let mut lines: Vec<String> = told.of(degree).take(REPEATED).map(line_of).collect();
    let more = told.of(degree).count() - lines.len();
    if more > 0 {
        lines.push(format!("and {more} kinds more, told above"));
    }
    lines
}

fn line_of(kind: &FindingKind) -> String {
    let times = kind.times().map_or(String::new(), |times| format!(" ({times})"));
    format!("{}: {}{times}", kind.place, kind.finding.sentence)
}

fn is_decided(exact: Option<&Exact>) -> bool {
    exact.is_some_and(|exact| exact.decided)
}

/// Who carries out task switches. KVM asks processors to stop at them and emulates them; QEMU's model
/// does not stop.
fn switcher(authority: Authority) -> &'static str {
    match authority {
        Authority::Silicon => "KVM in the processor's stead",
        Authority::Tcg => "QEMU's model of the processor",
        Authority::Emulated => "the software that runs the guest",
    }
}

fn probes(census: &Census) -> String {
    let parts: Vec<String> = [
        (census.breakpoints, "hardware breakpoint"),
        (census.patched_no_ops, "patched no-op"),
        (census.patched_instructions, "patched instruction"),
        (census.unreachable, "unmapped place"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" }))
    .collect();
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}
