//! Whether a loop around HLT would end if it were gone through once more.

use super::{Code, Values, is_of_stack, valid_32};
use crate::machine::LinearMemory;
use ia32::State;
use iced_x86::{FlowControl, Instruction, Mnemonic};

/// So many instructions are done at most.
const MOST: usize = 64;

/// Behind HLT in `state`, with memory as it is: the word of memory by which the way goes that does not lead back to `halt`, and
/// the instruction that reads it. The other way has to lead back.
pub(crate) fn would_leave(
    state: &State,
    linear: &LinearMemory<'_>,
    code: Code<'_>,
    halt: u32,
) -> Option<(u32, Instruction)> {
    let mut now = Values::of(state, linear);
    let mut read = None;
    for _ in 0..MOST {
        if now.eip == halt {
            return None;
        }
        let eip = now.eip;
        let one = now.step_over_opening(code)?;
        if !is_of_stack(&one) {
            read = now.read.first().map(|word| (*word, one)).or(read);
        }
        if one.flow_control() != FlowControl::ConditionalBranch || read.is_none() {
            continue;
        }
        // The other side of the branch.
        let taken = now.eip == one.near_branch32();
        now.eip = if taken { eip.wrapping_add(one.len() as u32) } else { one.near_branch32() };
        let comes_back = now.comes_to(code, halt);
        let mut own = Values::of(state, linear);
        own.general = now.general;
        own.eip = if taken { one.near_branch32() } else { eip.wrapping_add(one.len() as u32) };
        return (comes_back && !own.comes_to(code, halt)).then_some(read?);
    }
    None
}

impl Values<'_> {
    /// It comes to `place` by what is known here.
    fn comes_to(&mut self, code: Code<'_>, place: u32) -> bool {
        for _ in 0..MOST {
            if self.eip == place {
                return true;
            }
            if self.step_over_opening(code).is_none() {
                return false;
            }
        }
        false
    }

    /// The same as a step. STI does nothing here, since no interrupt comes; nor does OUT, which changes no register.
    fn step_over_opening(&mut self, code: Code<'_>) -> Option<Instruction> {
        let one = valid_32(&code(self.base.wrapping_add(self.eip)), self.eip)?;
        if !matches!(one.mnemonic(), Mnemonic::Sti | Mnemonic::Out) {
            return self.step(code);
        }
        self.read.clear();
        self.eip = one.next_ip32();
        Some(one)
    }
}
