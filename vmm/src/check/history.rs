//! What earlier entries and returns tell about the one at hand.
//!
//! Tasks are told apart from outside, by their kernel stacks: a return to an outer ring empties a
//! stack, and the address at which it is empty is the task's. A frame that was pushed and not yet
//! popped is *live*: it belongs to a task that is suspended, or to the handler that runs.

use crate::entry::{Entry, Frame, Kind, Return, TaskSwitch};
use ia32::{Vector, Word};

/// How far below the top of a stack an address may lie to be taken as part of it. Kernel stacks are
/// a few pages; the next stack's top ends the range earlier.
const LARGEST_STACK: u32 = 64 * 1024;

/// Number of a task, from 1, in the order in which their stacks were first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u32);

/// A frame that was pushed and not yet popped.
#[derive(Clone, Copy, Debug)]
pub struct LiveFrame {
    /// The entry that pushed it.
    pub sequence: u64,
    /// The task that was running.
    pub task: Option<TaskId>,
    /// What raised the event.
    pub kind: Kind,
    /// Its vector.
    pub vector: Vector,
    /// CR3 of the address space that was interrupted.
    pub address_space: u32,
    /// The words as they were pushed.
    pub frame: Frame,
}

/// How a kernel stack was used.
#[derive(Clone, Copy, Debug)]
pub struct StackUse {
    /// The task whose stack it is.
    pub task: TaskId,
    /// The address at which it is empty: ESP0.
    pub top: u32,
    /// The lowest ESP seen at an entry or a return.
    pub lowest: u32,
    /// Entries on it, from outer rings and nested.
    pub entries: u64,
    /// The most frames that were live on it at once.
    pub deepest: u32,
}

/// The last return that was seen, while nothing has been entered since.
#[derive(Clone, Copy, Debug)]
pub struct LastReturn {
    /// The ring it went to.
    pub ring: u8,
    /// Linear address behind the frame it popped: where the stack ends that it emptied.
    pub stack_end: u32,
    /// The kernel's SS.
    pub ss: u16,
    /// It popped a frame that an entry pushed, rather than one made by hand for a new task.
    pub of_entry: bool,
    /// The task that it resumed.
    pub task: Option<TaskId>,
}

/// When ESP0 got the value that it has.
#[derive(Clone, Copy, Debug)]
pub struct Esp0Change {
    /// The value.
    pub esp0: u32,
    /// The first entry that saw it.
    pub sequence: u64,
}

/// A frame that a system call has pushed, whoever popped it since.
#[derive(Clone, Copy, Debug)]
struct Call {
    sequence: u64,
    task: Option<TaskId>,
    frame: Frame,
}

/// How many system calls are remembered: a child made by one runs soon.
const CALLS: usize = 256;

/// All that is remembered.
#[derive(Clone, Debug, Default)]
pub struct History {
    stacks: Vec<StackUse>,
    live: Vec<LiveFrame>,
    /// The latest, in a ring.
    calls: Vec<Call>,
    last_return: Option<LastReturn>,
    esp0: Option<Esp0Change>,
    last_switch: Option<(TaskId, u64)>,
    /// The least distance between the tops of two stacks, which no stack can be larger than.
    spacing: Option<u32>,
}

impl History {
    /// The kernel stacks seen, by task number.
    pub fn stacks(&self) -> &[StackUse] {
        &self.stacks
    }

    /// Frames that were pushed and not yet popped, oldest first.
    pub fn live(&self) -> &[LiveFrame] {
        &self.live
    }

    /// The return just before, if nothing has been entered since.
    pub fn last_return(&self) -> Option<&LastReturn> {
        self.last_return.as_ref()
    }

    /// When ESP0 got its present value.
    pub fn esp0_change(&self) -> Option<Esp0Change> {
        self.esp0
    }

    /// The task on whose stack `address` lies.
    pub fn owner(&self, address: u32) -> Option<TaskId> {
        self.stack_at(address).map(|index| self.stacks[index].task)
    }

    /// The task that a return to an outer ring resumed last, and the last entry before it.
    pub fn last_switch(&self) -> Option<(TaskId, u64)> {
        self.last_switch
    }

    /// The live frame that shares a byte with `frame`, the newest if there are several.
    #[inline]
    pub fn overlapped(&self, frame: &Frame) -> Option<&LiveFrame> {
        let start = frame.physical?;
        let end = start + u64::from(frame.shape.size());
        self.live.iter().rev().find(|live| {
            live.frame.physical.is_some_and(|other| {
                other < end && start < other + u64::from(live.frame.shape.size())
            })
        })
    }

