//! What earlier entries and returns tell about the one at hand.
//!
//! Tasks are told apart from outside, by their kernel stacks: a return to an outer ring empties a
//! stack, and the address at which it is empty is the task's. A frame that was pushed and not yet
//! popped is *live*: it belongs to a task that is suspended, or to the handler that runs.
//!
//! A return is paired with its entry by where it pops, and failing that by what it pops: kernels copy
//! frames into the records of their tasks, or push new ones for each way out. A kernel that does so
//! with interrupted code may have one stack for all its tasks; then nobody is suspended on a stack, and
//! its stacks do not tell tasks apart ([`History::copies_frames`]).
//!
//! A return is only a guess until the next stop: an IRET that the processor refuses pops nothing.
//! [`History::take_back`] undoes it.
//!
//! What is looked up at each stop is ordered by address, so a stop costs the logarithm of the number of
//! stacks, and not more.

use super::glance::{Damage, FreshStack, Glance};
use super::objects::Objects;
use crate::entry::{Entry, Frame, Kind, Return, TaskSwitch};
use ia32::{General, State, Vector, Word};
use std::collections::{BTreeMap, VecDeque};

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
    /// The general registers that were interrupted; ESP is the handler's.
    pub registers: General,
    /// ES, DS, FS and GS.
    pub selectors: [u16; 4],
    /// Linear address of the handler.
    pub handler: u32,
    /// HLT stands right before the interrupted place.
    pub behind_halt: bool,
    /// What lay above the frame, where that is another stack's low end.
    pub above: Option<[u8; ABOVE]>,
}

/// How much above a stack's top is looked at to tell whether the stack above has grown over it.
pub(super) const ABOVE: usize = 64;

impl LiveFrame {
    /// The event came from an outer ring.
    pub fn from_outer_ring(&self) -> bool {
        self.frame.shape.changes_stack
    }

    /// Where its EIP lies: an error code has been dropped by the time of the return.
    pub fn popped_from(&self) -> u32 {
        self.frame.address.wrapping_add(self.skip())
    }

    fn skip(&self) -> u32 {
        if self.frame.shape.error_code { self.frame.shape.word_size } else { 0 }
    }

    fn range(&self) -> Option<(u64, u64)> {
        let start = self.frame.physical?;
        Some((start, start + u64::from(self.frame.shape.size())))
    }
}

/// The entry whose frame a return pops.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The frame as it was pushed.
    pub pushed: &'a LiveFrame,
    /// It is popped where it was pushed. Else it is told by CS:EIP and SS:ESP: a copy, or a frame made
    /// anew.
    pub in_place: bool,
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
    /// It popped a frame where an entry from an outer ring had pushed it, rather than one made by hand
    /// for a new task, or a copy.
    pub of_entry: bool,
    /// It popped a copy of an entry's frame.
    pub of_copy: bool,
    /// The task that it resumed.
    pub task: Option<TaskId>,
    /// The state in front of the IRET.
    pub state: State,
    /// The words that it was going to pop.
    pub frame: Frame,
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

/// A frame that a neighbour's stack has grown over, by all that can be seen. Whether its task is still to
/// go on from it, only the kernel knows, until it does.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) victim: LiveFrame,
    pub(super) damage: Damage,
    /// The task that was in the kernel, and where its stack ends.
    pub(super) task: Option<TaskId>,
    pub(super) top: u32,
}

/// What the last return has changed, for the case that it is refused.
#[derive(Clone, Debug, Default)]
struct Undo {
    removed: Vec<LiveFrame>,
    last_switch: Option<(TaskId, u64)>,
    running: Option<u32>,
    created: bool,
}

/// How many system calls are remembered: a child made by one runs soon.
const CALLS: usize = 256;
/// How many overwritten frames are remembered, and how many live ones are held against a return that pops
/// none where it was pushed: tasks that take turns.
const COPIES: usize = 64;

