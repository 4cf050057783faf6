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
//! ```text
//!  called     what call gates have pushed
//!  stacks     where each stack is empty, and whose it is
//!  first_frame  where a new task's first frame lay, by its ESP0
//!  frames     what was pushed and not yet popped, by address
//!  suspects   frames that a neighbour's stack has grown over
//!  user_stacks  where programs were begun, and which of them have one stack
//!  suspended  what tasks were left with that a switch by hardware has suspended in the kernel
//!  taken_in   how an entry, a return and a task switch change all that
//! ```
//! What is looked up at each stop is ordered by address, so a stop costs the logarithm of the number of
//! stacks, and not more.

mod by_gate;
mod called;
mod first_frame;
pub(super) mod frames;
mod stacks;
mod suspects;
mod suspended;
mod taken_in;
mod user_stacks;

pub(super) use first_frame::FirstFrame;
pub use frames::LiveFrame;
pub use stacks::{StackUse, TaskId};
pub(super) use suspects::Suspect;
use suspended::Suspended;

use super::glance::{Edge, FreshStack, Glance};
use super::objects::Objects;
use super::way_back;
use crate::entry::{Entry, Frame, Kind, Return, TaskSwitch};
use by_gate::ByGate;
use called::Called;
use frames::{Frames, Slot};
use ia32::{General, State, Word};
use stacks::{LARGEST_STACK, Stacks};
use std::collections::{BTreeMap, VecDeque};
use suspects::Suspects;
use taken_in::Undo;
use user_stacks::UserStacks;

/// The entry whose frame a return pops.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The frame as it was pushed.
    pub pushed: &'a LiveFrame,
    /// It is popped where it was pushed. Else it is told by CS:EIP and SS:ESP: a copy, or a frame made
    /// anew.
    pub in_place: bool,
    /// Where the frame stands among the live ones; none if it was overwritten.
    slot: Option<Slot>,
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
    /// It popped a frame that its own handler has overwritten, or one that has been told of in another way.
    pub(super) overwrites_itself: bool,
    /// The state in front of the IRET.
    pub state: State,
    /// The words that it was going to pop.
    pub frame: Frame,
}

impl LastReturn {
    /// It goes to an outer ring by a frame that no entry has pushed.
    pub(super) fn begins_program(&self) -> bool {
        self.ring > self.state.cpl() && !self.of_entry && !self.of_copy
    }
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
/// How many overwritten frames are remembered, and how many live ones are held against a return that pops
/// none where it was pushed: tasks that take turns.
const COPIES: usize = 64;
/// How many tasks are remembered that a switch by hardware has suspended.
const SUSPENDED: usize = 4096;

/// All that is remembered.
#[derive(Clone, Debug, Default)]
pub struct History {
    stacks: Stacks,
    frames: Frames,
    /// Frames that entries have overwritten, oldest first: their words may live on in a copy.
    overwritten: VecDeque<LiveFrame>,
    /// The latest, in a ring.
    calls: Vec<Call>,
    last_return: Option<LastReturn>,
    undo: Undo,
    /// Kept between events, so that a return allocates nothing.
    gone: Vec<Slot>,
    esp0: Option<Esp0Change>,
    /// Of the last task that was begun with a frame made by hand, and has entered since.
    first_frame: Option<FirstFrame>,
    last_switch: Option<(TaskId, u64)>,
    /// The top of the stack on which an outer ring was left last, until it is returned to.
    running: Option<u32>,
    /// Where the last return to an outer ring popped its frame.
    popped_last: Option<u32>,
    /// An outer ring was reached by a task switch.
    switched: bool,
    copies_frames: bool,
    /// Ring 0 was entered by SYSENTER, and no gate or IRET has been seen since.
    sysentered: bool,
    /// The ESP that SYSENTER has loaded, until ring 0 is entered from an outer ring in another way.
    sysenter_esp: Option<u32>,
    /// The general registers at the last SYSENTER.
    sysentered_with: Option<General>,
    sysexits: u64,
    uses_sysenter: bool,
    /// The last interrupt that found another ESP0 than the stack's that the kernel runs on.
    mixed_at: Option<u64>,
    /// Where the kernel's own code begins that a frame of an outer ring was last made to lead to.
    idle: Option<u32>,
    /// Where the stacks end on which frames of more than one task have been told to lie.
    shared_stacks: Vec<u32>,
    missed: u64,
    refused: u64,
    /// The return that this entry says was refused.
    refusal: Option<LastReturn>,
    /// Where the IRET stands that was refused last, while no other event has come between.
    refused_again: Option<u32>,
    refused_at: Option<u32>,
    /// A gate has led to where there is no code, and nothing has returned since.
    astray: bool,
    was_astray: bool,
    /// ESP0 at the last return, if no entry was on it yet.
    fresh_stack: Option<Box<FreshStack>>,
    objects: Objects,
    /// What decided about the way back into ring 0 at the last return to an outer ring.
    way_back_of: Option<way_back::Key>,
    /// The low end of the stack that runs.
    edge: Option<Box<Edge>>,
    suspects: Suspects,
    user_stacks: UserStacks,
    /// Handlers whose use of DS has been looked at.
    data_segment_of: Vec<u32>,
    /// CR3 and page of the stacks that have been looked at for tables under them.
    looked_under: Vec<(u32, u32)>,
    /// Tasks that a switch by hardware has suspended in the kernel, by their TSS.
    suspended: BTreeMap<u32, Suspended>,
    glance: Glance,
    /// Entries by call gates that have not been left yet, the latest last.
    called: Vec<Called>,
    /// Tasks that were entered by task gates.
    by_gates: Vec<ByGate>,
    /// Linear addresses of frames that call gates have overwritten, which has been told.
    overwritten_by_calls: Vec<(u32, u32)>,
    /// Where the far RET stands that was wrong.
    refused_far: Option<u32>,
}

impl History {
    /// The kernel stacks seen, by task number.
    pub fn stacks(&self) -> &[StackUse] {
        self.stacks.all()
    }

