use crate::check::{Finding, Findings, History, Subject};
use crate::entry::{Entry, Expected, Kind};
use ia32::{Eflags, Word};

/// Each pushed word is the register as it was before the event.
///
/// SDM vol. 3A, "Exception- or interrupt-handler procedures"; for EFLAGS.RF vol. 3B,
/// "Instruction-breakpoint exception condition". Where the state before was seen, each word is what the
/// model says. Where not, it is held against all that the architecture says of it: ring bits, flags that
/// are always 0 or 1, RF.
#[inline]
pub(crate) fn pushed_words_are_the_state_before(
    entry: &Entry,
    _: &History,
    findings: &mut Findings,
) {
    if !entry.frame.complete() {
        findings.add(Finding::new(
            "pushed_words",
            Subject::Processor,
            "the pushed words lie in memory that cannot be read",
            format!("{} words at {:08x}", entry.frame.shape.count(), entry.frame.address),
            "a page that is not mapped",
        ));
        return;
    }
    match &entry.expected {
        Some(model) => against_the_model(entry, model, findings),
        None => against_the_architecture(entry, findings),
    }
}

/// RF as it must be pushed, whatever the state before; none where that decides.
fn resume_flag(kind: Kind) -> Option<bool> {
    match kind {
        Kind::Fault => Some(true),
        Kind::Software => Some(false),
        Kind::External | Kind::Nmi | Kind::Trap | Kind::Abort | Kind::Unexplained => None,
    }
}

fn against_the_model(entry: &Entry, model: &Expected, findings: &mut Findings) {
    let narrow = if entry.frame.shape.word_size == 2 { 0xffff } else { u32::MAX };
    for (word, got) in entry.frame.words() {
        let (Some(got), Some((expected, defined))) = (got, model.word(word)) else { continue };
        let mask = defined & narrow;
        if (expected ^ got) & mask != 0 && word != Word::ErrorCode {
            findings.add(differs(entry, word, expected & mask, got & mask));
        }
    }
}

fn against_the_architecture(entry: &Entry, findings: &mut Findings) {
    let frame = &entry.frame;
    let ring = entry.origin.ring;
    if let Some(eflags) = frame.get(Word::Eflags) {
        let mut expected = Eflags(eflags).without(Eflags::RESERVED_ZERO) | Eflags::FIXED;
        if frame.shape.word_size == 2 {
            expected = Eflags(expected.0 & 0xffff);
        }
        match resume_flag(entry.kind).filter(|_| frame.shape.word_size == 4) {
            Some(true) => expected = expected | Eflags::RF,
            Some(false) => expected = expected.without(Eflags::RF),
            None => {}
        }
        if expected.0 != eflags {
            findings.add(differs(entry, Word::Eflags, expected.0, eflags));
        }
    }
    if frame.shape.from_virtual_8086 {
        return;
    }
    for word in [Word::Cs, Word::Ss] {
        if let Some(selector) = frame.selector(word)
            && selector & 3 != u16::from(ring)
        {
            let expected = u32::from(selector & !3) | u32::from(ring);
            findings.add(differs(entry, word, expected, u32::from(selector)));
        }
    }
}

fn differs(entry: &Entry, word: Word, expected: u32, got: u32) -> Finding {
    let detail =
        if word == Word::Eflags { format!(" ({})", Eflags(expected ^ got)) } else { String::new() };
    Finding::new(
        "pushed_words",
        Subject::Processor,
        format!(
            "the {} that {} pushed is not the one before it{detail}",
            word.name(),
            entry.vector
        ),
        format!("{} {expected:08x}", word.name()),
        format!("{} {got:08x}", word.name()),
    )
    .of_word(word, expected, got)
}
