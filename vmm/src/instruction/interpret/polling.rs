//! A loop that reads one port, and the bits that it waits for.
//!
//! ```text
//!  1:  in al, dx      ◄─┐ always 60
//!      test al, 2       │ with bit 1 set it would go on: that is what it waits for
//!      jz 1b          ──┘
//! ```

use super::{Code, Cycle, Values, is_flat};
use crate::machine::LinearMemory;
use ia32::State;
use iced_x86::{Instruction, Mnemonic};
use std::collections::BTreeSet;

/// So many instructions are done at most: of a loop, and of the way out of it.
const MOST: usize = 512;

/// What such a loop is.
pub(crate) struct Polling {
    /// It.
    pub(crate) cycle: Cycle,
    /// The instruction that reads.
    pub(crate) by: Instruction,
    /// The bits of the byte each of which would end it, if it alone were otherwise.
    pub(crate) awaited: u8,
}

/// The loop around `state`, in which each read of `port` gives `value`; none if it ends so, or does what is not known here.
pub(crate) fn polling(
    state: &State,
    linear: &LinearMemory<'_>,
    code: Code<'_>,
    (port, value): (u16, u8),
) -> Option<Polling> {
    if !is_flat(state) {
        return None;
    }
    let with =
        |value: u8| Values { input: Some((port, value.into())), ..Values::of(state, linear) };
    let mut now = with(value);
    let cycle = now.cycle(code, MOST)?;
    let (mut within, mut by) = (BTreeSet::new(), None);
    for _ in 0..cycle.length {
        within.insert(now.eip);
        let one = now.step(code)?;
        by = by.or((one.mnemonic() == Mnemonic::In).then_some(one));
    }
    let leaves = |bit: &u8| {
        let mut other = with(value ^ 1 << bit);
        let mut is_in = false;
        for _ in 0..MOST {
            is_in |= within.contains(&other.eip);
            if is_in && !within.contains(&other.eip) {
                return true;
            }
            if other.step(code).is_none() {
                return false;
            }
        }
        false
    };
    let awaited = (0..8).filter(leaves).fold(0, |bits, bit| bits | 1 << bit);
    Some(Polling { cycle, by: by?, awaited })
}