    /// The live frame that starts where `frame` does. One in the same page frame at another linear
    /// address is a dead task's: its memory serves another stack now.
    #[inline]
    pub fn pushed_at(&self, frame: &Frame) -> Option<&LiveFrame> {
        // An error code lies below EIP and has been dropped by the time of the return.
        let start = frame.physical?;
        self.live.iter().rev().find(|live| {
            let skip = if live.frame.shape.error_code { live.frame.shape.word_size } else { 0 };
            live.frame.physical.map(|physical| physical + u64::from(skip)) == Some(start)
                && live.frame.address.wrapping_add(skip) == frame.address
        })
    }

    /// Whether `frame` has the words of a system call that another task has made since `pushed`: so
    /// has the frame of a child that it made.
    pub fn is_copied(&self, frame: &Frame, pushed: &LiveFrame) -> bool {
        self.calls.iter().any(|call| {
            call.sequence > pushed.sequence && call.task != pushed.task && call.frame.pops_as(frame)
        })
    }

    #[inline]
    fn stack_at(&self, address: u32) -> Option<usize> {
        let largest = self.spacing.unwrap_or(LARGEST_STACK).min(LARGEST_STACK);
        let mut best: Option<(usize, u32)> = None;
        for (index, stack) in self.stacks.iter().enumerate() {
            let depth = stack.top.wrapping_sub(address);
            if depth <= largest && best.is_none_or(|(_, least)| depth < least) {
                best = Some((index, depth));
            }
        }
        best.map(|(index, _)| index)
    }

    fn stack_with_top(&mut self, top: u32) -> usize {
        if let Some(index) = self.stacks.iter().position(|stack| stack.top == top) {
            return index;
        }
        for stack in &self.stacks {
            let distance = stack.top.abs_diff(top);
            self.spacing = Some(self.spacing.map_or(distance, |least| least.min(distance)));
        }
        let task = TaskId(self.stacks.len() as u32 + 1);
        self.stacks.push(StackUse { task, top, lowest: top, entries: 0, deepest: 0 });
        self.stacks.len() - 1
    }

    /// A frame made by hand may lie on another stack than the one that its task is going to enter the
    /// kernel on: where the first entry lands is that. A stack that was seen before stays as it is.
    fn move_unused(&mut self, task: TaskId, top: u32) {
        let index = task.0 as usize - 1;
        let known = self.stacks.iter().any(|stack| stack.top == top);
        if known || self.stacks[index].entries > 0 {
            return;
        }
        self.stacks[index].top = top;
        self.stacks[index].lowest = top;
        let tops = || self.stacks.iter().map(|stack| stack.top);
        self.spacing = tops()
            .flat_map(|one| tops().map(move |other| one.abs_diff(other)))
            .filter(|distance| *distance > 0)
            .min();
    }

    /// Takes a task switch by hardware in; the task that goes on.
    pub(super) fn switch(&mut self, switch: &TaskSwitch) -> TaskId {
        self.last_return = None;
        let left = switch.before.stack_address();
        if let Some(index) = self.stack_at(left) {
            self.stacks[index].lowest = self.stacks[index].lowest.min(left);
        }
        let kernel_stack = &switch.kernel_stack;
        let index = self.stack_with_top(kernel_stack.end());
        // A task that goes on in an outer ring has an empty kernel stack. If another one was suspended
        // there, its frame is gone, unless it still lies there: then the next entry will destroy it.
        let suspended = |live: &LiveFrame| {
            live.frame.end() == kernel_stack.end() && live.frame.pops_as(kernel_stack)
        };
        if switch.ring() > switch.before.cpl() && !self.live.iter().any(suspended) {
            let mut live = std::mem::take(&mut self.live);
            live.retain(|live| self.stack_at(live.frame.address) != Some(index));
            self.live = live;
        }
        let task = self.stacks[index].task;
        if self.last_switch.is_none_or(|(last, _)| last != task) {
            self.last_switch = Some((task, switch.after_sequence));
        }
        task
    }