/// All that is remembered.
#[derive(Clone, Debug, Default)]
pub struct History {
    stacks: Vec<StackUse>,
    /// The number of the stack with this top.
    tops: BTreeMap<u32, usize>,
    /// How often each distance between two neighbouring tops occurs. No stack can be larger than the
    /// least.
    gaps: BTreeMap<u32, u32>,
    /// By number of the entry.
    live: BTreeMap<u64, LiveFrame>,
    /// The live frames by physical address. No two overlap.
    by_physical: BTreeMap<u64, u64>,
    /// The same by linear address; several address spaces may use one.
    by_linear: BTreeMap<(u32, u64), ()>,
    /// Frames that entries have overwritten, oldest first: their words may live on in a copy.
    overwritten: VecDeque<LiveFrame>,
    /// The latest, in a ring.
    calls: Vec<Call>,
    last_return: Option<LastReturn>,
    undo: Undo,
    esp0: Option<Esp0Change>,
    last_switch: Option<(TaskId, u64)>,
    /// The top of the stack on which an outer ring was left last, until it is returned to.
    running: Option<u32>,
    /// An outer ring was reached by a task switch.
    switched: bool,
    copies_frames: bool,
    missed: u64,
    refused: u64,
    /// The return that this entry says was refused.
    refusal: Option<LastReturn>,
    /// Where the IRET stands that was refused last, while no other event has come between.
    refused_again: Option<u32>,
    refused_at: Option<u32>,
    /// ESP0 at the last return, if no entry was on it yet.
    fresh_stack: Option<Box<FreshStack>>,
    objects: Objects,
    /// The latest, one for each stack that was overgrown.
    suspects: VecDeque<Suspect>,
    glance: Glance,
    #[cfg(test)]
    visited: std::cell::Cell<u64>,
}

impl History {
    /// The kernel stacks seen, by task number.
    pub fn stacks(&self) -> &[StackUse] {
        &self.stacks
    }

    /// Frames that were pushed and not yet popped, oldest first.
    pub fn live(&self) -> impl DoubleEndedIterator<Item = &LiveFrame> + ExactSizeIterator {
        self.live.values()
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

    /// The kernel resumes interrupted code from copies of its frames, as one with a single stack for all
    /// tasks has to: frames on its stacks are not what tasks resume from.
    pub fn copies_frames(&self) -> bool {
        self.copies_frames
    }

    /// Ways out to an outer ring that were not seen: an entry came from there, and nothing had returned
    /// to it since the entry before.
    pub fn missed_returns(&self) -> u64 {
        self.missed
    }

    /// IRETs that the processor refused.
    pub fn refused_returns(&self) -> u64 {
        self.refused
    }

    /// What lay around ESP0 at the last return, if no entry was on it before.
    pub(super) fn fresh_stack(&self) -> Option<&FreshStack> {
        self.fresh_stack.as_deref()
    }

    /// Whether an entry from an outer ring was on the stack with this top.
    pub(super) fn was_entered(&self, top: u32) -> bool {
        self.tops.get(&top).is_some_and(|index| self.stacks[*index].entries > 0)
    }

    /// The kernel's variables, where they are known.
    pub(super) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(super) fn set_objects(&mut self, objects: Objects) {
        self.objects = objects;
    }

    /// The return that the entry at hand says was refused: it has been taken back.
    pub(super) fn refusal(&self) -> Option<&LastReturn> {
        self.refusal.as_ref()
    }

    /// The same IRET had been refused right before: the handler of the fault ends in it.
    pub(super) fn is_refused_again(&self) -> bool {
        self.refused_again.is_some()
    }

    /// What memory tells at this stop.
    pub(super) fn glance(&self) -> &Glance {
        &self.glance
    }

    pub(super) fn set_glance(&mut self, glance: Glance) {
        self.glance = glance;
    }

    /// An entry from an outer ring that nothing is known to have returned to.
    pub(super) fn misses_return(&self, entry: &Entry) -> bool {
        entry.from_outer_ring()
            && !self.switched
            && self.last_return.is_none_or(|last| last.ring <= entry.after.cpl())
    }

    /// The live frame that shares a byte with `frame`, the newest if there are several.
    #[inline]
    pub fn overlapped(&self, frame: &Frame) -> Option<&LiveFrame> {
        let start = frame.physical?;
        let end = start + u64::from(frame.shape.size());
        self.overlapping(start, end).max_by_key(|live| live.sequence)
    }

    fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &LiveFrame> {
        // No frame has more than forty bytes.
        self.by_physical
            .range(start.saturating_sub(40)..end)
            .inspect(|_| self.visit())
            .filter_map(|(_, sequence)| self.live.get(sequence))
            .filter(move |live| live.range().is_some_and(|(_, other)| start < other))
    }

    /// The live frame that starts where `frame` does. One in the same page frame at another linear
    /// address is a dead task's: its memory serves another stack now.
    #[inline]
    pub fn pushed_at(&self, frame: &Frame) -> Option<&LiveFrame> {
        let start = frame.physical?;
        self.overlapping(start, start + 4).find(|live| {
            live.frame.physical.map(|physical| physical + u64::from(live.skip())) == Some(start)
                && live.popped_from() == frame.address
        })
    }

    /// The entry whose frame `returning` pops: the one pushed there, or the newest from an outer ring that
    /// has all its words, or failing that its CS:EIP and SS:ESP, in the same address space.
    pub fn pair(&self, returning: &Return) -> Option<Pair<'_>> {
        if let Some(pushed) = self.pushed_at(&returning.frame) {
            return Some(Pair { pushed, in_place: true });
        }
        if returning.ring() <= returning.state.cpl() {
            return None;
        }
        let frame = &returning.frame;
        let candidates = || {
            let live = self.live.values().rev().take(COPIES);
            live.chain(self.overwritten.iter().rev())
                .inspect(|_| self.visit())
                .filter(|live| live.address_space == returning.state.cr3)
        };
        candidates()
            .find(|live| live.frame.pops_as(frame))
            .or_else(|| candidates().find(|live| goes_to_the_same_place(&live.frame, frame)))
            .map(|pushed| Pair { pushed, in_place: false })
    }