    /// Frames that were pushed and not yet popped, oldest first.
    pub fn live(&self) -> impl DoubleEndedIterator<Item = &LiveFrame> + ExactSizeIterator {
        self.frames.iter().map(|(_, live)| live)
    }

    /// The return just before, if nothing has been entered since.
    pub fn last_return(&self) -> Option<&LastReturn> {
        self.last_return.as_ref()
    }

    /// When ESP0 got its present value.
    pub fn esp0_change(&self) -> Option<Esp0Change> {
        self.esp0
    }

    /// A gate has led to where there is no code, and what came since are no entries.
    pub(super) fn is_astray(&self) -> bool {
        self.astray
    }

    /// The same, at any time in this run.
    pub(super) fn was_astray(&self) -> bool {
        self.was_astray
    }

    /// The end of the stack on which an outer ring was left last, until it is returned to.
    pub(super) fn running_top(&self) -> Option<u32> {
        self.running
    }

    /// The task on whose stack `address` lies.
    pub fn owner(&self, address: u32) -> Option<TaskId> {
        self.stacks.at(address).and_then(|index| self.stacks.task(index))
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

    /// Ways out to an outer ring that nobody saw, after an entry by SYSENTER: by SYSEXIT, then.
    pub fn sysexits(&self) -> u64 {
        self.sysexits
    }

    /// SYSENTER has been seen.
    pub(super) fn came_by_sysenter(&self) -> bool {
        self.uses_sysenter
    }

    /// The ESP that SYSENTER has loaded, where that was the last way in from an outer ring.
    pub(super) fn sysenter_esp(&self) -> Option<u32> {
        self.sysenter_esp
    }

    /// The general registers at the last SYSENTER.
    pub(super) fn sysentered_with(&self) -> Option<General> {
        self.sysentered_with
    }

    /// IRETs that the processor refused.
    pub fn refused_returns(&self) -> u64 {
        self.refused
    }

    /// What decided about the way back at the last return to an outer ring.
    pub(super) fn way_back_of(&self) -> Option<way_back::Key> {
        self.way_back_of
    }

    /// The low end of the stack that runs, as it was when it was entered.
    pub(super) fn edge(&self) -> Option<&Edge> {
        self.edge.as_deref()
    }

    /// What lay around ESP0 at the last return, if no entry was on it before.
    pub(super) fn fresh_stack(&self) -> Option<&FreshStack> {
        self.fresh_stack.as_deref()
    }

    /// Whether it has been looked at what DS the code of `handler` uses. Of more than a table of gates has, nothing is.
    pub(super) fn has_data_segment_of(&self, handler: u32) -> bool {
        self.data_segment_of.len() >= 256 || self.data_segment_of.contains(&handler)
    }

    /// Whether it has been looked at what that page of a stack is, in that address space. Of more than 256, nothing is.
    pub(super) fn has_looked_under(&self, key: (u32, u32)) -> bool {
        self.looked_under.contains(&key) || self.looked_under.len() >= 256
    }

    /// Whether an entry from an outer ring was on the stack with this top.
    pub(super) fn was_entered(&self, top: u32) -> bool {
        self.stacks.ending_at(top).is_some_and(|stack| stack.entries > 0)
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
        self.live_within(start, start + u64::from(frame.shape.size()))
    }

    /// The live frame that has a byte at these physical addresses, the newest if there are several.
    pub(super) fn live_within(&self, start: u64, end: u64) -> Option<&LiveFrame> {
        let overlapping = self.frames.overlapping(start, end).map(|(_, live)| live);
        overlapping.max_by_key(|live| live.sequence)
    }

    /// The entry whose frame `returning` pops: the one pushed there, or the newest from an outer ring that
    /// has all its words, or failing that its CS:EIP and SS:ESP, in the same address space.
    pub fn pair(&self, returning: &Return) -> Option<Pair<'_>> {
        if let Some((slot, pushed)) = self.frames.pushed_at(&returning.frame) {
            return Some(Pair { pushed, in_place: true, slot: Some(slot) });
        }
        if returning.ring() <= returning.state.cpl() {
            return None;
        }
        let frame = &returning.frame;
        let candidates = || {
            let live = self.frames.iter().rev().take(COPIES).map(|(slot, live)| (Some(slot), live));
            live.chain(self.overwritten.iter().rev().map(|live| (None, live)))
                .inspect(|_| self.frames.visit())
                .filter(|(_, live)| live.address_space == returning.state.cr3)
        };
        candidates()
            .find(|(_, live)| live.frame.pops_as(frame))
            .or_else(|| candidates().find(|(_, live)| goes_to_the_same_place(&live.frame, frame)))
            .map(|(slot, pushed)| Pair { pushed, in_place: false, slot })
    }

