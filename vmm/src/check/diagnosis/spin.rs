//! A handler that waits with interrupts closed for what only the code can do that it has interrupted.
//!
//! ```text
//!  kernel   acquire(lock) ─ … ── interrupt ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ release(lock): never
//!  handler                          └─► acquire(lock): goes round, IF = 0
//! ```
//! There is one processor, and no interrupt can come: nothing runs but the loop. That it never ends is not guessed from
//! its shape; it is gone through until registers, flags and memory are what they were.

use super::{Aftermath, Diagnosis, Placed, fault_text};
use crate::check::{Finding, History, Subject};
use crate::entry::Kind;
use crate::instruction::interpret::{Cycle, cycle};
use crate::run::Ending;
use ia32::{Eflags, Word};
use iced_x86::{Instruction, Mnemonic, OpKind};

pub(super) const RULE: &str = "spin";

/// How deep a handler goes on the stack of its frame. On another stack it runs for somebody else.
const DEEP: u32 = 4096;

/// A run does not end in the handler of an interrupt that goes round, with interrupts closed, on a lock that nobody else
/// can give back.
///
/// A lock is what is read by an exchange or with LOCK. Of other memory nothing is said: a kernel may have chosen to stand
/// still there.
pub(super) fn waits_for_the_interrupted(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let state = &aftermath.end.state;
    let (last, kind, vector) = diagnosis.last_entry.filter(|_| !diagnosis.returned)?;
    let closed = state.cpl() == 0 && !state.eflags.contains(Eflags::IF);
    let unfinished = matches!(aftermath.end.ending, Ending::TimedOut | Ending::Stopped);
    if !unfinished || !closed || kind != Kind::External || !diagnosis.is_settled() {
        return None;
    }
    let live = history.live().next_back().filter(|live| live.sequence == last)?;
    if live.frame.address.wrapping_sub(state.stack_address()) > DEEP {
        return None;
    }
    let linear = aftermath.linear(state);
    let cycle = cycle(state, &linear, &|at| aftermath.code(state, at))?;
    let (word, by) = waits_for(&cycle)?;
    let value = linear.read_u32(word)?;
    let at = state.instruction_address();
    let eip = live.frame.get(Word::Eip)?;
    let others = match live.from_outer_ring() {
        false => format!(
            "the code at {}, which #{last} has interrupted",
            aftermath.place(state.cs().base.wrapping_add(eip))
        ),
        true => "another task".into(),
    };
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!(
            "the handler of interrupt {:#04x} waits for ever, with IF=0, for {} to be changed",
            vector.0,
            aftermath.place(word)
        ),
        "a handler that waits for nothing",
        format!(
            "`{}` at {}, again and again: the word is {value:08x}",
            fault_text::text(&by),
            aftermath.place(state.cs().base.wrapping_add(by.ip32()))
        ),
    )
    .because(format!(
        "nothing else runs before the handler has returned, such as {others}: interrupts are closed, and the {} instructions \
         of the loop leave all as it was; whoever holds that lock cannot give it back",
        cycle.length
    ))
    .about_instruction(at)
    .advise(
        "close interrupts before a lock is taken that a handler takes as well, and open them again behind its release \
         (`pushf`, `cli`, … `popf`)",
    );
    Some((format!("the end, in ring 0, at {}", aftermath.place(at)), finding))
}

/// The one lock that the loop takes.
fn waits_for(cycle: &Cycle) -> Option<(u32, Instruction)> {
    let mut locks = cycle.reads.iter().filter(|(_, by)| interlocked(by));
    let (word, by) = locks.next()?;
    locks.all(|(other, _)| other == word).then_some((*word, *by))
}

/// An exchange with memory, which locks the bus by itself, or an instruction with LOCK.
fn interlocked(one: &Instruction) -> bool {
    let exchanges =
        one.mnemonic() == Mnemonic::Xchg && one.op_kinds().any(|kind| kind == OpKind::Memory);
    exchanges || one.has_lock_prefix()
}
