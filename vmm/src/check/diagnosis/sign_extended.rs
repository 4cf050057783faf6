//! A stub that pushes its vector as a byte: from 80 on the processor extends the sign.
//!
//! ```text
//!  6a 80    push 0x80      pushes ffffff80 (SDM vol. 2B, PUSH): an index into a table of 256 is -128
//! ```
//! Whoever compares a byte of it does not mind; so it is only said of a kernel that died in such a handler.

use super::Aftermath;
use crate::check::{CodePlace, Finding, History};
use crate::instruction::valid_32;
use iced_x86::{Code, FlowControl, OpKind};

/// So many instructions of a stub are looked at.
const STUB: usize = 8;

/// Says so of the handler that has not returned.
pub(super) fn explain(finding: &mut Finding, aftermath: &Aftermath<'_>, history: &History) {
    let Some(live) = history.live().rev().take(2).find(|live| live.vector.0 >= 0x80) else {
        return;
    };
    let vector = live.vector.0;
    let Some(at) = pushed_as_a_byte(aftermath, live.handler, vector) else { return };
    let extended = i32::from(vector as i8);
    let reason = finding.reason.clone().map_or_else(String::new, |reason| format!("{reason}; "));
    finding.reason = Some(format!(
        "{reason}the handler of #{} pushes its vector as a byte, at {}, and the processor extends the sign: {extended:08x} \
         lies on the stack for {vector:02x}, which is {extended} as an index",
        live.sequence,
        aftermath.place(at)
    ));
    finding.advice = Some(format!(
        "push the vector as a word of 32 bits (NASM: `push dword {vector:#04x}`; in bytes 68 {vector:02x} 00 00 00, not 6a \
         {vector:02x}), or use its low byte only"
    ));
    finding.places.insert(0, CodePlace::Instruction(at));
}

/// Where the stub that begins at `handler` pushes `vector` by a PUSH of one byte.
fn pushed_as_a_byte(aftermath: &Aftermath<'_>, handler: u32, vector: u8) -> Option<u32> {
    let mut at = handler;
    for _ in 0..STUB {
        let one = valid_32(&aftermath.code(&aftermath.end.state, at), at)?;
        if one.code() == Code::Pushd_imm8 && one.immediate8() == vector {
            return Some(at);
        }
        at = match one.flow_control() {
            FlowControl::UnconditionalBranch if one.op0_kind() == OpKind::NearBranch32 => {
                one.near_branch32()
            }
            FlowControl::Next => one.next_ip32(),
            _ => return None,
        };
    }
    None
}
