use crate::check::glance::{BELOW, FreshStack};
use crate::check::{Finding, Findings, History, Objects, Subject};
use crate::entry::Entry;

/// No kernel stack has less room than this: the frame, the general registers and a few calls.
const SMALLEST: u32 = 512;
/// What is as small as this is no stack, whatever it holds.
const TINY: u32 = 128;
/// What looks like an unused stack has at least so many bytes.
const UNUSED: u32 = 1024;

/// ESP0 is the end of a stack, not its start.
///
/// The processor pushes below ESP0 (SDM vol. 3A, "Stack switching"). With the start of an array there, the
/// words overwrite what lies before the array. Judged at the first entry on an ESP0, where the kernel's
/// symbols say in which object it lies: there is hardly any room below it in its object, the words
/// overwrite data that is no stack's, and above it lies a kilobyte and more that nobody has used.
#[inline]
pub(crate) fn esp0_is_no_start(entry: &Entry, history: &History, findings: &mut Findings) {
    if !entry.from_outer_ring() || history.objects().is_empty() {
        return;
    }
    let Some(fresh) = history.fresh_stack() else { return };
    let top = entry.frame.end();
    if fresh.top != top {
        return;
    }
    let size = (entry.frame.shape.size() as usize).min(BELOW);
    let lost = &fresh.below[BELOW - size..];
    let words = lost.as_chunks::<4>().0;
    let uniform = words.iter().all(|word| *word == words[0]);
    if fresh.unused_above < UNUSED {
        return;
    }
    // What was left clear, or painted, is nobody's, unless it is known to be no stack's.
    if let Some(place) = place(history.objects(), top)
        && (!uniform || (1..TINY).contains(&place.room))
    {
        findings.add(finding(entry, fresh, &place, uniform));
    }
}

/// ESP0 in terms of objects.
struct Place {
    /// `kstack+0`.
    esp0: String,
    /// The object whose bytes are overwritten.
    victim: String,
    /// How much room it has.
    room: u32,
    /// Where a stack's end would be.
    end: String,
}

fn place(objects: &Objects, top: u32) -> Option<Place> {
    let below = objects.at(top.wrapping_sub(1));
    let above = objects.at(top).filter(|object| object.end - top >= UNUSED)?;
    let offset = top - above.start;
    let room = below.map_or(0, |object| top - object.start);
    if room >= SMALLEST || offset >= SMALLEST {
        return None;
    }
    Some(Place {
        esp0: format!("{}+{offset}", above.name),
        victim: below.map_or("what lies there".into(), |object| object.name.clone()),
        room,
        end: format!("{:08x} ({}+{})", above.end, above.name, above.end - above.start),
    })
}

#[cold]
fn finding(entry: &Entry, fresh: &FreshStack, place: &Place, uniform: bool) -> Finding {
    let words = |bytes: &[u8]| {
        let words: Vec<String> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|word| format!("{:08x}", u32::from_le_bytes(*word)))
            .collect();
        words.join(" ")
    };
    let size = (entry.frame.shape.size() as usize).min(BELOW);
    Finding::new(
        "stack_start",
        Subject::Kernel,
        format!(
            "ESP0 is the start of a stack, not its end: the words of {} overwrite {}",
            entry.vector, place.victim
        ),
        format!("ESP0 {}", place.end),
        format!(
            "ESP0 {:08x} ({}): {:08x} held {}",
            fresh.top,
            place.esp0,
            entry.frame.address,
            words(&fresh.below[BELOW - size..])
        ),
    )
    .because(format!(
        "below it {} has {} bytes{}, and above it {} bytes and more have never been used",
        place.victim,
        place.room,
        if uniform { "" } else { ", with data in them" },
        fresh.unused_above
    ))
    .advise("add the stack's size to its address in what is stored in TSS.ESP0")
}
