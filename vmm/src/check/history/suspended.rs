//! Tasks that a switch by hardware has suspended in the kernel.
//!
//! A far jump to a TSS leaves a task in ring 0, deep on its kernel stack, and stores where. Whether it has ended meanwhile
//! nobody says; but where a later switch goes on at that very place, with that very stack pointer, it has not: a new task
//! in the same TSS begins elsewhere. Then what lies above the stack pointer is its own, and its frame has to be there.

use super::frames::LiveFrame;
use crate::entry::{TaskSwitch, TssWords};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspended {
    /// EIP, ESP, CS and SS as the switch stored them.
    place: [u32; 4],
    /// The frame that it has to resume from.
    victim: LiveFrame,
    /// The entry that another task has pushed over that.
    by: Option<u64>,
}

impl Suspended {
    /// By this switch, with this frame.
    pub(super) fn by(switch: &TaskSwitch, victim: LiveFrame) -> Self {
        Suspended { place: place(&switch.stored), victim, by: None }
    }

    /// An entry of another task has been pushed over `frame`.
    pub(super) fn is_entered_upon(&mut self, frame: &LiveFrame, sequence: u64) {
        if frame.sequence == self.victim.sequence {
            self.by.get_or_insert(sequence);
        }
    }

    /// It goes on, and its frame has other words: the frame, and the entry that was pushed over it.
    pub(super) fn found_damaged_by(&self, switch: &TaskSwitch) -> Option<(&LiveFrame, u64)> {
        let by = self.by?;
        let (was, is) = (&self.victim.frame, &switch.kernel_stack);
        let same_place = is.end() == was.end()
            && is.shape.word_size == was.shape.word_size
            && !was.shape.from_virtual_8086
            && is.physical == was.physical.map(|at| at + u64::from(self.victim.skip()));
        let goes_on = switch.ring() == 0 && place(&switch.new) == self.place;
        (goes_on && same_place && is.complete() && !is.pops_as(was)).then_some((&self.victim, by))
    }
}

fn place(tss: &TssWords) -> [u32; 4] {
    let word = |index: usize| tss.0[index];
    let selector = |index| u32::from(tss.selector(index).0);
    [word(TssWords::EIP), word(TssWords::ESP), selector(TssWords::CS), selector(TssWords::SS)]
}
