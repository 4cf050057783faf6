//! What a whole run came to, in words.
//!
//! It is made of the first and the last record of a trace, and of what was told on the way.

use super::schema::{
    EndRecord, EventCount, HeaderRecord, ProbeCounts, RuleCount, StackRow, UnjudgedRecord,
};
use super::told::grouped;
use super::{Colour, FindingKind, Told, event_name};
use crate::check::Degree;
use ia32::Vector;
use std::fmt::Write;

/// How many kinds of findings the summary repeats.
const REPEATED: usize = 8;
/// So many stacks have a line.
const MOST_STACKS: usize = 40;

/// The last line: `verdict: ok entries=N ring3=N same=N findings=0 authority=tcg`. Where entries are known to
/// have been missed it says so too: `unseen=N`. Where something was not judged that may have been entered, it names what:
/// `unjudged=call_gate,task_gate`.
pub fn verdict_line(end: &EndRecord, header: &HeaderRecord) -> String {
    let counts = &end.counts;
    let unseen = match counts.unseen {
        0 => String::new(),
        count => format!(" unseen={count}"),
    };
    let unjudged = match end.unjudged_ways() {
        ways if ways.is_empty() => String::new(),
        ways => format!(" unjudged={}", ways.join(",")),
    };
    format!(
        "verdict: {} entries={} ring3={} same={}{unseen}{unjudged} findings={} authority={}",
        end.verdict, counts.entries, counts.outer, counts.same, counts.findings, header.authority
    )
}

/// How the run ended, in words; and what the console did not say.
pub fn ending_in_words(end: &EndRecord) -> String {
    match &end.unmet {
        None => end.ending.clone(),
        Some(text) => format!("{}; its console never said {text:?}", end.ending),
    }
}

/// The summary, the verdict line aside.
pub(crate) fn summary<F>(
    header: &HeaderRecord,
    end: &EndRecord,
    told: &Told<F>,
    colour: Colour,
) -> String {
    let mut rows = Rows { text: String::new(), colour };
    entries(&mut rows, end);
    returns(&mut rows, end, &header.authority);
    unjudged(&mut rows, &end.unjudged);
    stacks(&mut rows, &end.stacks);
    if header.exact {
        rows.add("exact", &held_against_the_model(end));
    }
    let mut heading = "deviations";
    for deviation in &end.deviations {
        let text = format!("{:<8} {}: {}", deviation.count, deviation.name, deviation.description);
        rows.add(heading, &colour.odd(&text));
        heading = "";
    }
    findings(&mut rows, end, told);
    rows.add("probes", &(probes(&end.probes) + &without_probe(&end.unjudged)));
    rows.add("authority", &format!("{}: {}", header.authority, header.backend));
    rows.add("end", &ending_in_words(end));
    rows.text
}

/// Rows of a table with a name in front.
struct Rows {
    text: String,
    colour: Colour,
}

impl Rows {
    fn add(&mut self, name: &str, value: &str) {
        let name = self.colour.strong(&format!("{name:<12}"));
        let _ = writeln!(self.text, "{name} {value}");
    }
}

fn entries(rows: &mut Rows, end: &EndRecord) {
    let changes: Vec<String> = [(3, "3→0"), (2, "2→0"), (1, "1→0"), (0, "0→0")]
        .into_iter()
        .filter_map(|(ring, name)| {
            let from = |event: &&EventCount| event.from_ring == ring;
            let count: u64 = end.events.iter().filter(from).map(|event| event.count).sum();
            (count > 0).then(|| format!("{name} {count}"))
        })
        .collect();
    let text = format!("{:<8} {}", end.counts.entries, changes.join("   "));
    rows.add("entries", text.trim_end());
    let mut heading = "by vector";
    for EventCount { vector, kind, from_ring, count } in &end.events {
        let name = event_name(*kind, Vector(*vector));
        rows.add(heading, &format!("{count:<8} {name} from ring {from_ring}"));
        heading = "";
    }
}

