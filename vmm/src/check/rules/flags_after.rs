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
    let before = match &entry.before {
        Some(before) => before.eflags,
        None => match entry.frame.get(Word::Eflags) {
            // A 16-bit frame has lost the upper half: take it from the flags after.
            Some(pushed) if entry.frame.shape.word_size == 2 => {
                Eflags(pushed | entry.after.eflags.0 & 0xffff_0000)
            }
            Some(pushed) => Eflags(pushed),
            None => return,
        },
    };
    let mut expected = before & KEPT | Eflags::FIXED;
    if !entry.gate.kind.clears_if() {
        expected = expected | (before & Eflags::IF);
    }
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
