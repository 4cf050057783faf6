//! A trial and what came of it.

use super::lab::Lab;
use super::wrong::Wrong;
use crate::host::Backend;
use crate::host::DEVIATIONS;

/// What a failure of a trial means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// esp0 cannot do its work without it.
    Needed,
    /// esp0 does without it.
    Useful,
    /// The processor differs from the manual. The entry of [`DEVIATIONS`] that says so has this
    /// name, if there is to be one.
    Exact(Option<&'static str>),
    /// No KVM is expected to do it right, for this reason. esp0 never relies on it.
    Hopeless(&'static str),
}

/// Runs a small guest and looks at what it did.
pub(super) type TrialCode = fn(&mut Lab<'_>) -> Result<(), Wrong>;

/// A small guest, and what is to be seen of it.
#[derive(Debug)]
pub struct Trial {
    /// Short, for the first column of the table.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// What a failure means.
    pub need: Need,
    /// Runs it. What a trial of a deviation measures is marked so ([`Wrong::measured`]).
    pub(super) run: TrialCode,
}

/// What the table of known deviations says, held against what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The table names this deviation for this processor model and version.
    Known,
    /// The table does not.
    Unknown,
    /// It is so on every KVM, for this reason.
    Everywhere(&'static str),
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    /// As expected.
    Works,
    /// As the manual says, although the table of known deviations names a deviation here.
    Outdated(&'static str),
    /// Not as expected, or not to be measured at all.
    Fails(Wrong),
    /// Not as the manual says.
    Deviates(Wrong, Listing),
}

/// A trial that was run.
#[derive(Clone, Debug)]
pub struct TrialResult {
    /// Which.
    pub trial: &'static Trial,
    /// What came of it.
    pub outcome: TrialOutcome,
}

impl TrialResult {
    /// Judges what a trial came to on `backend`.
    pub(super) fn new(
        trial: &'static Trial,
        result: Result<(), Wrong>,
        backend: &Backend,
    ) -> TrialResult {
        let listed = match trial.need {
            Need::Exact(Some(name)) => DEVIATIONS
                .iter()
                .find(|deviation| deviation.name == name && deviation.applies_to(backend)),
            _ => None,
        };
        let outcome = match (result, trial.need) {
            (Ok(()), _) => {
                listed.map_or(TrialOutcome::Works, |listed| TrialOutcome::Outdated(listed.name))
            }
            (Err(wrong), Need::Needed | Need::Useful) => TrialOutcome::Fails(wrong),
            (Err(wrong), _) if !wrong.is_measured() => TrialOutcome::Fails(wrong),
            (Err(wrong), Need::Hopeless(why)) => {
                TrialOutcome::Deviates(wrong, Listing::Everywhere(why))
            }
            (Err(wrong), Need::Exact(_)) => {
                let listing = if listed.is_some() { Listing::Known } else { Listing::Unknown };
                TrialOutcome::Deviates(wrong, listing)
            }
        };
        TrialResult { trial, outcome }
    }

    /// As expected.
    pub fn works(&self) -> bool {
        matches!(self.outcome, TrialOutcome::Works | TrialOutcome::Outdated(_))
    }

    /// The measurement and the table of known deviations contradict each other.
    pub fn contradicts_table(&self) -> bool {
        matches!(
            self.outcome,
            TrialOutcome::Outdated(_) | TrialOutcome::Deviates(_, Listing::Unknown)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Authority, Version};

    fn backend(major: u32) -> Backend {
        Backend {
            authority: Authority::Tcg,
            doubts: Vec::new(),
            module: "kvm_amd".into(),
            version: Some(Version { major, minor: 2 }),
            processor: "a model".into(),
            hypervisor: None,
            kernel: "6.12".into(),
        }
    }

    static FAULT_FLAGS: Trial = Trial {
        name: "flags",
        shows: "RF",
        need: Need::Exact(Some("fault-pushes-rf-0")),
        run: |_| Ok(()),
    };

    #[test]
    fn a_measured_deviation_is_known_where_the_table_names_it() {
        let wrong = || Wrong::new("1", "0").measured();
        let result = |major| TrialResult::new(&FAULT_FLAGS, Err(wrong()), &backend(major)).outcome;
        assert_eq!(result(7), TrialOutcome::Deviates(wrong(), Listing::Known));
        assert_eq!(result(10), TrialOutcome::Deviates(wrong(), Listing::Unknown));
    }

    #[test]
    fn what_could_not_be_measured_is_no_deviation() {
        let wrong = Wrong::new("an entry", "a triple fault");
        let result = TrialResult::new(&FAULT_FLAGS, Err(wrong.clone()), &backend(7));
        assert_eq!(result.outcome, TrialOutcome::Fails(wrong));
        assert!(!result.works() && !result.contradicts_table());
    }

    #[test]
    fn a_deviation_that_the_table_names_and_nobody_sees_is_a_contradiction() {
        let result = TrialResult::new(&FAULT_FLAGS, Ok(()), &backend(7));
        assert_eq!(result.outcome, TrialOutcome::Outdated("fault-pushes-rf-0"));
        assert!(result.works() && result.contradicts_table());
        assert!(!TrialResult::new(&FAULT_FLAGS, Ok(()), &backend(10)).contradicts_table());
    }

    #[test]
    fn every_deviation_of_the_table_has_a_trial_or_a_case() {
        for deviation in DEVIATIONS.iter().filter(|deviation| deviation.case.is_none()) {
            let measured = super::super::trials::all()
                .any(|trial| trial.need == Need::Exact(Some(deviation.name)));
            assert!(measured, "{} is not measured", deviation.name);
        }
    }
}
