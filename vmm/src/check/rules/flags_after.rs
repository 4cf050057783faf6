use crate::check::{Finding, Findings, History, Subject};
use crate::entry::Entry;
use ia32::{Eflags, Word};

/// Flags that delivery does not touch.
const KEPT: Eflags = Eflags(
    Eflags::STATUS.0
        | Eflags::DF.0
        | Eflags::IOPL.0
        | Eflags::AC.0
        | Eflags::VIF.0
        | Eflags::VIP.0
        | Eflags::ID.0,
);

/// After an entry TF, NT, RF and VM are clear, IF is clear behind an interrupt gate and kept behind
/// a trap gate, and all other flags are kept.
///
/// SDM vol. 3A, "Flag usage by exception- or interrupt-handler procedure".
#[inline]
pub(crate) fn flags_after_entry(entry: &Entry, _: &History, findings: &mut Findings) {
    let expected = match &entry.expected {
        Some(model) => model.state().eflags,
        None => match after_what_was_pushed(entry) {
            Some(expected) => expected,
            None => return,
        },
    };
    if entry.after.eflags == expected {
        return;
    }
    findings.add(Finding::new(
        "flags_after",
        Subject::Processor,
        format!(
            "the flags behind the {} of {} are wrong: {}",
            entry.gate.kind,
            entry.vector,
            expected ^ entry.after.eflags
        ),
        format!("EFLAGS {:08x}", expected.0),
        format!("EFLAGS {:08x}", entry.after.eflags.0),
    ));
}

/// The flags that delivery leaves of those in the frame; none if they cannot be read.
fn after_what_was_pushed(entry: &Entry) -> Option<Eflags> {
    let mut pushed = Eflags(entry.frame.get(Word::Eflags)?);
    if entry.frame.shape.word_size == 2 {
        // A 16-bit frame has lost the upper half: take it from the flags after.
        pushed = Eflags(pushed.0 | entry.after.eflags.0 & 0xffff_0000);
    }
    let expected = pushed & KEPT | Eflags::FIXED;
    Some(if entry.gate.kind.clears_if() { expected } else { expected | (pushed & Eflags::IF) })
}
