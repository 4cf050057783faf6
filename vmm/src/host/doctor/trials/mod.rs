//! The trials, by subject.

mod breakpoint;
mod fault;
mod flags;
mod injection;
mod interrupt;
mod paging;
mod patch;
mod returning;
mod step;
mod task;

use super::trial::Trial;

pub(super) use breakpoint::{AT_A_HANDLER, FOUR_BREAKPOINTS};
pub(super) use fault::HALT_IN_RING_3;
pub(super) use flags::ALIGNMENT_FLAG;

/// All trials, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = &'static Trial> {
    [
        interrupt::TRIALS,
        returning::TRIALS,
        fault::TRIALS,
        paging::TRIALS,
        injection::TRIALS,
        patch::TRIALS,
        step::TRIALS,
        breakpoint::TRIALS,
        task::TRIALS,
        flags::TRIALS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_trial_has_a_name_of_its_own() {
        let mut names: Vec<_> = super::all().map(|trial| trial.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
