//! The kernel's stacks, by the addresses at which they are empty.
//!
//! A stack's end is known, where a return to an outer ring left it; its beginning is not. So an address
//! belongs to the nearest end above it, at most as far as two ends are apart.

use std::collections::BTreeMap;

/// How far below the top of a stack an address may lie to be taken as part of it. Kernel stacks are
/// a few pages; the next stack's top ends the range earlier.
pub(super) const LARGEST_STACK: u32 = 64 * 1024;

/// Number of a task, from 1, in the order in which their stacks were first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u32);

/// How a kernel stack was used.
#[derive(Clone, Copy, Debug)]
pub struct StackUse {
    /// The task whose stack it is.
    pub task: TaskId,
    /// The address at which it is empty: ESP0.
    pub top: u32,
    /// The lowest ESP seen at an entry, a return or a task switch.
    pub lowest: u32,
    /// Entries on it, from outer rings and nested.
    pub entries: u64,
    /// The most frames that were live on it at once.
    pub deepest: u32,
}

/// All that were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Stacks {
    all: Vec<StackUse>,
    /// The number of the stack with this top.
    tops: BTreeMap<u32, usize>,
    /// How often each distance between two neighbouring tops occurs. No stack can be larger than the
    /// least.
    gaps: BTreeMap<u32, u32>,
    /// The least of them.
    least_gap: Option<u32>,
    #[cfg(test)]
    visited: std::cell::Cell<u64>,
}

impl Stacks {
    /// By task number.
    pub(super) fn all(&self) -> &[StackUse] {
        &self.all
    }

    /// The stack with this number.
    pub(super) fn get(&self, index: usize) -> Option<&StackUse> {
        self.all.get(index)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut StackUse> {
        self.all.get_mut(index)
    }

    /// The task whose stack has this number.
    pub(super) fn task(&self, index: usize) -> Option<TaskId> {
        self.get(index).map(|stack| stack.task)
    }

    /// The stack that is empty at `top`.
    pub(super) fn ending_at(&self, top: u32) -> Option<&StackUse> {
        self.tops.get(&top).and_then(|index| self.get(*index))
    }

    /// The end of the next stack below `top`.
    pub(super) fn below(&self, top: u32) -> Option<u32> {
        self.tops.range(..top).next_back().map(|(top, _)| *top)
    }

    /// ESP was at `address`, which belongs to the stack with this number.
    pub(super) fn reached(&mut self, index: usize, address: u32) {
        if let Some(stack) = self.get_mut(index) {
            stack.lowest = stack.lowest.min(address);
        }
    }

    /// No stack is larger: the least distance between two tops.
    #[inline]
    pub(super) fn largest(&self) -> u32 {
        self.least_gap.unwrap_or(LARGEST_STACK).min(LARGEST_STACK)
    }

    /// The number of the stack that `address` lies on.
    #[inline]
    pub(super) fn at(&self, address: u32) -> Option<usize> {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
        let (top, index) = self.tops.range(address..).next()?;
        (top - address <= self.largest()).then_some(*index)
    }

    /// The number of the stack with this top, which is made known if it was not.
    pub(super) fn number_of(&mut self, top: u32) -> usize {
        if let Some(index) = self.tops.get(&top) {
            return *index;
        }
        let task = TaskId(self.all.len() as u32 + 1);
        let index = self.all.len();
        self.all.push(StackUse { task, top, lowest: top, entries: 0, deepest: 0 });
        self.add_top(top, index);
        index
    }

    /// A frame made by hand may lie on another stack than the one that its task is going to enter the
    /// kernel on: where the first entry lands is that. A stack that was seen before stays as it is.
    pub(super) fn move_unused(&mut self, task: TaskId, top: u32) {
        let index = task.0 as usize - 1;
        let Some(stack) = self.all.get(index).copied() else { return };
        if self.tops.contains_key(&top) || stack.entries > 0 {
            return;
        }
        self.remove_top(stack.top);
        self.all[index].top = top;
        self.all[index].lowest = top;
        self.add_top(top, index);
    }

    /// Frames are popped out of records: what was taken for the stacks of tasks were those.
    pub(super) fn forget_unused(&mut self) {
        while let Some(stack) = self.all.last().copied().filter(|stack| stack.entries == 0) {
            self.remove_top(stack.top);
            self.all.pop();
        }
    }

    /// Forgets the one that was made known last.
    pub(super) fn forget_last(&mut self) {
        if let Some(stack) = self.all.pop() {
            self.remove_top(stack.top);
        }
    }

    /// How often stacks have been looked for.
    #[cfg(test)]
    pub(super) fn visited(&self) -> u64 {
        self.visited.get()
    }

    fn neighbours(&self, top: u32) -> (Option<u32>, Option<u32>) {
        let below = self.tops.range(..top).next_back().map(|(top, _)| *top);
        let above = self.tops.range(top.wrapping_add(1).max(top)..).find(|(at, _)| **at != top);
        (below, above.map(|(top, _)| *top))
    }

    fn count_gap(&mut self, low: u32, high: u32, more: bool) {
        let count = self.gaps.entry(high - low).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.gaps.remove(&(high - low));
        }
        self.least_gap = self.gaps.keys().next().copied();
    }

    fn add_top(&mut self, top: u32, index: usize) {
        let (below, above) = self.neighbours(top);
        if let (Some(below), Some(above)) = (below, above) {
            self.count_gap(below, above, false);
        }
        if let Some(below) = below {
            self.count_gap(below, top, true);
        }
        if let Some(above) = above {
            self.count_gap(top, above, true);
        }
        self.tops.insert(top, index);
    }

    fn remove_top(&mut self, top: u32) {
        if self.tops.remove(&top).is_none() {
            return;
        }
        let (below, above) = self.neighbours(top);
        if let Some(below) = below {
            self.count_gap(below, top, false);
        }
        if let Some(above) = above {
            self.count_gap(top, above, false);
        }
        if let (Some(below), Some(above)) = (below, above) {
            self.count_gap(below, above, true);
        }
    }
}
