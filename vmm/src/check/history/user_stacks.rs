//! Where the stack begins that a program is begun with, and whether another task's program has the same.

use super::History;
use crate::check::glance::{BegunProgram, InterruptedStack, SharedUserStack};

/// So many programs are remembered, the latest.
const MOST: usize = 256;

/// A program that was begun with a frame made by hand.
#[derive(Clone, Debug)]
pub(in crate::check) struct UserStack {
    /// What the frame said.
    pub(in crate::check) begun: BegunProgram,
    /// The last entry from an outer ring on its kernel stack.
    last_entry: u64,
    /// What an external interrupt has left on it, if that came last.
    pub(in crate::check) interrupted: Option<InterruptedStack>,
}

/// The programs' stacks.
#[derive(Clone, Debug, Default)]
pub(super) struct UserStacks {
    /// Oldest first.
    all: Vec<UserStack>,
    /// Two of them begin at one place: otherwise nothing is looked at.
    shared: bool,
}

impl UserStacks {
    /// A program is begun; who had its kernel stack before is gone.
    pub(super) fn begin(&mut self, begun: BegunProgram) {
        self.all.retain(|stack| stack.begun.top != begun.top);
        if self.all.len() == MOST {
            self.all.remove(0);
        }
        self.all.push(UserStack { begun, last_entry: 0, interrupted: None });
        self.look();
    }

    /// The frame that began it was refused.
    pub(super) fn not_begun(&mut self, top: u32) {
        self.all.retain(|stack| stack.begun.top != top);
        self.look();
    }

    fn look(&mut self) {
        let mut places: Vec<u64> = self.all.iter().map(|stack| stack.begun.last_byte).collect();
        places.sort_unstable();
        self.shared = places.windows(2).any(|pair| pair[0] == pair[1]);
    }

    fn twin(&self, of: &UserStack) -> Option<&UserStack> {
        let is_twin = |other: &&UserStack| {
            other.begun.last_byte == of.begun.last_byte && other.begun.top != of.begun.top
        };
        self.all.iter().filter(is_twin).max_by_key(|other| other.last_entry)
    }
}

impl History {
    /// The program whose kernel stack ends at `top`, if another one begins on the same stack.
    #[inline]
    pub(in crate::check) fn shared_user_stack(&self, top: u32) -> Option<(&UserStack, &UserStack)> {
        if !self.user_stacks.shared {
            return None;
        }
        let own = self.user_stacks.all.iter().find(|stack| stack.begun.top == top)?;
        Some((own, self.user_stacks.twin(own)?))
    }

    /// The same, where `own` was interrupted in entry `sequence`, and the other has run since: the last entry from it.
    pub(in crate::check) fn shared_since(
        &self,
        top: u32,
        sequence: u64,
    ) -> Option<(&InterruptedStack, &UserStack, &UserStack, u64)> {
        let (own, other) = self.shared_user_stack(top)?;
        let interrupted = own.interrupted.as_ref().filter(|one| one.sequence == sequence)?;
        (other.last_entry > sequence).then_some((interrupted, own, other, other.last_entry))
    }

    /// An entry from an outer ring on the kernel stack that ends at `top`.
    #[inline]
    pub(super) fn left_program(
        &mut self,
        top: u32,
        sequence: u64,
        interrupted: Option<InterruptedStack>,
        moved: bool,
    ) {
        if !self.user_stacks.shared {
            return;
        }
        if moved {
            return self.user_stacks.not_begun(top);
        }
        if let Some(stack) = self.user_stacks.all.iter_mut().find(|stack| stack.begun.top == top) {
            stack.last_entry = sequence;
            stack.interrupted = interrupted;
        }
    }

    /// It has been told of: neither is looked at any more.
    pub(super) fn told_of_user_stack(&mut self, shared: &SharedUserStack) {
        self.user_stacks.not_begun(shared.own.top);
        self.user_stacks.not_begun(shared.other.top);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::ChangedWord;

    fn begun(top: u32, last_byte: u64) -> BegunProgram {
        let word = ChangedWord { address: top - 8, physical: u64::from(top) - 8, value: 0x9000 };
        BegunProgram { top, last_byte, word, address_space: 0, page: None, after_entry: 1 }
    }

    fn interrupted(sequence: u64) -> InterruptedStack {
        InterruptedStack { sequence, address: 0x8f00, physical: 0x8f00, words: [7; 8] }
    }

    #[test]
    fn two_programs_share_a_stack_until_one_of_them_is_begun_anew_or_has_pages_of_its_own() {
        let mut history = History::default();
        history.user_stacks.begin(begun(0x2000, 0x8fff));
        history.user_stacks.begin(begun(0x3000, 0x9fff));
        assert!(history.shared_user_stack(0x2000).is_none());
        history.user_stacks.begin(begun(0x4000, 0x8fff));
        assert!(history.shared_user_stack(0x2000).is_some());
        assert!(history.shared_user_stack(0x3000).is_none());
        history.left_program(0x2000, 5, Some(interrupted(5)), false);
        assert!(history.shared_since(0x2000, 5).is_none(), "the other has not run");
        history.left_program(0x4000, 6, None, false);
        let (_, _, other, entered) = history.shared_since(0x2000, 5).expect("it has");
        assert_eq!((other.begun.top, entered), (0x4000, 6));
        assert!(history.shared_since(0x2000, 4).is_none(), "another entry");
        let mut moved = history.clone();
        moved.left_program(0x4000, 7, None, true);
        assert!(moved.shared_user_stack(0x2000).is_none());
        history.user_stacks.begin(begun(0x4000, 0xafff));
        assert!(history.shared_user_stack(0x2000).is_none());
    }
}
