//! What of an event no build of a kernel changes.
//!
//! Addresses move with every build, and so do general registers that hold them. What the processor makes of an event by the
//! manual does not: which selectors it pushes, in all 32 bits; the error code; of EFLAGS the bits that no arithmetic
//! touches; and of the gate what it is, rather than where it leads.

use crate::trace::schema::{EndRecord, EntryRecord, FrameRecord};
use ia32::{Eflags, Word};

/// The bits of EFLAGS that are the system's.
const SYSTEM: Eflags = Eflags(
    Eflags::RF.0
        | Eflags::IF.0
        | Eflags::TF.0
        | Eflags::NT.0
        | Eflags::VM.0
        | Eflags::AC.0
        | Eflags::IOPL.0,
);

/// Those of an EFLAGS.
pub(super) fn of_flags(eflags: u32) -> Eflags {
    Eflags(eflags & SYSTEM.0)
}

/// What is kept of a word; none of one that is an address.
pub(super) fn of_word(word: Word, value: u32) -> Option<u32> {
    match word {
        Word::Eip | Word::Esp => None,
        Word::Eflags => Some(of_flags(value).0),
        _ => Some(value),
    }
}

/// The words of a frame: which there are, whether they can be read, and what is kept of them.
pub(super) fn of_frame(frame: &FrameRecord) -> impl Iterator<Item = (Word, bool, Option<u32>)> {
    frame.words.iter().map(|(word, value)| {
        (*word, value.is_some(), value.and_then(|value| of_word(*word, value)))
    })
}

/// Type, DPL and presence of the gate, as its byte has them, and the selector in it.
pub(super) fn of_gate(entry: &EntryRecord) -> (u8, u16) {
    ((entry.gate >> 40) as u8, (entry.gate >> 16) as u16)
}

/// The selectors that an entry found and loaded.
pub(super) fn of_segments(entry: &EntryRecord) -> [u16; 7] {
    [entry.ss, entry.ss0, entry.ds, entry.es, entry.fs, entry.gs, entry.tr]
}

/// Names of the deviations that showed.
pub(super) fn of_deviations(end: &EndRecord) -> Vec<&str> {
    end.deviations.iter().map(|one| one.name.as_str()).collect()
}
