//! HLT with interrupts closed, in a loop that waits for memory to change.
//!
//! ```text
//!  getc:  cmp [count], 0 ─ jne ─► done
//!         hlt                          IF = 0: the gate of INT has cleared it, and no handler can change count
//!         jmp getc
//! ```
//! A kernel that has ended halts too, with interrupts closed, and in a loop; but nothing lets it out of there. This one
//! looks at memory each time round, and would leave.

use super::waiting::waits;
use super::{Aftermath, Diagnosis, Placed, fault_text};
use crate::check::{Finding, Retrace, Subject};
use crate::entry::Kind;
use crate::instruction::interpret::waits_until;
use crate::run::Ending;
use ia32::{Eflags, State};

const HLT: u8 = 0xf4;

/// No HLT with IF = 0 waits for what only a handler could do.
pub(super) fn never_ends(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Placed> {
    let state = &aftermath.end.state;
    let closed = state.cpl() == 0 && !state.eflags.contains(Eflags::IF);
    if aftermath.end.ending != Ending::Halted || !closed {
        return None;
    }
    let comes = waits(aftermath)?;
    let at = state.instruction_address();
    // EIP is at HLT, or behind it.
    let halt = [at, at.wrapping_sub(1)]
        .into_iter()
        .find(|at| aftermath.code(state, *at).first() == Some(&HLT))?;
    let behind = halt.wrapping_add(1);
    let from = State { eip: behind.wrapping_sub(state.cs().base), ..*state };
    let linear = aftermath.linear(state);
    let end = halt.wrapping_sub(state.cs().base);
    let round = waits_until(&from, &linear, &|at| aftermath.code(state, at), end)?;
    let (word, by) = round.reads.first()?;
    let value = linear.read_u32(*word)?;
    let closed_by = match diagnosis.last_entry {
        Some((sequence, kind, vector)) if !diagnosis.returned => format!(
            "the gate of {} has closed interrupts, at #{sequence}, and its handler has not opened them",
            match kind {
                Kind::Software => format!("`int {:#04x}`", vector.0),
                _ => format!("vector {:#04x}", vector.0),
            }
        ),
        _ => "nothing opens interrupts here".into(),
    };
    let after_entry = diagnosis.last_entry.map_or(0, |(last, ..)| last);
    let finding = Finding::new(
        "closed_wait",
        Subject::Kernel,
        format!(
            "the kernel halts with IF=0 in a loop that waits for {} to change, and nothing can wake it: {comes}",
            aftermath.place(*word)
        ),
        "interrupts open where the kernel waits for one",
        format!(
            "`{}` at {}, then `hlt`, with EFLAGS {:08x}; the word is {value:08x}",
            fault_text::text(by),
            aftermath.place(state.cs().base.wrapping_add(by.ip32())),
            state.eflags.0
        ),
    )
    .because(format!("{closed_by}: no handler can change that word, and `hlt` does not go on"))
    .advise(
        "open interrupts right before it, `sti; hlt`, and close them behind it; or let another task run, and wake this one in \
         the handler that it waits for",
    )
    .about_instruction(halt)
    .retraced(Retrace::Closing { after_entry });
    Some((format!("the end, in ring 0, at {}", aftermath.place(at)), finding))
}
