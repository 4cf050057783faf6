//! What the machine shows when the run is over: its screen, and where nobody answered.

use super::loaded::Loaded;
use super::screenshot;
use esp0::boot::{Boot, Framebuffer};
use esp0::devices::{AccessCounts, Place, screen::lines, unanswered, vga, vga::Shown};
use esp0::run::{BiosCall, Run};
use esp0::symbols::{SeenCode, Symbols};
use esp0::trace::schema::ScreenRecord;
use esp0::trace::screen;

/// So many places are listed, those with the most accesses first.
const LISTED: usize = 6;

/// What the summary shows of the machine, and the trace keeps.
pub(super) struct LastView {
    /// The text screen, if anything stands on it.
    pub(super) screen: Option<ScreenRecord>,
    /// Where a picture is, in a line, if there is one.
    pub(super) picture: String,
    /// The places at which the guest found nothing, a line each.
    pub(super) unanswered: Vec<String>,
}

impl LastView {
    /// Of the machine as it is when the run is over.
    pub(super) fn of(run: &Run, loaded: &Loaded) -> Self {
        let Loaded { boot, symbols, .. } = loaded;
        let mut unanswered = unanswered(run.devices().unanswered(), symbols);
        if run.devices().a20_was_closed() {
            unanswered.push(
                "nobody there A20: the guest has closed it, and memory does not wrap at 1 MiB here"
                    .into(),
            );
        }
        unanswered.splice(..0, no_bios(run.bios_calls()));
        LastView { screen: text_screen(run), picture: picture(run, boot), unanswered }
    }

    /// As it is printed before the summary.
    pub(super) fn text(&self) -> String {
        screen(self.screen.as_ref()) + &self.picture
    }
}

/// What was asked of a BIOS that is not there.
fn no_bios(calls: &[BiosCall]) -> Option<String> {
    const TOLD: usize = 4;
    let asked = |call: &BiosCall| {
        let BiosCall { vector, ax, by: (cs, ip), count } = call;
        let times = if *count == 1 { "once".into() } else { format!("{count} times") };
        format!("int {vector:#04x} with AX={ax:04x} at {cs:04x}:{ip:04x} {times}")
    };
    let mut told: Vec<String> = calls.iter().take(TOLD).map(asked).collect();
    if calls.len() > TOLD {
        told.push(format!("{} more", calls.len() - TOLD));
    }
    (!told.is_empty()).then(|| {
        format!(
            "no BIOS      for {}: behind a kernel that is loaded directly there is none; boot it from a CD or a disk image",
            told.join(", ")
        )
    })
}

fn picture(run: &Run, boot: &Boot) -> String {
    let Some((shown, _)) = screenshot::picture(run, boot.framebuffer.as_ref()) else {
        return match run.devices().vga().shown() {
            Shown::Text => String::new(),
            Shown::Dots => {
                "\nVGA graphics (320 x 200, 256 colours): --screenshot FILE.png draws it\n".into()
            }
            Shown::Other => {
                "\nVGA graphics of a mode that is not drawn: the guest has left text mode\n".into()
            }
        };
    };
    let Framebuffer { address, width, height, depth, .. } = shown;
    format!(
        "\nframebuffer ({width} x {height}, {depth} bits, at {address:#x}): --screenshot FILE.png draws it\n"
    )
}

fn text_screen(run: &Run) -> Option<ScreenRecord> {
    let devices = run.devices();
    let is_picture = devices.vbe().is_some_and(|vbe| vbe.shown().is_some());
    if is_picture || devices.vga().shown() != Shown::Text {
        return None;
    }
    let lines = lines(&run.screen()?);
    let address = run.devices().vga().text_address();
    let (columns, rows) = (vga::COLUMNS as u32, vga::ROWS as u32);
    (!lines.is_empty()).then_some(ScreenRecord { columns, rows, address: address as u32, lines })
}

fn unanswered(unanswered: &unanswered::Unanswered, symbols: &Symbols) -> Vec<String> {
    let mut places: Vec<(Place, AccessCounts)> = unanswered.places().collect();
    places.sort_by_key(|(place, tally)| (std::cmp::Reverse(tally.reads + tally.writes), *place));
    let mut lines = Vec::new();
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
        } else if tally.turns >= unanswered::POLLING {
            format!(
                "; read in turn with others, {} reads in a row: a loop waits for one of them",
                tally.turns
            )
        } else {
            String::new()
        };
        lines.push(format!(
            "nobody there {place}: {}, first by {:08x}{asked}{polled}",
            counts.join(", "),
            tally.first,
        ));
    }
    let more = places.len().saturating_sub(LISTED);
    if more > 0 {
        lines.push(format!("nobody there {more} more places"));
    }
    if unanswered.earlier() > 0 {
        lines.push(format!(
            "nobody there {} places, asked for by the BIOS and the boot loader",
            unanswered.earlier()
        ));
    }
    lines
}