    /// No stack is larger: the least distance between two tops.
    pub(super) fn largest(&self) -> u32 {
        self.stacks.largest()
    }

    /// How many frames and stacks have been looked at.
    #[cfg(test)]
    pub(super) fn visited(&self) -> u64 {
        self.stacks.visited() + self.frames.visited()
    }

    /// Whether `frame` has the words of a system call that another task has made since `pushed`: so
    /// has the frame of a child that it made.
    pub fn is_copied(&self, frame: &Frame, pushed: &LiveFrame) -> bool {
        self.calls.iter().any(|call| {
            call.sequence > pushed.sequence && call.task != pushed.task && call.frame.pops_as(frame)
        })
    }

    /// The top frame of the stack right below the one that ends at `end`: what an overflow would meet first.
    pub(super) fn neighbour(&self, end: u32) -> Option<(Slot, &LiveFrame)> {
        let top = self.stacks.below(end).filter(|_| !self.copies_frames)?;
        if end - top > LARGEST_STACK {
            return None;
        }
        self.entered_at(top)
    }

    /// The frame by which an outer ring was left on the stack that ends at `top`.
    fn entered_at(&self, top: u32) -> Option<(Slot, &LiveFrame)> {
        let mut on_top = self.frames.within(top.saturating_sub(40)..top);
        on_top.find(|(_, live)| live.frame.end() == top).filter(|(_, live)| live.from_outer_ring())
    }

    /// The frame by which an outer ring was left last, until it is returned to.
    pub(super) fn running_frame(&self) -> Option<&LiveFrame> {
        self.entered_at(self.running?).map(|(_, live)| live)
    }

