//! Where a program was left, by which it is known again when the kernel returns to it.

use ia32::{State, Word};

/// EIP, ESP and CR3.
pub(super) type LeftAt = (u32, u32, u32);

/// By the words of a frame, and the registers beside it.
pub(super) fn left_at(state: &State, word: impl Fn(Word) -> Option<u32>) -> Option<LeftAt> {
    Some((word(Word::Eip)?, word(Word::Esp)?, state.cr3))
}
