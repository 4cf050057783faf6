//! The first divergence, in words: what came right before it, both events side by side, and where the traces go on
//! alike.

use super::drawn::drawn;
use super::same::is_same;
use super::side::Side;
use super::table::{sentences, short, side_by_side};
use super::{AHEAD, Aspects};
use crate::entry::Kind;
use crate::trace::schema::Record;
use std::fmt::Write as _;

/// How many events have to be alike for two traces to go on alike.
const ALIKE: usize = 6;

/// Explains it. `clocks` are those of the traces, where interrupts need not come at one place in both.
pub(super) fn explain(
    names: [&str; 2],
    sides: [&Side; 2],
    differs: &[&str],
    same: u64,
    aspects: Aspects,
    clocks: Option<String>,
) -> String {
    let mut text = String::new();
    let places = [0, 1].map(|side| match sides[side].ahead.front() {
        Some(event) => format!("line {} of {}", event.line, names[side]),
        None => format!("the end of {}, which was cut off", names[side]),
    });
    let plural = if same == 1 { "" } else { "s" };
    let _ = writeln!(text, "the same at first: {same} event{plural}");
    let _ = writeln!(
        text,
        "the first divergence: {} and {}: {} {}",
        places[0],
        places[1],
        differs.join(", "),
        if differs.len() == 1 { "differs" } else { "differ" }
    );
    text.push_str(&sentences(names, sides, differs));
    if let Some(clocks) = clocks.filter(|_| parts_at_an_interrupt(sides, differs)) {
        let _ = writeln!(
            text,
            "when an interrupt comes is the clock's doing ({clocks}): --without-interrupts passes over them, and runs with \
             --clock deterministic have them at one place"
        );
    }
    let before: Vec<String> = sides[0].before.iter().map(short).collect();
    if !before.is_empty() {
        let _ = writeln!(text, "right before it, in both: {}", before.join(", "));
    }
    let _ = writeln!(text);
    let table = side_by_side(names, sides, differs);
    text.push_str(&table);
    if table.contains("\n· ") {
        let _ = writeln!(text, "  > is where they part; · differs as well, which it may");
    }
    text.push_str(&drawn(names, sides));
    if let Some((skipped, others)) = resume(sides, aspects) {
        let _ = writeln!(text);
        for (name, (side, count)) in names
            .iter()
            .zip(sides.iter().zip([skipped, others]))
            .filter(|(_, (_, count))| *count > 0 && (skipped, others) != (1, 1))
        {
            let events: Vec<String> = side.ahead.iter().take(count.min(4)).map(short).collect();
            let more = if count > 4 { ", …" } else { "" };
            let _ = writeln!(
                text,
                "only in {name}: {count} event{}: {}{more}",
                if count == 1 { "" } else { "s" },
                events.join(", ")
            );
        }
        let place = |side: &Side, at: usize| side.ahead.get(at).map_or(0, |event| event.line);
        let _ = writeln!(
            text,
            "they go on alike from line {} and line {}",
            place(sides[0], skipped),
            place(sides[1], others)
        );
    } else {
        let _ = writeln!(text, "\nwithin the next {AHEAD} events they do not meet again");
    }
    text
}

/// One has an external interrupt where the other has something else.
fn parts_at_an_interrupt(sides: [&Side; 2], differs: &[&str]) -> bool {
    let is_external = |side: &Side| match side.ahead.front().map(|event| &event.record) {
        Some(Record::Entry(entry)) => entry.kind == Kind::External,
        _ => false,
    };
    differs == ["event"] && is_external(sides[0]) != is_external(sides[1])
}

/// How many events of each are to be passed over until both go on alike for a while: the fewest in all.
fn resume(sides: [&Side; 2], aspects: Aspects) -> Option<(usize, usize)> {
    let [one, other] = sides.map(|side| &side.ahead);
    let alike = |skip: usize, others: usize| {
        let run = ALIKE.min(one.len().saturating_sub(skip)).min(other.len().saturating_sub(others));
        let ends = skip + run == one.len() && others + run == other.len();
        let same = |at: usize| is_same(&one[skip + at].record, &other[others + at].record, aspects);
        (run == ALIKE || (run > 0 && ends)) && (0..run).all(same)
    };
    let most = one.len() + other.len();
    (1..most).find_map(|sum| {
        let from = sum.saturating_sub(other.len());
        (from..=sum.min(one.len())).map(|skip| (skip, sum - skip)).find(|(a, b)| alike(*a, *b))
    })
}
