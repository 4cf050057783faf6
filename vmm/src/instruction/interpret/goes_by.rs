//! Whether the way that a program takes depends on what is in EAX.
//!
//! ```text
//!  int 0x80 ─ test eax, eax ─ js ─┬─► as it is
//!                                 └─► with another EAX
//! ```
//! It is gone through twice, with the EAX that there is and with another one, as far as instructions are known here. What is
//! stored or handed on is no use of it yet; a branch is, behind a comparison of just that value: who counts in EAX, and has it
//! compared one higher, asks nothing of the call.

use super::{Code, Values, valid_32};
use crate::machine::LinearMemory;
use ia32::{General, State};
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind};

/// So many instructions are done at most.
const MOST: usize = 64;
/// What EAX might be instead: an error, or a number that is as good as any.
const OTHERS: [u32; 2] = [u32::MAX, 0x2a17_0005];

/// The first branch behind `state` that goes by a comparison of EAX, as it is there; none if there is none before what is not
/// known here.
pub(crate) fn goes_by_eax(
    state: &State,
    linear: &LinearMemory<'_>,
    code: Code<'_>,
) -> Option<Instruction> {
    OTHERS.into_iter().find_map(|eax| {
        let general = General { eax, ..state.general };
        let mut one = Values::of(state, linear);
        let mut other = Values::of(&State { general, ..*state }, linear);
        let mut is_compared = false;
        for _ in 0..MOST {
            let next = valid_32(&code(one.base.wrapping_add(one.eip)), one.eip)?;
            if compares(&next) {
                is_compared = (0..2).any(|operand| {
                    one.get(&next, operand) == Some(state.general.eax)
                        && other.get(&next, operand) == Some(eax)
                });
            }
            let (by, _) = (one.step(code)?, other.step(code)?);
            // A comparison with one value tells the others apart by other flags at least.
            if by.flow_control() == FlowControl::ConditionalBranch && one.flags != other.flags {
                return is_compared.then_some(by);
            }
            if one.eip != other.eip {
                return None;
            }
        }
        None
    })
}

/// CMP and TEST, and OR and AND of a register with itself.
fn compares(one: &Instruction) -> bool {
    let is_one_register = one.op0_kind() == OpKind::Register
        && one.op1_kind() == OpKind::Register
        && one.op0_register() == one.op1_register();
    match one.mnemonic() {
        Mnemonic::Cmp | Mnemonic::Test => true,
        Mnemonic::Or | Mnemonic::And => is_one_register,
        _ => false,
    }
}
