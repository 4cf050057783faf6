//! The trials, by subject.

mod accessed;
mod breakpoint;
mod cold;
mod fault;
mod flags;
mod injection;
mod interrupt;
mod paging;
mod patch;
mod returning;
mod step;
mod task;

use super::lab::Lab;
use super::layout::{END, KERNEL_CODE, PAGE_DIRECTORY, PORT};
use super::start;
use super::stop::Stop;
use super::trial::Trial;
use super::wrong::Wrong;
use iced_x86::code_asm::{al, byte_ptr};

pub(super) use breakpoint::{AT_A_HANDLER, FOUR_BREAKPOINTS};
pub(super) use fault::HALT_IN_RING_3;
pub(super) use flags::ALIGNMENT_FLAG;

/// All trials, in the order of the table.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Trial> {
    warm().chain(cold())
}

/// The trials for a machine whose pages are all mapped by KVM.
pub(super) fn warm() -> impl Iterator<Item = &'static Trial> {
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
        accessed::TRIALS,
    ]
    .into_iter()
    .flatten()
}

/// The trials for a machine none of whose pages has been used by a guest.
pub(super) fn cold() -> impl Iterator<Item = &'static Trial> {
    cold::TRIALS.iter()
}

/// Uses each page, so that KVM has nothing left to map while an event is delivered.
pub(super) fn warm_up(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let out = lab.code(KERNEL_CODE, |a| {
        for page in (PAGE_DIRECTORY..END).step_by(0x1000) {
            a.or(byte_ptr(page), 0)?;
        }
        Ok(())
    })?;
    lab.code(out, |a| a.out(u32::from(PORT), al))?;
    lab.start(&start::kernel())?;
    lab.run_to(Stop::Marker(out)).map(drop)
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
