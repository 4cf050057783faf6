//! What the machine shows when the run is over: its screen, and where nobody answered.

use super::loaded::Loaded;
use super::screenshot;
use esp0::boot::{Boot, Framebuffer};
use esp0::devices::{Place, Tally, screen, unanswered, vga};
use esp0::run::Run;
use esp0::symbols::{SeenCode, Symbols};
use std::fmt::Write as _;

/// So many places are listed, those with the most accesses first.
const LISTED: usize = 6;

/// What summary and page show of the machine.
pub(super) struct LastView {
    /// The text screen, if anything stands on it; and where a picture is, if there is one.
    pub(super) screen: String,
    /// The places at which the guest found nothing, a line each.
    pub(super) unanswered: String,
}

impl LastView {
    /// Of the machine as it is when the run is over.
    pub(super) fn of(run: &Run, loaded: &Loaded) -> Self {
        let Loaded { boot, symbols, .. } = loaded;
        let unanswered = unanswered(run.devices().unanswered(), symbols);
        LastView { screen: text_screen(run) + &picture(run, boot), unanswered }
    }
}

fn picture(run: &Run, boot: &Boot) -> String {
    let memory = run.machine().memory();
    let Some(shown) = boot.framebuffer.filter(|shown| screenshot::drawn(shown, memory).is_some())
    else {
        return String::new();
    };
    let Framebuffer { address, width, height, depth, .. } = shown;
    format!(
        "\nframebuffer ({width} x {height}, {depth} bits, at {address:#x}): --screenshot FILE.png draws it\n"
    )
}

fn text_screen(run: &Run) -> String {
    let Some(cells) = run.screen() else { return String::new() };
    let at = run.devices().vga().text_address();
    let lines = screen::lines(&cells);
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("\nscreen ({} x {} at {at:#x})\n", vga::COLUMNS, vga::ROWS);
    for line in lines {
        let _ = writeln!(text, "  │{line}");
    }
    text
}

fn unanswered(unanswered: &unanswered::Unanswered, symbols: &Symbols) -> String {
    let mut places: Vec<(Place, Tally)> = unanswered.places().collect();
    places.sort_by_key(|(place, tally)| (std::cmp::Reverse(tally.reads + tally.writes), *place));
    let mut text = String::new();
    for (place, tally) in places.iter().take(LISTED) {
        let times = |count: u64, what| match count {
            0 => None,
            1 => Some(format!("{what} once")),
            _ => Some(format!("{what} {count} times")),
        };
        let counts: Vec<String> = [times(tally.reads, "read"), times(tally.writes, "written")]
            .into_iter()
            .flatten()
            .collect();
        let code = SeenCode::default();
        let asked = symbols.describe_code(tally.first, code);
        // A kernel of the higher half may have asked before it had paging.
        let asked = asked.or_else(|| symbols.describe_physical(tally.first));
        let asked = asked.map_or(String::new(), |place| format!(" {place}"));
        let polled = if tally.row >= unanswered::POLLING {
            format!("; {} reads in a row: a loop waits for it", tally.row)
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "nobody there {place}: {}, first by {:08x}{asked}{polled}",
            counts.join(", "),
            tally.first,
        );
    }
    let more = places.len().saturating_sub(LISTED);
    if more > 0 {
        let _ = writeln!(text, "nobody there {more} more places");
    }
    text
}
