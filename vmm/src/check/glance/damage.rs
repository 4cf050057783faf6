//! A frame that the stack above it has grown over.

use crate::check::history::History;
use crate::check::history::frames::{ABOVE, Below, LiveFrame, Slot};
use crate::entry::Frame;
use crate::machine::LinearMemory;
use ia32::Word;

/// A frame that was overwritten while another task was in the kernel, along with the low end of that
/// task's stack, which lies right above.
#[derive(Clone, Debug)]
pub(in crate::check) struct Damage {
    /// Where it stands among the live frames.
    pub(in crate::check) slot: Slot,
    /// The entry that pushed it.
    pub(in crate::check) sequence: u64,
    /// The words that have changed, lowest first: what they were and are.
    pub(in crate::check) words: Vec<(Word, u32, u32)>,
    /// How far below its end the stack above has written, at least.
    pub(in crate::check) beyond: u32,
    /// Where the stack ends that has grown over it.
    pub(in crate::check) top: u32,
}

impl Below {
    /// At an entry on the stack that ends at `end`. A frame that is not whole by then has been overwritten by
    /// somebody else: its task is dead, and its memory anybody's.
    pub(super) fn read(linear: &LinearMemory<'_>, history: &History, end: u32) -> Option<Below> {
        let (slot, victim) = history.neighbour(end)?;
        is_whole(linear, victim).filter(|whole| *whole)?;
        let low_end = above(linear, victim.frame.end())?;
        Some(Below { slot, sequence: victim.sequence, low_end })
    }
}

/// Whether the frame lies where it was pushed, and as it was; `None` if something else lies there now.
fn is_whole(linear: &LinearMemory<'_>, victim: &LiveFrame) -> Option<bool> {
    let now = Frame::read(linear, victim.frame.address, victim.frame.shape);
    (now.physical == victim.frame.physical).then(|| now.pops_as(&victim.frame))
}

/// The low end of the stack that begins at `end`, if it is mapped.
fn above(linear: &LinearMemory<'_>, end: u32) -> Option<[u8; ABOVE]> {
    let mut bytes = [0; ABOVE];
    linear.read(end, &mut bytes).map(|_| bytes)
}

impl Damage {
    /// The stack that runs has written below its end: the frame right below it has changed, and most of its
    /// own low end as well. A kernel that has changed another task's frame on purpose, or has given the
    /// memory of a dead one to somebody, leaves the latter alone, save for a few words where it keeps the
    /// task's record there.
    ///
    /// The victim is the top frame of the stack right below the one on which `running` was pushed; no stack is larger
    /// than the least distance between two. Both are held against what they were when the stack was entered: a stack
    /// that begins anew is somebody else's, and what was at its end before means nothing.
    pub(super) fn read(
        linear: &LinearMemory<'_>,
        history: &History,
        running: &LiveFrame,
        stack_pointer: u32,
    ) -> Option<Damage> {
        let Below { slot, sequence, low_end: before } = running.below?;
        let running = running.frame.end();
        let (_, victim) = history.neighbour(running).filter(|(_, one)| one.sequence == sequence)?;
        let top = victim.frame.end();
        // A kernel that has switched to that stack may change its frame.
        if stack_pointer <= top || stack_pointer > running || running - top != history.largest() {
            return None;
        }
        let now = Frame::read(linear, victim.frame.address, victim.frame.shape);
        if now.physical != victim.frame.physical || now.pops_as(&victim.frame) {
            return None;
        }
        let low_end = above(linear, top)?;
        let changed = before.as_chunks::<4>().0.iter().zip(low_end.as_chunks::<4>().0);
        let cleared = now.values().iter().all(|word| *word == 0);
        if cleared || changed.filter(|(was, is)| was != is).count() * 8 < ABOVE {
            return None;
        }
        let mut words = Vec::new();
        for (word, was) in victim.frame.words() {
            let (Some(was), Some(is)) = (was, now.get(word)) else { continue };
            if was != is {
                words.push((word, was, is));
            }
        }
        let lowest = victim.frame.address_of(words.first()?.0)?;
        let beyond = top.wrapping_sub(lowest);
        Some(Damage { slot, sequence, words, beyond, top: running })
    }
}
