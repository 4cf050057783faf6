//! What the model says that an entry must be.
//!
//! Where the state before an event is known, `ia32` is the one oracle: it is asked at the handler's first
//! instruction. What it reads of memory, tables and TSS, is there as it was before, for nothing but the
//! event itself has run since; and that writes a frame, accessed and busy bits, which it does not read
//! again. Exact mode asks it for more, with memory as it was before ([`Exact`](super::Exact)).

use super::fault::Ram;
use crate::machine::Memory;
use ia32::{
    AttemptEnd, Difference, Operation, Outcome, Owner, Processor, State, Undefined, Word, take,
};

/// The state at the handler's first instruction, and the words of the frame.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The registers.
    state: State,
    /// What of them the manuals leave open.
    undefined: Undefined,
    /// The frame's words, each with the bits that the manuals leave open.
    words: Vec<(Word, u32, u32)>,
}

impl Expected {
    /// Asks the model what `operation` leads to from `before`. None if the manuals leave it open, or the
    /// model does not cover it.
    pub fn ask(
        before: &State,
        memory: &Memory,
        operation: Operation,
        processor: &Processor,
    ) -> Option<Expected> {
        Expected::of(&take(before, &Ram(memory), operation, processor))
    }

    fn of(outcome: &Outcome) -> Option<Expected> {
        if outcome.unspecified.is_some() || !matches!(outcome.end, AttemptEnd::Completed) {
            return None;
        }
        let mut words: Vec<(Word, u32, u32)> = Vec::new();
        let mut width = 0;
        for write in &outcome.writes {
            let Owner::Pushed(word) = write.owner else { continue };
            match words.last_mut() {
                // A word that crosses a page is written in two pieces.
                Some((last, value, undefined)) if *last == word && width < 4 => {
                    *value |= write.value << (8 * width);
                    *undefined |= write.undefined << (8 * width);
                    width += u32::from(write.width);
                }
                _ => {
                    words.push((word, write.value, write.undefined));
                    width = u32::from(write.width);
                }
            }
        }
        Some(Expected { state: outcome.state, undefined: outcome.undefined, words })
    }

    /// What is to be pushed as `word`, and the bits of it that count; none if nothing is.
    pub fn word(&self, word: Word) -> Option<(u32, u32)> {
        let (_, value, undefined) = self.words.iter().rfind(|(name, ..)| *name == word)?;
        Some((*value, !undefined))
    }

    /// The registers, as KVM reports them.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The registers that are otherwise in `after`.
    pub fn differences(&self, after: &State) -> impl Iterator<Item = Difference> {
        self.undefined.differences(&self.state, after)
    }
}