    /// Takes an entry in; the task that was running.
    #[inline]
    pub(super) fn enter(&mut self, entry: &Entry) -> Option<TaskId> {
        let returned = self.last_return.take();
        if let Some(stack) = entry.inner_stack
            && self.esp0.is_none_or(|change| change.esp0 != stack.esp)
        {
            self.esp0 = Some(Esp0Change { esp0: stack.esp, sequence: entry.sequence });
        }
        let index = if entry.from_outer_ring() {
            // Who runs is who was returned to, whatever the TSS says.
            let top = entry.inner_stack.map(|stack| entry.after.ss().base.wrapping_add(stack.esp));
            match returned.filter(|last| last.ring > entry.after.cpl()) {
                Some(LastReturn { task: Some(task), of_entry, .. }) => {
                    if let (false, Some(top)) = (of_entry, top) {
                        self.move_unused(task, top);
                    }
                    Some(task.0 as usize - 1)
                }
                _ => top.map(|top| self.stack_with_top(top)),
            }
        } else {
            self.stack_at(entry.frame.address)
        };
        // The processor has overwritten what lay there.
        if let Some(start) = entry.frame.physical.filter(|_| !self.live.is_empty()) {
            let end = start + u64::from(entry.frame.shape.size());
            self.live.retain(|live| {
                live.frame.physical.is_none_or(|other| {
                    other >= end || start >= other + u64::from(live.frame.shape.size())
                })
            });
        }
        let task = index.map(|index| self.stacks[index].task);
        if entry.kind == Kind::Software {
            let call = Call { sequence: entry.sequence, task, frame: entry.frame };
            if self.calls.len() < CALLS {
                self.calls.push(call);
            } else {
                self.calls[entry.sequence as usize % CALLS] = call;
            }
        }
        self.live.push(LiveFrame {
            sequence: entry.sequence,
            task,
            kind: entry.kind,
            vector: entry.vector,
            address_space: entry.after.cr3,
            frame: entry.frame,
        });
        if let Some(index) = self.stack_at(entry.frame.address) {
            let on_it = |live: &&LiveFrame| self.stack_at(live.frame.address) == Some(index);
            let depth = match self.live.len() {
                1 => 1,
                _ => self.live.iter().filter(on_it).count() as u32,
            };
            let stack = &mut self.stacks[index];
            stack.entries += 1;
            stack.lowest = stack.lowest.min(entry.frame.address);
            stack.deepest = stack.deepest.max(depth);
        }
        task
    }

    /// Takes a return in; the task that it resumes.
    #[inline]
    pub(super) fn leave(&mut self, returning: &Return) -> Option<TaskId> {
        let frame = &returning.frame;
        let ring = returning.ring();
        let outer = ring > returning.state.cpl();
        let popped = self.pushed_at(frame).map(|live| live.sequence);
        let index = if outer {
            Some(self.stack_with_top(frame.end()))
        } else {
            self.stack_at(frame.address)
        };
        if let Some(index) = index {
            let stack = &mut self.stacks[index];
            stack.lowest = stack.lowest.min(frame.address);
        }
        if let ([only], Some(_)) = (&self.live[..], popped)
            && Some(only.sequence) == popped
        {
            self.live.clear();
        }
        // Gone are the frame that is popped, and what lies lower on its stack: that was abandoned.
        if !self.live.is_empty() {
            let mut live = std::mem::take(&mut self.live);
            live.retain(|live| {
                Some(live.sequence) != popped
                    && !is_elsewhere(live, frame)
                    && (live.frame.address >= frame.end()
                        || index.is_none()
                        || self.stack_at(live.frame.address) != index)
            });
            self.live = live;
        }
        let task = index.map(|index| self.stacks[index].task);
        if let (true, Some(task)) = (outer, task)
            && self.last_switch.is_none_or(|(last, _)| last != task)
        {
            self.last_switch = Some((task, returning.after_sequence));
        }
        self.last_return = Some(LastReturn {
            ring,
            stack_end: frame.end(),
            ss: returning.state.ss().selector,
            of_entry: popped.is_some(),
            task,
        });
        task
    }
}

/// `live` was pushed into the memory of `frame`, at another linear address: the memory has changed its
/// owner since, and whoever pushed it there is dead.
fn is_elsewhere(live: &LiveFrame, frame: &Frame) -> bool {
    let (Some(old), Some(new)) = (live.frame.physical, frame.physical) else { return false };
    let (old_size, new_size) = (live.frame.shape.size(), frame.shape.size());
    old < new + u64::from(new_size)
        && new < old + u64::from(old_size)
        && old.wrapping_sub(new) as u32 != live.frame.address.wrapping_sub(frame.address)
}

/// `SS ESP EFLAGS CS EIP` of a frame, as far as `range` overlaps it.
pub(super) fn words_within(frame: &Frame, start: u32, end: u32) -> String {
    let mut names: Vec<&str> = Vec::new();
    for word in frame.shape.words() {
        let at = frame.address_of(*word).unwrap_or(0);
        if at < end && start < at.wrapping_add(frame.shape.word_size) && *word != Word::ErrorCode {
            names.push(word.name());
        }
    }
    names.join(" ")
}
