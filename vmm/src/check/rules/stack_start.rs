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
/// overwrite data that is no stack's, and above it lies a kilobyte and more that nobody has used. A stack that is
/// allocated has no symbol; but where the task was begun by a frame made by hand, that frame lies at the stack's end, and
/// an ESP0 that is a power of two lower is its start.
#[inline]
pub(crate) fn esp0_is_no_start(entry: &Entry, history: &History, findings: &mut Findings) {
    if !entry.from_outer_ring() {
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
    if let Some(size) = size_by_first_frame(fresh, history) {
        // What was left clear is nobody's: then it may be a stack of its own that ends there.
        if !uniform && !fresh.was_stack {
            findings.add(stored(by_first_frame(entry, fresh, size), entry, history));
            return;
        }
    }
    if fresh.unused_above < UNUSED {
        return;
    }
    // What was left clear, or painted, is nobody's, unless it is known to be no stack's.
    if let Some(place) = place(history.objects(), top)
        && (!uniform || (1..TINY).contains(&place.room))
    {
        findings.add(stored(finding(entry, fresh, &place, uniform), entry, history));
    }
}

/// Whoever stored that ESP0 is to be looked at; and the IRET that let ring 3 run with it.
fn stored(finding: Finding, entry: &Entry, history: &History) -> Finding {
    let finding = finding.stored_as_esp0(entry);
    match history.last_return() {
        Some(last) => finding.about_instruction(last.state.instruction_address()),
        None => finding,
    }
}

/// The size of the stack that begins at ESP0, by the frame that has just been popped: it was made for a task that had not
/// run before, and ends where the stack does, but for a few words.
pub(super) fn size_by_first_frame(fresh: &FreshStack, history: &History) -> Option<u32> {
    let first = history.last_return().filter(|last| !last.of_entry)?;
    size_between(fresh.top, first.stack_end)
}

/// The size of a stack that begins at `start`, if something made at its end ends at `end`.
pub(super) fn size_between(start: u32, end: u32) -> Option<u32> {
    const SIZES: std::ops::RangeInclusive<u32> = 1024..=0x1_0000;
    const LEFT: u32 = 64;
    let distance = end.checked_sub(start).filter(|distance| *distance > 0)?;
    let size = distance.checked_next_power_of_two()?;
    (SIZES.contains(&size) && size - distance < LEFT).then_some(size)
}

/// What the words of the entry have overwritten.
fn lost_words(entry: &Entry, fresh: &FreshStack) -> String {
    let size = (entry.frame.shape.size() as usize).min(BELOW);
    let words = fresh.below[BELOW - size..].as_chunks::<4>().0.iter();
    let words: Vec<String> =
        words.map(|word| format!("{:08x}", u32::from_le_bytes(*word))).collect();
    words.join(" ")
}

#[cold]
fn by_first_frame(entry: &Entry, fresh: &FreshStack, size: u32) -> Finding {
    Finding::new(
        "stack_start",
        Subject::Kernel,
        format!(
            "ESP0 is the start of a stack, not its end: the words of {} overwrite what lies below it",
            entry.vector
        ),
        format!("ESP0 {:08x}", fresh.top.wrapping_add(size)),
        format!("ESP0 {:08x}: {:08x} held {}", fresh.top, entry.frame.address, lost_words(entry, fresh)),
    )
    .because(format!(
        "the frame that the task was begun with lies at the end of the {size} bytes above ESP0, where the kernel has its \
         stack; what is below ESP0 is something else's"
    ))
    .advise("add the stack's size to its address in what is stored in TSS.ESP0")
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
            lost_words(entry, fresh)
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