    /// Whether `frame` has the words of a system call that another task has made since `pushed`: so
    /// has the frame of a child that it made.
    pub fn is_copied(&self, frame: &Frame, pushed: &LiveFrame) -> bool {
        self.calls.iter().any(|call| {
            call.sequence > pushed.sequence && call.task != pushed.task && call.frame.pops_as(frame)
        })
    }

    /// The top frame of the stack right below the one that runs: what an overflow would meet first.
    pub(super) fn neighbour(&self) -> Option<&LiveFrame> {
        let running = self.running.filter(|_| !self.copies_frames)?;
        let (top, _) = self.tops.range(..running).next_back()?;
        if running - top > LARGEST_STACK {
            return None;
        }
        let mut on_top = self.by_linear.range((top.wrapping_sub(40), 0)..(*top, 0));
        on_top
            .find_map(|((_, sequence), ())| {
                self.live.get(sequence).filter(|live| live.frame.end() == *top)
            })
            .filter(|live| live.from_outer_ring())
    }

    fn suspect(&mut self, damage: Option<Damage>) {
        let Some(damage) = damage else { return };
        let (Some(victim), Some(top)) = (self.live.get(&damage.sequence).copied(), self.running)
        else {
            return;
        };
        self.suspects.retain(|known| known.victim.sequence != damage.sequence);
        if self.suspects.len() == COPIES {
            self.suspects.pop_front();
        }
        self.suspects.push_back(Suspect { victim, damage, task: self.owner(top), top });
    }

    fn forget(&mut self, sequence: u64) {
        self.suspects.retain(|known| known.victim.sequence != sequence);
        self.remove(sequence);
    }

    /// The frame with this place on its stack that was overgrown and is still to be popped: the kernel goes
    /// on below it.
    pub(super) fn overgrown_at_entry(&self, entry: &Entry) -> Option<&Suspect> {
        if entry.from_outer_ring() {
            return None;
        }
        let stack = self.stack_at(entry.frame.address)?;
        self.suspects.iter().find(|suspect| {
            entry.frame.end() <= suspect.victim.frame.address
                && self.live.contains_key(&suspect.victim.sequence)
                && self.stack_at(suspect.victim.frame.address) == Some(stack)
        })
    }

    /// The same at the return that pops what the neighbour has left there.
    pub(super) fn overgrown_at_return(&self, returning: &Return) -> Option<&Suspect> {
        self.suspects.iter().find(|suspect| {
            suspect.victim.popped_from() == returning.frame.address
                && self.live.contains_key(&suspect.victim.sequence)
                && suspect.damage.words.iter().all(|(word, _, is)| {
                    // Where CS makes a return to the same ring of it, two words are not popped.
                    returning.frame.get(*word).is_none_or(|popped| popped == *is)
                })
        })
    }

