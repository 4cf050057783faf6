//! How a known deviation shows in a case and its mismatch, and what a recogniser may ask of the two.

use super::case::Case;
use super::mismatch::ByteDifference;
use super::world::Expectation;
use ia32::{Attempt, Branch, Difference, Owner, Write};

/// How a deviation is recognised.
#[derive(Debug)]
pub(super) struct Recogniser {
    pub(super) name: &'static str,
    /// Whether a part of a mismatch is this deviation.
    pub(super) matches: fn(&Seen<'_>, &Part) -> bool,
}

/// The recogniser of the deviation `name`.
pub(super) const fn recogniser(
    name: &'static str,
    matches: fn(&Seen<'_>, &Part) -> bool,
) -> Recogniser {
    Recogniser { name, matches }
}

/// A case with what came of it.
pub(super) struct Seen<'a> {
    pub(super) case: &'a Case,
    pub(super) expectation: &'a Expectation,
}

/// One thing in which a run differs from the model.
pub(super) enum Part {
    Exit,
    Field(Difference),
    Byte(ByteDifference),
}

impl Part {
    /// A field of the state with this name.
    pub(super) fn field(&self, name: &str) -> Option<Difference> {
        match self {
            Part::Field(difference) if difference.field == name => Some(*difference),
            _ => None,
        }
    }

    /// A byte that the model writes for this owner.
    pub(super) fn byte_of(&self, owner: Owner) -> Option<ByteDifference> {
        match self {
            Part::Byte(byte) if byte.owner == Some(owner) => Some(*byte),
            _ => None,
        }
    }
}

impl Seen<'_> {
    /// What was tried, first to last.
    pub(super) fn attempts(&self) -> impl Iterator<Item = Attempt> {
        let second = self.expectation.debug_trap();
        let first = self.expectation.outcome.attempts.iter();
        first.chain(second.into_iter().flat_map(|outcome| outcome.attempts.iter()))
    }

    /// The model raises a fault at one of these checks.
    pub(super) fn refused(&self, checks: &[Branch]) -> bool {
        self.attempts()
            .any(|attempt| attempt.fault.is_some_and(|fault| checks.contains(&fault.branch)))
    }

    /// The model takes this branch.
    pub(super) fn takes(&self, branch: Branch) -> bool {
        self.expectation.path().contains(branch)
    }

    /// The event itself raises a fault.
    pub(super) fn first_refused(&self) -> bool {
        self.attempts().next().is_some_and(|attempt| attempt.fault.is_some())
    }

    /// Which byte of its word a byte is.
    pub(super) fn offset(&self, byte: &ByteDifference) -> Option<u64> {
        let (pieces, n) = self.pieces(byte)?;
        let before: u64 = pieces[..n].iter().map(|piece| u64::from(piece.width)).sum();
        Some(u64::from(byte.address) - pieces[n].address + before)
    }

    /// The word of which a byte is part, as the model writes it.
    pub(super) fn word(&self, byte: &ByteDifference) -> Option<u32> {
        let (pieces, _) = self.pieces(byte)?;
        let above = pieces.get(1).map_or(0, |high| high.value << (8 * u32::from(pieces[0].width)));
        Some(pieces[0].value | above)
    }

    /// The writes of the word that a byte belongs to, and which of them is the byte's: a word that
    /// crosses a page is written in two pieces.
    fn pieces(&self, byte: &ByteDifference) -> Option<(&[Write], usize)> {
        let log = self.expectation.last().writes.as_slice();
        let n = log.iter().rposition(|write| write.byte(byte.address.into()).is_some())?;
        let belong = |first: usize| match log.get(first..first + 2) {
            Some([low, high]) => {
                low.owner == high.owner
                    && low.linear.wrapping_add(low.width.into()) == high.linear
                    && matches!(low.width + high.width, 2 | 4)
                    && high.linear.is_multiple_of(0x1000)
            }
            _ => false,
        };
        Some(match n.checked_sub(1) {
            Some(below) if belong(below) => (&log[below..=n], 1),
            _ if belong(n) => (&log[n..n + 2], 0),
            _ => (&log[n..=n], 0),
        })
    }
}
