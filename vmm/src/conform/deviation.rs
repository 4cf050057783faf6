//! Which of the known deviations a mismatch consists of: see [`crate::host::DEVIATIONS`].

use super::case::Case;
use super::mismatch::CaseMismatch;
use super::qemu;
use super::recogniser::{Part, Recogniser, Seen};
use super::world::Expectation;
use crate::host::{Backend, Deviation};

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
        mismatch: &CaseMismatch,
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
