//! Whether the words of a frame that is overwritten live on elsewhere: the kernel has copied them.

use crate::check::history::{History, LiveFrame, StackUse};
use crate::machine::LinearMemory;
use ia32::Word;

/// How near to each other a record keeps EIP and ESP.
const RECORD: usize = 256;

/// EIP and ESP of `victim` stand near each other somewhere else in memory, and on no kernel stack: there they may be
/// another task's. A child that replaces its program by the system call with which its parent waits has the parent's words.
pub(super) fn keeps_words(
    linear: &LinearMemory<'_>,
    victim: &LiveFrame,
    history: &History,
) -> bool {
    let memory = linear.memory;
    const BLOCK: usize = 0x1_0000;
    let (Some(eip), Some(esp)) = (victim.frame.get(Word::Eip), victim.frame.get(Word::Esp)) else {
        return false;
    };
    let Some(own) = victim.frame.physical else { return false };
    let own = own.saturating_sub(16)..own + 64;
    let mut block = vec![0; BLOCK + 2 * RECORD];
    let mut start = 0;
    while start < memory.size() {
        let length = (memory.size() - start).min(block.len() as u64) as usize;
        if memory.read(start, &mut block[..length]).is_none() {
            return false;
        }
        let words = block[..length].as_chunks::<4>().0;
        for (index, _) in words.iter().enumerate().filter(|(_, w)| **w == esp.to_le_bytes()) {
            let at = start + index as u64 * 4;
            let near =
                &words[index.saturating_sub(RECORD / 4)..(index + RECORD / 4).min(words.len())];
            let is_there = !own.contains(&at) && near.contains(&eip.to_le_bytes());
            if is_there && !is_on_a_stack(linear, at, history) {
                return true;
            }
        }
        start += BLOCK as u64;
    }
    false
}

/// A live frame lies there, or a kernel stack that was used so far down.
fn is_on_a_stack(linear: &LinearMemory<'_>, physical: u64, history: &History) -> bool {
    let holds = |stack: &StackUse| {
        let mut at = stack.lowest;
        while at < stack.top {
            let end = (at | 0xfff).saturating_add(1).min(stack.top);
            if let Some(start) = linear.paging.translate(linear.memory, at)
                && (start..start + u64::from(end - at)).contains(&physical)
            {
                return true;
            }
            at = end;
        }
        false
    };
    history.live_within(physical, physical + 4).is_some()
        || history.stacks().iter().filter(|stack| stack.entries > 0).any(holds)
}