    /// The top of the stack on which an outer ring was left last.
    pub(super) fn running(&self) -> Option<u32> {
        self.running
    }

    /// How many frames and stacks have been looked at.
    #[cfg(test)]
    pub(super) fn visited(&self) -> u64 {
        self.visited.get()
    }

    #[inline]
    fn visit(&self) {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
    }

    /// No stack is larger: the least distance between two tops.
    pub(super) fn largest(&self) -> u32 {
        let least = self.gaps.keys().next().copied();
        least.unwrap_or(LARGEST_STACK).min(LARGEST_STACK)
    }

    #[inline]
    fn stack_at(&self, address: u32) -> Option<usize> {
        self.visit();
        let (top, index) = self.tops.range(address..).next()?;
        (top - address <= self.largest()).then_some(*index)
    }

    fn stack_with_top(&mut self, top: u32) -> usize {
        if let Some(index) = self.tops.get(&top) {
            return *index;
        }
        let task = TaskId(self.stacks.len() as u32 + 1);
        let index = self.stacks.len();
        self.stacks.push(StackUse { task, top, lowest: top, entries: 0, deepest: 0 });
        self.add_top(top, index);
        index
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

    /// A frame made by hand may lie on another stack than the one that its task is going to enter the
    /// kernel on: where the first entry lands is that. A stack that was seen before stays as it is.
    fn move_unused(&mut self, task: TaskId, top: u32) {
        let index = task.0 as usize - 1;
        let Some(stack) = self.stacks.get(index).copied() else { return };
        if self.tops.contains_key(&top) || stack.entries > 0 {
            return;
        }
        self.remove_top(stack.top);
        self.stacks[index].top = top;
        self.stacks[index].lowest = top;
        self.add_top(top, index);
    }

    /// Frames are popped out of records: what was taken for the stacks of tasks were those.
    fn forget_unused_stacks(&mut self) {
        while let Some(stack) = self.stacks.last().copied().filter(|stack| stack.entries == 0) {
            self.remove_top(stack.top);
            self.stacks.pop();
        }
    }

    fn insert(&mut self, live: LiveFrame) {
        if let Some(physical) = live.frame.physical {
            self.by_physical.insert(physical, live.sequence);
        }
        self.by_linear.insert((live.frame.address, live.sequence), ());
        self.live.insert(live.sequence, live);
    }

    fn remove(&mut self, sequence: u64) -> Option<LiveFrame> {
        let live = self.live.remove(&sequence)?;
        if let Some(physical) = live.frame.physical
            && self.by_physical.get(&physical) == Some(&sequence)
        {
            self.by_physical.remove(&physical);
        }
        self.by_linear.remove(&(live.frame.address, sequence));
        Some(live)
    }

    /// The live frames on the stack with this number, below `end`.
    fn on_stack(&self, index: usize, end: u32) -> Vec<u64> {
        let top = self.stacks[index].top;
        let lowest = top.saturating_sub(self.largest());
        let end = end.min(top);
        if lowest >= end {
            return Vec::new();
        }
        self.by_linear
            .range((lowest, 0)..(end, 0))
            .inspect(|_| self.visit())
            .filter(|((address, _), ())| self.stack_at(*address) == Some(index))
            .map(|((_, sequence), ())| *sequence)
            .collect()
    }

    /// Takes a task switch by hardware in; the task that goes on.
    pub(super) fn switch(&mut self, switch: &TaskSwitch) -> TaskId {
        self.last_return = None;
        self.running = None;
        let left = switch.before.stack_address();
        if let Some(index) = self.stack_at(left) {
            self.stacks[index].lowest = self.stacks[index].lowest.min(left);
        }
        let kernel_stack = &switch.kernel_stack;
        let index = self.stack_with_top(kernel_stack.end());
        self.switched = switch.ring() > switch.before.cpl();
        // A task that goes on in an outer ring has an empty kernel stack. If another one was suspended
        // there, its frame is gone, unless it still lies there: then the next entry will destroy it.
        if self.switched {
            let frames = self.on_stack(index, kernel_stack.end());
            let suspended = |sequence: &u64| {
                self.live.get(sequence).is_some_and(|live| {
                    live.frame.end() == kernel_stack.end() && live.frame.pops_as(kernel_stack)
                })
            };
            if !frames.iter().any(suspended) {
                for sequence in frames {
                    self.remove(sequence);
                }
            }
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
        if self.misses_return(entry) {
            self.missed += 1;
        }
        let glance = std::mem::take(&mut self.glance);
        if glance.words_are_kept == Some(true) && !self.copies_frames {
            self.copies_frames = true;
            self.forget_unused_stacks();
        }
        if let Some(used) = self.overgrown_at_entry(entry).map(|used| used.victim.sequence) {
            self.forget(used);
        }
        self.suspect(glance.damage);
        self.switched = false;
        self.fresh_stack = None;
        if self.refusal.take().is_none() {
            self.refused_at = None;
        }
        let returned = self.last_return.take();
        if let Some(stack) = entry.inner_stack
            && self.esp0.is_none_or(|change| change.esp0 != stack.esp)
        {
            self.esp0 = Some(Esp0Change { esp0: stack.esp, sequence: entry.sequence });
        }
        let index = if entry.from_outer_ring() {
            // Who runs is who was returned to, whatever the TSS says.
            let top = entry.inner_stack.map(|stack| entry.after.ss().base.wrapping_add(stack.esp));
            match returned.filter(|last| last.ring > entry.after.cpl() && !self.copies_frames) {
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
            let gone: Vec<u64> = self.overlapping(start, end).map(|live| live.sequence).collect();
            for sequence in gone {
                if let Some(live) = self.remove(sequence).filter(LiveFrame::from_outer_ring) {
                    if self.overwritten.len() == COPIES {
                        self.overwritten.pop_front();
                    }
                    self.overwritten.push_back(live);
                }
            }
        }
        let task = index.and_then(|index| self.stacks.get(index)).map(|stack| stack.task);
        if entry.kind == Kind::Software {
            let call = Call { sequence: entry.sequence, task, frame: entry.frame };
            if self.calls.len() < CALLS {
                self.calls.push(call);
            } else {
                self.calls[entry.sequence as usize % CALLS] = call;
            }
        }
        let [es, _, _, ds, fs, gs] = entry.after.segments.each_ref().map(|one| one.selector);
        self.insert(LiveFrame {
            sequence: entry.sequence,
            task,
            kind: entry.kind,
            vector: entry.vector,
            address_space: entry.after.cr3,
            frame: entry.frame,
            registers: entry.after.general,
            selectors: [es, ds, fs, gs],
            handler: entry.after.instruction_address(),
            behind_halt: glance.behind_halt,
            above: glance.above,
        });
        if let Some(index) = self.stack_at(entry.frame.address) {
            let depth = match self.live.len() {
                1 => 1,
                _ => self.on_stack(index, u32::MAX).len() as u32,
            };
            let stack = &mut self.stacks[index];
            stack.entries += 1;
            stack.lowest = stack.lowest.min(entry.frame.address);
            stack.deepest = stack.deepest.max(depth);
            if entry.from_outer_ring() {
                self.running = Some(stack.top);
            }
        }
        if self.copies_frames { None } else { task }
    }

    /// Takes a return in; the task that it resumes.
    #[inline]
    pub(super) fn leave(&mut self, returning: &Return) -> Option<TaskId> {
        let glance = std::mem::take(&mut self.glance);
        if let Some(used) = self.overgrown_at_return(returning).map(|used| used.victim.sequence) {
            self.forget(used);
        }
        self.suspect(glance.damage);
        self.fresh_stack = glance.fresh_stack;
        let frame = &returning.frame;
        let ring = returning.ring();
        let outer = ring > returning.state.cpl();
        let pair = self.pair(returning).map(|pair| (*pair.pushed, pair.in_place));
        let in_place = pair.is_some_and(|(_, in_place)| in_place);
        // Code that was interrupted, or faulted, goes on: nobody else has its words.
        // A frame made anew deeper on the same stack is still that stack's.
        let copied = pair.is_some_and(|(pushed, in_place)| {
            !in_place
                && pushed.kind != Kind::Software
                && pushed.frame.pops_as(frame)
                && self.stack_at(pushed.frame.address) != self.stack_at(frame.address)
        });
        if copied && !self.copies_frames {
            self.copies_frames = true;
            self.forget_unused_stacks();
        }
        self.undo.removed.clear();
        self.undo.last_switch = self.last_switch;
        self.undo.running = self.running;
        let known = self.stacks.len();
        let index = match pair {
            _ if !outer => self.stack_at(frame.address),
            Some((pushed, false)) => self.stack_at(pushed.frame.address),
            _ if self.copies_frames && !in_place => None,
            _ => Some(self.stack_with_top(frame.end())),
        };
        self.undo.created = self.stacks.len() > known;
        if let Some(index) = self.stack_at(frame.address) {
            let stack = &mut self.stacks[index];
            stack.lowest = stack.lowest.min(frame.address);
        }
        // Gone are the frame that is popped, and what lies lower on its stack: that was abandoned.
        if !self.live.is_empty() {
            let mut gone: Vec<u64> = Vec::new();
            if let Some((pushed, _)) = pair {
                gone.push(pushed.sequence);
            }
            if let Some((start, end)) =
                frame.physical.map(|start| (start, start + u64::from(frame.shape.size())))
            {
                let elsewhere =
                    self.overlapping(start, end).filter(|live| is_elsewhere(live, frame));
                gone.extend(elsewhere.map(|live| live.sequence));
            }
            if let Some(index) = index {
                let end = match pair {
                    Some((pushed, false)) => pushed.frame.end(),
                    _ => frame.end(),
                };
                gone.extend(self.on_stack(index, end));
            }
            for sequence in gone {
                if let Some(live) = self.remove(sequence) {
                    self.undo.removed.push(live);
                }
            }
        }
        if let Some((pushed, false)) = pair {
            self.overwritten.retain(|live| live.sequence != pushed.sequence);
        }
        let task = index.map(|index| self.stacks[index].task).filter(|_| !self.copies_frames);
        if let (true, Some(task)) = (outer, task)
            && self.last_switch.is_none_or(|(last, _)| last != task)
        {
            self.last_switch = Some((task, returning.after_sequence));
        }
        if outer {
            self.running = None;
        }
        self.last_return = Some(LastReturn {
            ring,
            stack_end: frame.end(),
            ss: returning.state.ss().selector,
            of_entry: pair.is_some_and(|(pushed, in_place)| in_place && pushed.from_outer_ring()),
            of_copy: pair.is_some_and(|(_, in_place)| !in_place),
            task,
            state: returning.state,
            frame: *frame,
        });
        task
    }

    /// The return that `entry` says was refused: the fault points at the IRET, in the ring that was to be
    /// left.
    pub fn refused_by(&self, entry: &Entry) -> Option<&LastReturn> {
        let last = self.last_return.as_ref()?;
        let refused = entry.kind == Kind::Fault
            && entry.origin.ring == last.state.cpl()
            && entry.frame.get(Word::Eip) == Some(last.state.eip)
            && entry.frame.selector(Word::Cs) == Some(last.state.cs().selector);
        refused.then_some(last)
    }

    /// The last return was refused: nothing was popped.
    pub(super) fn take_back(&mut self) {
        let Some(last) = self.last_return.take() else { return };
        self.refused += 1;
        self.refused_again = self.refused_at.filter(|at| *at == last.state.eip);
        self.refused_at = Some(last.state.eip);
        for live in std::mem::take(&mut self.undo.removed) {
            self.insert(live);
        }
        self.last_switch = self.undo.last_switch;
        self.running = self.undo.running;
        if std::mem::take(&mut self.undo.created)
            && let Some(stack) = self.stacks.pop()
        {
            self.remove_top(stack.top);
        }
        self.refusal = Some(last);
    }
}

/// The same CS:EIP and SS:ESP. Of selectors IRET ignores the upper halves.
fn goes_to_the_same_place(pushed: &Frame, popped: &Frame) -> bool {
    let shape = |frame: &Frame| (frame.shape.changes_stack, frame.shape.from_virtual_8086);
    shape(pushed) == shape(popped)
        && pushed.complete()
        && popped.complete()
        && pushed.get(Word::Eip) == popped.get(Word::Eip)
        && pushed.get(Word::Esp) == popped.get(Word::Esp)
        && pushed.selector(Word::Cs) == popped.selector(Word::Cs)
        && pushed.selector(Word::Ss) == popped.selector(Word::Ss)
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
