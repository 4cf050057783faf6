use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;

/// An entry pushes as many words as the ring change and the vector ask for.
///
/// Five from an outer ring, three from the same, nine from virtual-8086 mode, and one more where the
/// vector comes with an error code (SDM vol. 3A, "Exception- or interrupt-handler procedures").
/// How many were pushed is told from where the stack was empty: ESP0, or ESP before the event.
#[inline]
pub(crate) fn frame_has_the_right_size(entry: &Entry, _: &History, findings: &mut Findings) {
    let Some(base) = stack_before(entry) else { return };
    let pushed = base.wrapping_sub(entry.after.stack_pointer());
    let expected = entry.frame.shape.size();
    // Anything larger than the largest frame is not a matter of size but of the wrong stack.
    if pushed == expected || pushed > 40 {
        return;
    }
    let words = entry.frame.shape.word_size;
    findings.add(Finding::new(
        "frame_size",
        Subject::Processor,
        format!("{} pushed the wrong number of words", entry.vector),
        format!("{} words, {expected} bytes", entry.frame.shape.count()),
        format!("{} words, {pushed} bytes", pushed / words),
    ));
}

/// The stack pointer that the words were pushed below: ESP0 from an outer ring, else ESP before the
/// event where it is known.
pub(super) fn stack_before(entry: &Entry) -> Option<u32> {
    let base = if entry.from_outer_ring() {
        entry.inner_stack?.esp
    } else {
        entry.before.as_ref()?.general.esp
    };
    Some(if entry.after.ss().big() { base } else { base & 0xffff })
}
