use crate::check::{Finding, Findings, History, Subject};
use crate::entry::{Entry, Kind};
use ia32::{Eflags, State, Word};

/// Each pushed word is the register as it was before the event.
///
/// SDM vol. 3A, "Exception- or interrupt-handler procedures"; for EFLAGS.RF vol. 3B,
/// "Instruction-breakpoint exception condition". Where the state before was seen, each word is
/// compared with it. Where not, with all that the architecture says of it: ring bits, flags that are
/// always 0 or 1, IF of an interrupted program, the place of EIP.
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
    match &entry.before {
        Some(before) => against_the_state_before(entry, before, findings),
        None => against_the_architecture(entry, findings),
    }
}

/// RF as it must be pushed; none where the manual leaves it open.
fn resume_flag(entry: &Entry, before: Option<&State>) -> Option<bool> {
    match entry.kind {
        Kind::Fault => Some(true),
        Kind::Software => Some(false),
        // The current value, unless a repeated string instruction is interrupted half-way.
        Kind::External | Kind::Nmi | Kind::Trap => {
            before.map(|before| before.eflags.contains(Eflags::RF))
        }
        Kind::Abort | Kind::Unexplained => None,
    }
}

fn against_the_state_before(entry: &Entry, before: &State, findings: &mut Findings) {
    let narrow = if entry.frame.shape.word_size == 2 { 0xffff } else { u32::MAX };
    let mut eflags = before.eflags;
    let mut eflags_mask = narrow;
    match resume_flag(entry, Some(before)) {
        Some(true) => eflags = eflags | Eflags::RF,
        Some(false) => eflags = eflags.without(Eflags::RF),
        None => eflags_mask &= !Eflags::RF.0,
    }
    for (word, got) in entry.frame.words() {
        let Some(got) = got else { continue };
        // Upper halves of selectors are undefined in the manual.
        let (expected, mask) = match word {
            Word::ErrorCode => continue,
            Word::Eip => match eip_after(entry, before) {
                Some(eip) => (eip, narrow),
                None => continue,
            },
            Word::Cs => (u32::from(before.cs().selector), 0xffff),
            Word::Eflags => (eflags.0, eflags_mask),
            Word::Esp => (before.general.esp, narrow),
            Word::Ss => (u32::from(before.ss().selector), 0xffff),
            Word::Es => (u32::from(before.segments[0].selector), 0xffff),
            Word::Ds => (u32::from(before.segments[3].selector), 0xffff),
            Word::Fs => (u32::from(before.segments[4].selector), 0xffff),
            Word::Gs => (u32::from(before.segments[5].selector), 0xffff),
        };
        if (expected ^ got) & mask != 0 {
            findings.add(differs(entry, word, expected & mask, got & mask));
        }
    }
}

/// The EIP that must be pushed when the state before the instruction was seen: a fault or an
/// interrupt points at the next instruction to be executed, INT n and traps behind themselves.
fn eip_after(entry: &Entry, before: &State) -> Option<u32> {
    match entry.kind {
        Kind::External | Kind::Nmi | Kind::Fault => Some(before.eip),
        Kind::Software => Some(before.eip.wrapping_add(2)),
        Kind::Trap if entry.code.is_behind_one_byte_trap(entry.vector) => {
            Some(before.eip.wrapping_add(1))
        }
        Kind::Trap | Kind::Abort | Kind::Unexplained => None,
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
        match resume_flag(entry, None).filter(|_| frame.shape.word_size == 4) {
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
