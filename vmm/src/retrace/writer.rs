//! Who wrote a word of memory.
//!
//! A finding about a word that changed is made long after the word was written. A run on the deterministic
//! clock can be repeated to the byte, so the writer is found by running the same guest again: once to see
//! between which two events the word changed last, and from the checkpoint before that on by single
//! instructions. Nothing is kept, and nothing costs, until somebody asks.
//!
//! ```text
//!  event  0 ──── 64 ──── 128 ─── … ─ i ─── i+1 ── … ─── the finding
//!         ▲       ▲       ▲          └ the word changes here: step
//!         checkpoints     └ go back, run to i
//! ```

use super::doer::{Doer, entered_on, loads_stack};
use crate::entry::Frame;
use crate::machine::MachineError;
use crate::run::{Checkpoint, Event, Follow, Run};
use ia32::State;

/// Events between two checkpoints.
const SPACING: usize = 64;
/// Checkpoints that are kept at most; then each second one is dropped, and the spacing doubles.
const KEPT: usize = 128;

/// Which word, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Physical address of the word, of four bytes.
    pub address: u64,
    /// The value that it was found with; of several writes the last one that left this is looked for.
    pub value: u32,
    /// The bits of it that count, all of them as a rule.
    pub bits: u32,
    /// The number of the entry at which, or after which, it was found.
    pub at_entry: u64,
}

/// Who wrote it.
#[derive(Clone, Debug)]
pub enum Writer {
    /// An instruction.
    Instruction {
        /// The state in front of it.
        before: Box<State>,
        /// Its bytes, and some that follow.
        code: Vec<u8>,
        /// The number of the last entry before it.
        after_entry: u64,
        /// What the word was.
        old: u32,
        /// Where the stack ends that it ran on, if that is known: the last entry was on it, and came from ring 3.
        stack_end: Option<u32>,
        /// What it became.
        new: u32,
    },
    /// The processor, by pushing the frame of an entry.
    Push {
        /// The entry's number.
        entry: u64,
        /// What the word was.
        old: u32,
        /// What it became.
        new: u32,
    },
    /// Something between two stops: an instruction that leaves the VM, or a device.
    Unseen {
        /// The number of the last entry before it.
        after_entry: u64,
        /// What the word was.
        old: u32,
        /// What it became.
        new: u32,
    },
}

impl Question {
    /// The word went from `last` to `now`, and that is the change that is asked for.
    fn is_change(&self, last: u32, now: u32) -> bool {
        (last ^ now) & self.bits != 0 && (now ^ self.value) & self.bits == 0
    }
}

/// Finds out who wrote the word, in `run`: the same guest on a clock that counts, in front of its first
/// instruction. None if the word did not change before the entry that the question names, or the guest
/// ended before.
///
/// # Errors
/// [`MachineError`] if KVM refuses something.
pub fn who_wrote(run: &mut Run, question: Question) -> Result<Option<Writer>, MachineError> {
    let Some((change, checkpoint)) = last_change(run, question)? else { return Ok(None) };
    run.restore(&checkpoint.state)?;
    // A guest that comes to no end has used up the time there was.
    run.renew_timeout();
    let (mut event, mut entries) = (checkpoint.event, checkpoint.entries);
    let mut is_at_entry = false;
    while event < change {
        is_at_entry = matches!(run.next_event()?, Event::Entry(_));
        entries += u64::from(is_at_entry);
        event += 1;
    }
    let old = word(run, question.address);
    if !run.follow(Follow::Everything) {
        let new = question.value;
        return Ok(Some(Writer::Unseen { after_entry: entries, old, new }));
    }
    let mut last = old;
    let mut stack_end = if is_at_entry { entered_on(run) } else { None };
    loop {
        let told = run.next_event()?;
        match &told {
            Event::Entry(_) => stack_end = entered_on(run),
            Event::Step(step) => {
                let by = Doer { before: Box::new(step.before), code: step.code().to_vec() };
                stack_end = stack_end.filter(|_| !loads_stack(&by, &run.state()));
            }
            _ => {}
        }
        let now = word(run, question.address);
        if question.is_change(last, now) {
            let (old, new) = (last, now);
            return Ok(Some(match told {
                Event::Step(step) => Writer::Instruction {
                    before: Box::new(step.before),
                    code: step.code().to_vec(),
                    after_entry: entries,
                    old,
                    stack_end,
                    new,
                },
                Event::Entry(entry) if holds(&entry.frame, question.address) => {
                    Writer::Push { entry: entry.sequence, old, new }
                }
                _ => Writer::Unseen { after_entry: entries, old, new },
            }));
        }
        last = now;
        match told {
            Event::Entry(_) => entries += 1,
            Event::End(_) => return Ok(None),
            _ => {}
        }
    }
}

/// A checkpoint, and how many events and entries came before it.
struct Kept {
    event: usize,
    entries: u64,
    state: Checkpoint,
}

/// The number of the event before the last change of the word to the value asked for, and the checkpoint
/// before that.
fn last_change(run: &mut Run, question: Question) -> Result<Option<(usize, Kept)>, MachineError> {
    let mut kept: Vec<Kept> = Vec::new();
    let (mut event, mut entries, mut spacing) = (0, 0, SPACING);
    let mut last = word(run, question.address);
    let mut change = None;
    loop {
        if event % spacing == 0 {
            if kept.len() == KEPT {
                let mut even = false;
                kept.retain(|_| {
                    even = !even;
                    even
                });
                spacing *= 2;
            }
            kept.push(Kept { event, entries, state: run.checkpoint()? });
        }
        let told = run.next_event()?;
        let now = word(run, question.address);
        if question.is_change(last, now) {
            change = Some(event);
        }
        last = now;
        event += 1;
        match told {
            Event::Entry(entry) => {
                entries = entry.sequence;
                if entries > question.at_entry {
                    break;
                }
            }
            Event::End(_) => break,
            _ => {}
        }
    }
    let Some(change) = change else { return Ok(None) };
    let checkpoint = kept.into_iter().rfind(|kept| kept.event <= change);
    Ok(checkpoint.map(|checkpoint| (change, checkpoint)))
}

/// The word at a physical address is one that was pushed.
fn holds(frame: &Frame, address: u64) -> bool {
    let length = u64::from(frame.end() - frame.address);
    frame.physical.is_some_and(|start| (start..start + length).contains(&address))
}

/// 0 where there is no RAM.
fn word(run: &Run, address: u64) -> u32 {
    run.machine().memory().read_u32(address).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bits_that_count_make_a_change() {
        let all = Question { address: 0, value: 0x8e00, bits: !0, at_entry: 0 };
        assert!(all.is_change(0, 0x8e00) && !all.is_change(0, 0x10_8e00));
        assert!(!all.is_change(0x8e00, 0x8e00), "it was so before");
        // The handler's address is stored behind the type.
        let kind = Question { bits: 0xff00, ..all };
        assert!(kind.is_change(0, 0x8e00) && kind.is_change(0x10_0000, 0x10_8e00));
        assert!(!kind.is_change(0x8e00, 0x10_8e00), "the type stays");
    }
}
