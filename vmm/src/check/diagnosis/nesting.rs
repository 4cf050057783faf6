//! An interrupt that comes again and again before its handler has returned.
//!
//! A handler has written its EOI and opens interrupts. If it runs longer than the time between two interrupts, the next
//! one nests in it. Each nesting takes a frame and more of the stack, until that is full.

use super::{Aftermath, Placed};
use crate::check::{CodePlace, Finding, History, Subject};
use crate::entry::Kind;

const RULE: &str = "nesting";
/// So many handlers of one interrupt upon each other are no chance.
const MANY: usize = 16;

/// A run does not end within the handlers of one interrupt upon each other.
pub(super) fn interrupts_its_own_handler(
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Placed> {
    if aftermath.end.ending.is_good() {
        return None;
    }
    let vector = history.live().rev().find(|live| live.kind == Kind::External)?.vector;
    let nested: Vec<_> = history
        .live()
        .filter(|live| live.kind == Kind::External && live.vector == vector)
        .collect();
    let (first, last) = (*nested.first()?, *nested.last()?);
    let upon = nested.windows(2).filter(|two| two[1].frame.address < two[0].frame.address).count();
    if nested.len() < MANY || upon + 1 < nested.len() {
        return None;
    }
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!("interrupt {:#04x} has interrupted its own handler {} times", vector.0, upon),
        "a handler that is done before it can be interrupted by its own interrupt",
        format!(
            "frames of #{} to #{} upon each other, {} bytes of stack",
            first.sequence,
            last.sequence,
            first.frame.end().wrapping_sub(last.frame.address)
        ),
    )
    .because(
        "the handler opens interrupts (STI, or a trap gate) after its EOI, and takes longer than the time to the \
         next one: the stack fills up",
    )
    .advise("leave interrupts closed until the IRET, or write the EOI last")
    .about(CodePlace::Handler(last.handler));
    Some((format!("#{} at {}", last.sequence, aftermath.place(last.handler)), finding))
}