fn returns(rows: &mut Rows, end: &EndRecord, authority: &str) {
    let counts = &end.counts;
    if counts.sysenters > 0 {
        let back = match counts.sysexits {
            0 => String::new(),
            count => format!(", and back by SYSEXIT {count} times"),
        };
        rows.add(
            "sysenter",
            &format!(
                "{:<8} entries, which push nothing: what was judged is ESP{back}",
                counts.sysenters
            ),
        );
    }
    if counts.calls > 0 || counts.far_returns > 0 {
        rows.add(
            "call gates",
            &format!(
                "{:<8} entries, which push no EFLAGS; far RETs back: {}",
                counts.calls, counts.far_returns
            ),
        );
    }
    if counts.by_task_gates > 0 || counts.task_returns > 0 {
        rows.add(
            "task gates",
            &format!(
                "{:<8} entries, each with a TSS of its own, by {}; IRETs back: {}",
                counts.by_task_gates,
                switcher(authority),
                counts.task_returns
            ),
        );
    }
    let unpopped = match counts.live {
        0 => String::new(),
        1 => "1 entry without a return: its task ended, or was in the kernel".into(),
        live => {
            format!("{live} entries without a return: their tasks ended, or were in the kernel")
        }
    };
    rows.add("returns", format!("{:<8} {unpopped}", counts.returns).trim_end());
    if counts.unseen > 0 {
        rows.add(
            "unseen",
            &format!(
                "{:<8} entries at least: interrupts that no probe stopped at, returns to an outer ring \
                 without an entry before. What was not seen is not judged",
                counts.unseen
            ),
        );
    }
    if counts.refused > 0 {
        rows.add("refused", &format!("{:<8} IRETs: they returned to nobody", counts.refused));
    }
    if counts.missed > 0 {
        rows.add(
            "missed",
            &format!(
                "{:<8} returns to ring 3 that esp0 has not seen: by an IRET that it has not found, by \
                 RETF, or by SYSEXIT after a SYSENTER that it has not seen",
                counts.missed
            ),
        );
    }
    if counts.switches > 0 {
        rows.add(
            "switches",
            &format!(
                "{:<8} of tasks, by a far jump to a TSS, carried out by {}",
                counts.switches,
                switcher(authority)
            ),
        );
    }
    if end.copies_frames {
        rows.add(
            "design",
            "frames are popped out of copies: no task has a kernel stack to itself, and what concerns \
             such stacks is not judged",
        );
    }
}

fn unjudged(rows: &mut Rows, unjudged: &[UnjudgedRecord]) {
    let mut heading = "not judged";
    let may_be_used = || unjudged.iter().filter(|record| !record.unused);
    for record in may_be_used().take(REPEATED) {
        rows.add(heading, &record.sentence);
        heading = "";
    }
    let more = may_be_used().count().saturating_sub(REPEATED);
    if more > 0 {
        rows.add(heading, &format!("and {more} more, which a trace names"));
    }
}

/// Who carries out task switches. KVM asks processors to stop at them and emulates them; QEMU's model
/// does not stop.
fn switcher(authority: &str) -> &'static str {
    match authority {
        "silicon" => "KVM in the processor's stead",
        "unconfirmed" => "KVM, or the software that runs the guest",
        "tcg" => "QEMU's model of the processor",
        _ => "the software that runs the guest",
    }
}

fn stacks(rows: &mut Rows, stacks: &[StackRow]) {
    let mut heading = "stacks";
    for stack in stacks.iter().take(MOST_STACKS) {
        let name = stack.name.as_ref().map_or(String::new(), |name| format!(" = {name}"));
        rows.add(
            heading,
            &format!(
                "task {:<3} ESP0 {:08x}{name}  lowest ESP {:08x} ({} bytes)  entries {}  deepest {}",
                stack.task,
                stack.esp0,
                stack.lowest,
                stack.esp0.wrapping_sub(stack.lowest),
                stack.entries,
                stack.deepest
            ),
        );
        heading = "";
    }
    if let Some(more @ 1..) = stacks.len().checked_sub(MOST_STACKS) {
        rows.add("", &format!("and {more} more, which a trace has (esp0 trace stats)"));
    }
}

