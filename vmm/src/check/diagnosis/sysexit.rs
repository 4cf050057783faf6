//! SYSEXIT with ECX and EDX exchanged.
//!
//! ```text
//!  SYSEXIT   EIP ← EDX, ESP ← ECX        (SDM vol. 2B, SYSEXIT)
//! ```
//! The program then runs in its stack, and has its code for a stack. SYSENTER leaves nothing of either; but programs put
//! both into registers for the kernel, and the way back is the place right behind their SYSENTER.

use super::Aftermath;
use super::explained::Explained;
use crate::check::History;
use crate::entry::Fault;
use crate::instruction::is_sysenter;
use ia32::Word;

/// So far a stack pointer may have come since.
const NEAR: u32 = 64;

/// Why ring 3 has faulted with an ESP that leads right behind a SYSENTER.
pub(super) fn explain(
    fault: &Fault,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Explained> {
    let registers = history.sysentered_with().filter(|_| fault.ring == 3)?.to_array();
    let esp = fault.frame.get(Word::Esp)?;
    let is_near = |at: &u32| esp.abs_diff(*at) <= NEAR;
    let is_behind = |at: &u32| is_sysenter(&aftermath.code(&fault.after, at.wrapping_sub(2)));
    let back = registers.into_iter().filter(is_near).find(is_behind)?;
    Some(
        Explained::because(format!(
            "ESP is {esp:08x}, and {} is where the program's SYSENTER was to go back to: SYSEXIT takes EIP out of EDX and ESP out \
             of ECX, and got them exchanged, so ring 3 runs in its stack",
            aftermath.place(back)
        ))
        .advise("load EDX with the program's EIP and ECX with its ESP before SYSEXIT"),
    )
}
