//! A halt that comes too late: what it waits for has come between the look at it and HLT.
//!
//! ```text
//!  wait:  cmp [done], 0 ─ jne ─► out
//!         …                            ◄── interrupt: its handler sets done
//!         hlt                          and no other comes
//!         jmp wait
//! ```
//! The guest stands in HLT, and would go on if it looked once more. That an interrupt ended HLT is no way to have come here:
//! it would have looked then.

use super::waiting::waits;
use super::{Aftermath, Diagnosis, Placed, fault_text};
use crate::check::{CodePlace, Finding, History, Subject};
use crate::entry::Kind;
use crate::instruction::interpret::would_leave;
use crate::run::Ending;
use ia32::{Eflags, State, Word};

const HLT: u8 = 0xf4;

/// No kernel halts for what has happened already.
pub(super) fn halts_too_late(
    diagnosis: &Diagnosis,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    let state = &aftermath.end.state;
    let may_be = match aftermath.end.ending {
        Ending::Halted => true,
        Ending::TimedOut | Ending::Stopped => diagnosis.is_settled(),
        _ => false,
    };
    if !may_be || state.cpl() != 0 || !state.eflags.contains(Eflags::IF) {
        return None;
    }
    let (sequence, kind, vector) = diagnosis.last_entry?;
    let last = history.last_return().filter(|last| last.ring == 0)?;
    if kind != Kind::External || !diagnosis.returned || waits(aftermath).is_some() {
        return None;
    }
    // EIP is at HLT, or behind it.
    let at = state.instruction_address();
    let halt = [at, at.wrapping_sub(1)]
        .into_iter()
        .find(|at| aftermath.code(state, *at).first() == Some(&HLT))?;
    let base = state.cs().base;
    let interrupted = base.wrapping_add(last.frame.get(Word::Eip)?);
    // It has ended a HLT, this one or another of the same loop.
    if aftermath.code(state, interrupted.wrapping_sub(1)).first() == Some(&HLT) {
        return None;
    }
    let from = State { eip: halt.wrapping_add(1).wrapping_sub(base), ..*state };
    let linear = aftermath.linear(state);
    let end = halt.wrapping_sub(base);
    let (word, by) = would_leave(&from, &linear, &|at| aftermath.code(state, at), end)?;
    let value = linear.read_u32(word)?;
    let finding = Finding::new(
        "missed_wake_up",
        Subject::Kernel,
        format!(
            "the kernel halts for what has come already: {} holds {value:08x}, which ends the loop around `hlt`, and no interrupt \
             is left that would have it look again",
            aftermath.place(word)
        ),
        "no interrupt between the look and `hlt`",
        format!(
            "#{sequence}, interrupt {:#04x}, came at {}, behind the look by `{}` at {} and before `hlt` at {}",
            vector.0,
            aftermath.place(interrupted),
            fault_text::text(&by),
            aftermath.place(base.wrapping_add(by.ip32())),
            aftermath.place(halt)
        ),
    )
    .because("its handler has done what is waited for while the kernel was on its way to `hlt`, so nothing ends that")
    .advise(
        "close interrupts before the look (`cli`), and open them right before `hlt`: STI takes effect behind the next \
         instruction, so nothing comes between `sti` and `hlt`",
    )
    .about(CodePlace::Instruction(halt));
    Some((format!("the end, in ring 0, at {}", aftermath.place(halt)), finding))
}