fn held_against_the_model(end: &EndRecord) -> String {
    let counts = &end.counts;
    let text = format!(
        "{:<8} held against the model, registers and all of memory",
        format!("{}+{}", counts.exact_entries, counts.exact_returns),
    );
    let others = (
        counts.entries.saturating_sub(counts.exact_entries),
        counts.returns.saturating_sub(counts.exact_returns),
    );
    match others {
        (0, 0) => text,
        (entries, returns) => format!("{text}; not so: {entries} entries, {returns} returns"),
    }
}

fn findings<F>(rows: &mut Rows, end: &EndRecord, told: &Told<F>) {
    let (counts, colour) = (&end.counts, rows.colour);
    rows.add(
        "findings",
        &if counts.findings == 0 {
            colour.good("none")
        } else {
            let by_rule = by_rule(&end.rules, |rule| rule.findings);
            colour.bad(&format!("{:<8} {by_rule}", counts.findings))
        },
    );
    for line in kinds(told, Degree::Fault) {
        rows.add("", &line);
    }
    if counts.notes > 0 {
        let by_rule = by_rule(&end.rules, |rule| rule.notes);
        rows.add("notes", &colour.odd(&format!("{:<8} {by_rule}", counts.notes)));
        for line in kinds(told, Degree::Note) {
            rows.add("", &line);
        }
    }
    if told.beyond() > 0 {
        let beyond = grouped(told.beyond());
        rows.add("", &format!("{beyond} more, of further kinds, were only counted"));
    }
}

/// `suspended_stack 49   return_frame 3`.
fn by_rule(rules: &[RuleCount], count: impl Fn(&RuleCount) -> u64) -> String {
    let counts: Vec<String> = rules
        .iter()
        .filter(|rule| count(rule) > 0)
        .map(|rule| format!("{} {}", rule.rule, count(rule)))
        .collect();
    counts.join("   ")
}

/// A line for each kind of finding, the first ones.
fn kinds<F>(told: &Told<F>, degree: Degree) -> Vec<String> {
    let mut lines: Vec<String> = told.of(degree).take(REPEATED).map(line_of).collect();
    let more = told.of(degree).count() - lines.len();
    if more > 0 {
        lines.push(format!("and {more} kinds more, told above"));
    }
    lines
}

fn line_of<F>(kind: &FindingKind<F>) -> String {
    let times = kind.times().map_or(String::new(), |times| format!(" ({times})"));
    format!("{}: {}{times}", kind.place, kind.sentence)
}

/// The ways into the kernel that have no probe and were not used.
fn without_probe(unjudged: &[UnjudgedRecord]) -> String {
    let unused: Vec<&str> =
        unjudged.iter().filter(|record| record.unused).map(|record| &*record.sentence).collect();
    match unused[..] {
        [] => String::new(),
        [one] => format!("; none at {one}"),
        [first, ..] => format!("; none at {first}, and at {} more", unused.len() - 1),
    }
}

fn probes(probes: &ProbeCounts) -> String {
    let parts: Vec<String> = [
        (probes.breakpoints, "hardware breakpoint"),
        (probes.patched_no_ops, "patched no-op"),
        (probes.patched_instructions, "patched instruction"),
        (probes.unreachable, "unmapped place"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" }))
    .collect();
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_stacks_some_have_a_line_and_the_others_are_counted() {
        let row = |task: u32| StackRow {
            task,
            esp0: 0x2000 * task,
            name: None,
            lowest: 0x2000 * task - 20,
            entries: 1,
            deepest: 1,
        };
        let lines = |count: u32| {
            let mut rows = Rows { text: String::new(), colour: Colour::default() };
            stacks(&mut rows, &(1..=count).map(row).collect::<Vec<_>>());
            (rows.text.lines().count(), rows.text.contains("more, which a trace has"))
        };
        assert_eq!(lines(3), (3, false));
        assert_eq!(lines(MOST_STACKS as u32), (MOST_STACKS, false));
        assert_eq!(lines(10_000), (MOST_STACKS + 1, true));
    }
}
