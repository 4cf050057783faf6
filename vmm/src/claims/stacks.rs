//! The kernel stacks that were seen, and what was written to them from one stop to the next.
//!
//! A stack is known from its end: an ESP0 that stood in a TSS. It begins where the page below is
//! not mapped, where another stack ends, or behind the TSS if that lies below it in the same page,
//! and 16 KiB below its end at the latest.

use crate::machine::LinearMemory;

/// The largest stack that is looked for, in bytes.
const LARGEST: u32 = 0x4000;
const PAGE: u32 = 0x1000;
/// Bytes of a 32-bit TSS.
const TSS_SIZE: u32 = 104;

/// What was written to a kernel stack between two stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The end of the stack.
    pub top: u32,
    /// What became of it.
    pub kind: ChangeKind,
}

/// What can become of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Bytes have other values: from the first to behind the last.
    Written {
        /// Linear address of the first byte that differs.
        from: u32,
        /// Linear address behind the last byte that differs.
        to: u32,
    },
    /// Its last page is mapped no more.
    Unmapped,
    /// Its last page is another page frame.
    Moved,
}

/// A kernel stack.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The lowest address.
    pub low: u32,
    /// The address behind the highest.
    pub top: u32,
    /// Where its last page lies in physical memory; none while it is not mapped.
    pub frame: Option<u64>,
    /// The page below is not mapped.
    pub guarded: bool,
    bytes: Vec<u8>,
}

impl Stack {
    /// The address lies on it.
    pub fn contains(&self, address: u32) -> bool {
        (self.low..self.top).contains(&address)
    }
}

/// All stacks that were seen.
#[derive(Clone, Debug, Default)]
pub struct Stacks(Vec<Stack>);

impl Stacks {
    /// In the order in which they were seen first.
    pub fn iter(&self) -> impl Iterator<Item = &Stack> {
        self.0.iter()
    }

    /// The stack whose end is `top`.
    pub fn ending_at(&self, top: u32) -> Option<&Stack> {
        self.0.iter().find(|stack| stack.top == top)
    }

    /// The stack that `address` lies on. An address right at the end belongs to the stack that ends
    /// there: it is empty then.
    pub fn holding(&self, address: u32) -> Option<&Stack> {
        self.0.iter().find(|stack| stack.contains(address.wrapping_sub(1)))
    }

    /// Learns of the stack that ends at `top`, if it is new.
    pub(super) fn know(&mut self, linear: &LinearMemory<'_>, top: u32, tss: u32) {
        if top < LARGEST || self.ending_at(top).is_some() {
            return;
        }
        let mapped = |at: u32| linear.paging.translate(linear.memory, at);
        if mapped(top - 1).is_none() {
            return;
        }
        let mut low = (top - 1) & !(PAGE - 1);
        while top - low < LARGEST && mapped(low - 1).is_some() {
            low -= PAGE;
        }
        let guarded = mapped(low - 1).is_none();
        for other in &self.0 {
            if other.top < top {
                low = low.max(other.top);
            }
        }
        if (top - LARGEST..top).contains(&tss) {
            low = low.max(tss + TSS_SIZE);
        }
        let mut bytes = vec![0; (top - low) as usize];
        linear.read_some(low, &mut bytes);
        self.0.push(Stack { low, top, frame: frame_of(linear, top), guarded, bytes });
    }

    /// Compares all stacks with what they were.
    pub(super) fn look(&mut self, linear: &LinearMemory<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        for stack in &mut self.0 {
            let top = stack.top;
            let frame = frame_of(linear, top);
            if frame != stack.frame {
                let kind = if frame.is_none() { ChangeKind::Unmapped } else { ChangeKind::Moved };
                changes.push(Change { top, kind });
                stack.frame = frame;
            }
            if frame.is_none() || linear.equals(stack.low, &stack.bytes) {
                continue;
            }
            let mut now = vec![0; stack.bytes.len()];
            linear.read_some(stack.low, &mut now);
            let differs = |index: &usize| now[*index] != stack.bytes[*index];
            let first = (0..now.len()).find(differs);
            let last = (0..now.len()).rfind(differs);
            if let (Some(first), Some(last)) = (first, last) {
                let from = stack.low + first as u32;
                let to = stack.low + last as u32 + 1;
                changes.push(Change { top, kind: ChangeKind::Written { from, to } });
            }
            stack.bytes = now;
        }
        changes
    }
}

fn frame_of(linear: &LinearMemory<'_>, top: u32) -> Option<u64> {
    linear.paging.translate(linear.memory, top - 1).map(|at| at & !u64::from(PAGE - 1))
}
