//! Makes a case that shows a mismatch as small as it can be.

use super::case::Case;
use super::lab::{CaseOutcome, Lab};
use super::mismatch::CaseMismatch;
use crate::machine::MachineError;

/// How many attempts are worth it.
const ATTEMPTS: u32 = 2000;

/// A smaller case with a mismatch of the same kind, which is no known deviation either.
pub(super) fn shrink(
    lab: &mut Lab,
    case: &Case,
    mismatch: &CaseMismatch,
) -> Result<(Case, CaseMismatch), MachineError> {
    let kind = mismatch.kind();
    let mut last = mismatch.clone();
    let case = smallest(case, |candidate| {
        let CaseOutcome::Differs(found) = lab.judge(candidate)? else { return Ok(false) };
        let same = found.kind() == kind && lab.known_deviations(candidate, &found).is_none();
        if same {
            last = *found;
        }
        Ok(same)
    })?;
    Ok((case, last))
}

/// A smaller case that shows this deviation and no other.
pub(super) fn shrink_deviation(
    lab: &mut Lab,
    case: &Case,
    name: &str,
) -> Result<Case, MachineError> {
    smallest(case, |candidate| {
        let CaseOutcome::Differs(found) = lab.judge(candidate)? else { return Ok(false) };
        Ok(lab.known_deviations(candidate, &found).is_some_and(|known| known == [name]))
    })
}

/// A smaller case that takes the same branches of the model.
pub(super) fn shrink_path(lab: &mut Lab, case: &Case) -> Result<Case, MachineError> {
    let Some(path) = lab.path(case) else { return Ok(case.clone()) };
    smallest(case, |candidate| Ok(lab.path(candidate) == Some(path)))
}

/// The case that is left when no step makes it smaller and keeps it `good`.
fn smallest(
    case: &Case,
    mut good: impl FnMut(&Case) -> Result<bool, MachineError>,
) -> Result<Case, MachineError> {
    let mut best = case.clone();
    let mut attempts = 0;
    loop {
        let mut smaller = None;
        for candidate in candidates(&best) {
            attempts += 1;
            if attempts > ATTEMPTS {
                return Ok(best);
            }
            if good(&candidate)? {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(found) => best = found,
            None => return Ok(best),
        }
    }
}

/// The cases that are simpler by one step, the boldest steps first.
pub(super) fn candidates(case: &Case) -> Vec<Case> {
    let mut list = Vec::new();
    let words = case.words.len();
    if words > 3 {
        for range in [0..words / 2, words / 2..words] {
            let mut without = case.clone();
            without.words.drain(range);
            list.push(without);
        }
    }
    for n in 0..case.words.len() {
        let mut without = case.clone();
        without.words.remove(n);
        list.push(without);
    }
    for n in 0..case.fields.len() {
        let mut without = case.clone();
        without.fields.remove(n);
        list.push(without);
    }
    // Fewer bits in what is left.
    for n in 0..case.fields.len() {
        let value = case.fields[n].1;
        for bit in (0..32).filter(|bit| value & (1 << bit) != 0) {
            let mut simpler = case.clone();
            simpler.fields[n].1 = value & !(1 << bit);
            list.push(simpler);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_candidate_is_smaller() {
        let case: Case = "ring3 int:80 eflags=3 [0]=1 [4]=2 [8]=3 [c]=4".parse().unwrap();
        let size = |case: &Case| {
            let bits: u32 = case.fields.iter().map(|(_, value)| value.count_ones()).sum();
            case.fields.len() + case.words.len() + bits as usize
        };
        let list = candidates(&case);
        assert!(list.len() > 6);
        assert!(list.iter().all(|candidate| size(candidate) < size(&case)));
    }
}
