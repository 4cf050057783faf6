//! Frames that a neighbour's stack has grown over.

use super::frames::LiveFrame;
use super::stacks::TaskId;
use crate::check::glance::Damage;
use std::collections::VecDeque;

/// How many are remembered.
const MOST: usize = 64;

/// A frame that a neighbour's stack has grown over, by all that can be seen. Whether its task is still to
/// go on from it, only the kernel knows, until it does.
#[derive(Clone, Debug)]
pub(in crate::check) struct Suspect {
    pub(in crate::check) victim: LiveFrame,
    pub(in crate::check) damage: Damage,
    /// The task that was in the kernel, and where its stack ends.
    pub(in crate::check) task: Option<TaskId>,
    pub(in crate::check) top: u32,
}

/// The latest, one for each frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects(VecDeque<Suspect>);

impl Suspects {
    /// One more.
    pub(super) fn add(&mut self, suspect: Suspect) {
        self.forget(suspect.victim.sequence);
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(suspect);
    }

    /// The frame of this entry is of no interest any more.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.0.retain(|known| known.victim.sequence != sequence);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Suspect> {
        self.0.iter()
    }
}
