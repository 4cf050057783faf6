//! The low end of a stack, where the symbols tell it, and what is written below.

use crate::check::objects::Objects;
use crate::machine::LinearMemory;

/// How much on either side of a stack's low end is looked at.
const EDGE: usize = 64;

/// The low end of a stack whose object is known, when the kernel was entered on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::check) struct Edge {
    /// Linear address of the stack's first byte.
    pub(in crate::check) start: u32,
    /// The bytes right below it.
    below: [u8; EDGE],
    /// The lowest bytes of the stack.
    low: [u8; EDGE],
}

/// A stack that was used down to its end, and what lies below has changed as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::check) struct Overrun {
    /// Linear address of the stack's first byte.
    pub(in crate::check) start: u32,
    /// The lowest word below that has changed: its address, what it was and is.
    pub(in crate::check) word: (u32, u32, u32),
    /// Where that lies in physical memory.
    pub(in crate::check) physical: Option<u64>,
}

impl Edge {
    /// The low end of the stack that ends at `top`, where it is a variable of its own.
    pub(super) fn read(linear: &LinearMemory<'_>, objects: &Objects, top: u32) -> Option<Edge> {
        let object = objects.at(top.wrapping_sub(1)).filter(|object| object.end == top)?;
        let start = object.start;
        if top - start <= 2 * EDGE as u32 {
            return None;
        }
        let mut edge = Edge { start, below: [0; EDGE], low: [0; EDGE] };
        linear.read(start.wrapping_sub(EDGE as u32), &mut edge.below)?;
        linear.read(start, &mut edge.low)?;
        Some(edge)
    }
}

impl Overrun {
    /// The stack was used down to its last word since it was entered, and the words right below have changed
    /// along with it. Either alone is nobody's business: a stack may be full, and a variable be changed.
    pub(super) fn read(linear: &LinearMemory<'_>, before: &Edge) -> Option<Overrun> {
        let mut now = Edge { start: before.start, below: [0; EDGE], low: [0; EDGE] };
        linear.read(before.start, &mut now.low)?;
        let words = |bytes: &[u8; EDGE]| bytes.as_chunks::<4>().0.to_vec();
        let (was, is) = (words(&before.low), words(&now.low));
        let changed = was.iter().zip(&is).filter(|(was, is)| was != is).count() * 4;
        let uniform = is.iter().all(|word| *word == is[0]);
        if changed * 2 < EDGE || uniform || was[0] == is[0] {
            return None;
        }
        linear.read(before.start.wrapping_sub(EDGE as u32), &mut now.below)?;
        let (was, is) = (words(&before.below), words(&now.below));
        let differs: Vec<usize> =
            (0..was.len()).filter(|index| was[*index] != is[*index]).collect();
        // A frame's worth of words, the one right below the stack or its neighbour among them.
        if differs.len() < 4 || *differs.last()? + 2 < was.len() {
            return None;
        }
        let index = *differs.first()?;
        let address = before.start.wrapping_sub(EDGE as u32).wrapping_add(index as u32 * 4);
        let word = (address, u32::from_le_bytes(was[index]), u32::from_le_bytes(is[index]));
        let physical = linear.paging.translate(linear.memory, address);
        Some(Overrun { start: before.start, word, physical })
    }
}
