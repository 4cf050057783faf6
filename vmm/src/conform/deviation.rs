//! How the known deviations show in a case with its whole mismatch: see [`crate::host::DEVIATIONS`].

use super::case::Case;
use super::mismatch::{ByteDifference, Mismatch};
use super::qemu;
use super::world::Expectation;
use crate::host::{Backend, Deviation};
use ia32::{Attempt, Branch, Difference, Owner, Write};

/// How a deviation is recognised.
#[derive(Debug)]
pub(super) struct Recogniser {
    pub(super) name: &'static str,
    /// Whether a part of a mismatch is this deviation.
    pub(super) matches: fn(&Seen<'_>, &Part) -> bool,
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

/// The deviations that a backend is known to have and that can show in a case.
#[derive(Debug)]
pub(super) struct KnownDeviations(Vec<(&'static Deviation, &'static Recogniser)>);

impl KnownDeviations {
    pub(super) fn of(backend: &Backend) -> Self {
        let all = qemu::RECOGNISERS.into_iter().flatten();
        KnownDeviations(Deviation::recognised(backend, all, |recogniser| recogniser.name))
    }

    /// The names of those that a mismatch consists of; none if a part of it is unknown.
    pub(super) fn find(
        &self,
        case: &Case,
        expectation: &Expectation,
        mismatch: &Mismatch,
    ) -> Option<Vec<&'static str>> {
        let seen = Seen { case, expectation };
        let exit = mismatch.exit.as_ref().map(|_| Part::Exit);
        let fields = mismatch.fields.iter().copied().map(Part::Field);
        let bytes = mismatch.bytes.iter().copied().map(Part::Byte);
        let mut names = Vec::new();
        for part in exit.into_iter().chain(fields).chain(bytes) {
            let (deviation, _) = self.0.iter().find(|(_, known)| (known.matches)(&seen, &part))?;
            if !names.contains(&deviation.name) {
                names.push(deviation.name);
            }
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::DEVIATIONS;

    #[test]
    fn each_recogniser_belongs_to_a_deviation_with_a_case() {
        for recogniser in qemu::RECOGNISERS.into_iter().flatten() {
            let deviation = Deviation::named(recogniser.name);
            assert!(deviation.is_some_and(|known| known.case.is_some()), "{}", recogniser.name);
        }
        for deviation in DEVIATIONS.iter().filter(|deviation| deviation.case.is_some()) {
            let mut all = qemu::RECOGNISERS.into_iter().flatten();
            assert!(all.any(|known| known.name == deviation.name), "{}", deviation.name);
        }
    }
}
