//! Where code leads, instruction by instruction, as far as the instructions themselves say.
//!
//! ```text
//!  start ─► next address ─► (whoever asks decodes it, and looks) ─► after ─► what it may lead to
//! ```
//! Each address comes once. What is reached in a straight line comes before what is branched to.

use iced_x86::{FlowControl, Instruction};
use std::collections::BTreeSet;

/// Whether the code of what is called belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// It does.
    Into,
    /// Only what comes after the call.
    Over,
}

/// The way through some code.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    open: Vec<u32>,
    seen: BTreeSet<u32>,
}

impl Flow {
    /// From this address on.
    pub(crate) fn from(start: u32) -> Self {
        Flow { open: vec![start], seen: BTreeSet::new() }
    }

    /// The next address that was not there before.
    pub(crate) fn next(&mut self) -> Option<u32> {
        while let Some(at) = self.open.pop() {
            if self.seen.insert(at) {
                return Some(at);
            }
        }
        None
    }

    /// The addresses that there were.
    pub(crate) fn seen(&self) -> &BTreeSet<u32> {
        &self.seen
    }

    /// Goes on at `address`.
    pub(crate) fn go_on(&mut self, address: u32) {
        self.open.push(address);
    }

    /// Goes on after `instruction`, wherever it says that it leads: nowhere after returns, indirect and far jumps.
    pub(crate) fn after(&mut self, instruction: &Instruction, calls: Calls) {
        let (target, next) = (instruction.near_branch32(), instruction.next_ip32());
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::IndirectCall | FlowControl::Interrupt => {
                self.open.push(next)
            }
            FlowControl::Call if calls == Calls::Over || instruction.is_call_far() => {
                self.open.push(next)
            }
            FlowControl::Call | FlowControl::ConditionalBranch => self.open.extend([target, next]),
            FlowControl::UnconditionalBranch if !instruction.is_jmp_far() => self.open.push(target),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruction::decode_32;

    #[test]
    fn each_way_is_gone_once_and_the_straight_one_first() {
        // 0: call 9; 5: jz 8; 7: ret; 8: ret; 9: jmp 0
        let code = [0xe8, 4, 0, 0, 0, 0x74, 1, 0xc3, 0xc3, 0xeb, 0xf5];
        let way = |calls| {
            let (mut flow, mut found) = (Flow::from(0), Vec::new());
            while let Some(at) = flow.next() {
                found.push(at);
                flow.after(&decode_32(&code[at as usize..], at), calls);
            }
            found
        };
        assert_eq!(way(Calls::Over), [0, 5, 7, 8]);
        assert_eq!(way(Calls::Into), [0, 5, 7, 8, 9]);
    }
}
