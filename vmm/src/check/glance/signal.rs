//! A signal is delivered: what was interrupted has been put on the program's own stack, to be gone on with later.
//!
//! The frame leads to the signal's handler then, with an ESP below what was put there. Where that handler had not begun, since
//! it was interrupted at its first instruction, EIP is what it was, and ESP alone has changed.

use crate::check::history::Pair;
use crate::entry::Return;
use crate::machine::LinearMemory;
use ia32::Word;

/// Bytes that a kernel puts on a program's stack for a signal, at most.
const MOST: u32 = 4096;

/// EIP is what it was, and it stands with the pushed ESP between the popped ESP and that one. Programs are taken to have a flat
/// stack segment.
pub(super) fn keeps_what_was_interrupted(
    linear: &LinearMemory<'_>,
    returning: &Return,
    pair: Option<Pair<'_>>,
) -> bool {
    let Some(pushed) = pair.filter(|pair| pair.in_place).map(|pair| pair.pushed) else {
        return false;
    };
    let words = |word| Some((pushed.frame.get(word)?, returning.frame.get(word)?));
    let (Some((eip, goes_on)), Some((esp, below))) = (words(Word::Eip), words(Word::Esp)) else {
        return false;
    };
    let distance = esp.wrapping_sub(below);
    if !pushed.from_outer_ring() || eip != goes_on || !(8..=MOST).contains(&distance) {
        return false;
    }
    let holds = |wanted: u32| {
        (0..distance / 4).any(|word| linear.read_u32(below.wrapping_add(4 * word)) == Some(wanted))
    };
    holds(eip) && holds(esp)
}
