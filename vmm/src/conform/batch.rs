//! What the cases of a batch did to memory that was not their own, and so how closely the next one is
//! looked at: see [`super::lab`].

use super::compare::{Compare, Compared, has_plain_places};
use super::world::{Expectation, World};
use crate::machine::Memory;
use ia32::Branch;

/// What is kept from one case to the next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The last case has differed from the model in memory that was not its own.
    pub(super) elsewhere: bool,
    /// The last case has changed more of memory than is remembered.
    pub(super) flooded: bool,
    /// Since the batch began, a case has differed in memory not its own, and it is not known which.
    pub(super) strayed: bool,
    /// Checks at which cases stop in the model, and have gone elsewhere in KVM. They outlast the batch.
    suspects: Vec<Branch>,
}

impl Batch {
    /// Memory is as it was before all cases.
    pub(super) fn forget(&mut self) {
        (self.flooded, self.elsewhere, self.strayed) = (false, false, false);
    }

    /// Takes in what a case has shown.
    pub(super) fn note(&mut self, compared: &Compared) {
        self.elsewhere |= compared.elsewhere;
        self.flooded |= compared.flooded;
    }

    /// Sees to it that what the case may write is as it was before all cases. Where others at the same
    /// check went elsewhere, that is all of memory, and all is to be compared afterwards.
    pub(super) fn check_plain(
        &mut self,
        memory: &Memory,
        world: &World,
        compare: Compare,
    ) -> Compare {
        let check = world.expectation().first_check();
        if compare == Compare::Touched && check.is_some_and(|check| self.suspects.contains(&check))
        {
            self.strayed |= !memory.equals(0, world.plain());
            return Compare::All;
        }
        self.strayed |= !has_plain_places(memory, world);
        compare
    }

    /// Remembers what cases that go elsewhere have in common.
    pub(super) fn note_suspect(&mut self, expectation: &Expectation) {
        let check = expectation.first_check();
        if std::mem::take(&mut self.elsewhere)
            && let Some(check) = check
            && !self.suspects.contains(&check)
        {
            self.suspects.push(check);
        }
    }
}
