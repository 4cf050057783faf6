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
        findings.add(unmapped(entry));
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

/// The processor has pushed through translations that it still had.
#[cold]
fn unmapped(entry: &Entry) -> Finding {
    let words = format!("{} words at {:08x}", entry.frame.shape.count(), entry.frame.address);
    if !entry.after.paging() || entry.frame.physical.is_some() {
        return Finding::new(
            "pushed_words",
            Subject::Kernel,
            format!("{} was delivered on a stack where there is no RAM", entry.vector),
            words,
            "nothing that can be read",
        )
        .because("what the processor pushes there is lost")
        .advise("look at where the stack pointer comes from: TSS.ESP0, or the kernel's own ESP");
    }
    let directory = entry.after.cr3 & !0xfff;
    Finding::new(
        "pushed_words",
        Subject::Kernel,
        format!("{} was delivered on a stack that the tables of CR3 do not map any more", entry.vector),
        words,
        format!("a page that is not mapped by the directory at {directory:08x}"),
    )
    .because(
        "the processor went on with translations that it had cached: the page directory that CR3 names, or a table of it, was \
         freed, cleared or overwritten while it was in use",
    )
    .advise("load CR3 with another directory before this one is freed or changed, and flush what is changed (INVLPG, or CR3 anew)")
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