    /// The frame with this place on its stack that was overgrown and is still to be popped: the kernel goes
    /// on below it.
    pub(super) fn overgrown_at_entry(&self, entry: &Entry) -> Option<&Suspect> {
        if entry.from_outer_ring() {
            return None;
        }
        let stack = self.stacks.at(entry.frame.address)?;
        self.suspects.iter().find(|suspect| {
            entry.frame.end() <= suspect.victim.frame.address
                && self.frames.holds(suspect.damage.slot, suspect.victim.sequence)
                && self.stacks.at(suspect.victim.frame.address) == Some(stack)
        })
    }

    /// The same at the return that pops what the neighbour has left there.
    pub(super) fn overgrown_at_return(&self, returning: &Return) -> Option<&Suspect> {
        self.suspects.iter().find(|suspect| {
            suspect.victim.popped_from() == returning.frame.address
                && self.frames.holds(suspect.damage.slot, suspect.victim.sequence)
                && suspect.damage.words.iter().all(|(word, _, is)| {
                    // Where CS makes a return to the same ring of it, two words are not popped.
                    returning.frame.get(*word).is_none_or(|popped| popped == *is)
                })
        })
    }

    /// The ESP0 that `entry` finds while the kernel still runs on the stack that it was entered on last, if that is
    /// another: the kernel may be in the middle of a switch.
    #[inline]
    fn changed_esp0(&self, entry: &Entry) -> Option<u32> {
        let external = entry.kind == Kind::External && !entry.from_outer_ring();
        let running = self.running.filter(|_| external && !self.copies_frames)?;
        let esp0 = entry.after.ss().base.wrapping_add(entry.inner_stack?.esp);
        if esp0 == running {
            return None;
        }
        let own = self.stacks.get(self.stacks.at(entry.frame.address)?)?;
        (own.top == running && self.stacks.at(esp0) != self.stacks.at(running)).then_some(esp0)
    }

    /// The same where ESP0 is known for the end of another task's stack: it is in the middle of one.
    #[inline]
    pub(super) fn within_switch(&self, entry: &Entry) -> Option<u32> {
        let known = |esp0: &u32| self.stacks.ending_at(*esp0).is_some_and(|one| one.entries > 0);
        self.changed_esp0(entry).filter(known)
    }

    /// The kernel idles at this EIP: it has made a task's frame lead there.
    pub(super) fn idles_at(&self, eip: Option<u32>) -> bool {
        eip.is_some() && self.idle == eip
    }

    /// A finding says that `entry` is on another task's stack: from now on it, and the stack that it should have
    /// been on, hold frames of both.
    pub(super) fn stacks_are_shared_at(&mut self, entry: &Entry) {
        const MOST: usize = 64;
        let rightful = self.last_return.map(|last| last.stack_end);
        for end in [Some(entry.frame.end()), rightful].into_iter().flatten() {
            if self.shared_stacks.len() < MOST && !self.shared_stacks.contains(&end) {
                self.shared_stacks.push(end);
            }
        }
    }

    /// The pair's frame lies at the end of a stack that several tasks use, which has been told: what it
    /// holds may be of any of them, and says nothing of the handler that returns by it.
    pub(super) fn may_be_of_another_task(&self, pair: &Pair<'_>) -> bool {
        self.shared_stacks.contains(&pair.pushed.frame.end())
    }

    /// The last interrupt that found another ESP0 than the stack's that the kernel runs on: within a switch. None if what
    /// is seen at entry `sequence` comes too late to come of it.
    pub(super) fn mixed_before(&self, sequence: u64) -> Option<u64> {
        const SOON: u64 = 8;
        self.mixed_at.filter(|mixed| sequence.saturating_sub(*mixed) <= SOON)
    }

    /// The task that `switch` resumes where an earlier one has suspended it in the kernel, and the entry that another task
    /// has pushed over its frame meanwhile.
    pub(super) fn entered_upon(&self, switch: &TaskSwitch) -> Option<(&LiveFrame, u64)> {
        let suspended = self.suspended.get(&switch.new_tss)?;
        suspended.found_damaged_by(switch).filter(|_| !self.copies_frames)
    }

    /// Where the last return to an outer ring popped its frame.
    pub(super) fn popped_last(&self) -> Option<u32> {
        self.popped_last
    }

    /// The top of the stack on which an outer ring was left last.
    pub(super) fn running(&self) -> Option<u32> {
        self.running
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
