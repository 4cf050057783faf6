//! How an entry, a return and a task switch change what is remembered.

use super::frames::{LiveFrame, Slot, is_elsewhere};
use super::stacks::TaskId;
use super::suspects::Suspect;
use super::suspended::Suspended;
use super::{CALLS, COPIES, Call, Esp0Change, History, LastReturn, Pair, SUSPENDED};
use crate::check::glance::Damage;
use crate::entry::{Entry, Kind, Return, SwitchCause, TaskSwitch};
use ia32::{General, Word};

/// What the last return has changed, for the case that it is refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Undo {
    /// The frames that it took out.
    removed: Vec<Slot>,
    last_switch: Option<(TaskId, u64)>,
    running: Option<u32>,
    created: bool,
    /// Where the kernel stack ends of the program that it began.
    begun: Option<u32>,
    popped_last: Option<u32>,
}

/// What is to be known of the entry whose frame a return pops.
#[derive(Clone, Copy, Debug)]
pub(in crate::check) struct Popped {
    sequence: u64,
    slot: Option<Slot>,
    /// It is popped where it was pushed.
    in_place: bool,
    /// The entry came from an outer ring.
    from_outer_ring: bool,
    /// The task that had entered.
    task: Option<TaskId>,
    /// Interrupted code goes on from a copy on another stack.
    is_copy: bool,
    /// The kernel's own code goes on in its place.
    idles: bool,
    /// Linear addresses of the frame as it was pushed.
    start: u32,
    end: u32,
}

impl History {
    fn suspect(&mut self, damage: Option<Box<Damage>>) {
        let Some(damage) = damage else { return };
        let top = damage.top;
        if self.frames.holds(damage.slot, damage.sequence) {
            let victim = *self.frames.at(damage.slot);
            self.suspects.add(Suspect { victim, damage: *damage, task: self.owner(top), top });
        }
    }

    /// A frame that was overgrown is needed by nobody any more.
    fn forget(&mut self, used: Option<(Slot, u64)>) {
        if let Some((slot, sequence)) = used {
            self.suspects.forget(sequence);
            self.frames.remove(slot);
        }
    }

    /// The live frames on the stack with this number, below `end`.
    #[inline]
    fn on_stack(&self, index: usize, end: u32) -> impl Iterator<Item = (Slot, &LiveFrame)> {
        let top = self.stacks.get(index).map_or(0, |stack| stack.top);
        let end = end.min(top);
        let lowest = top.saturating_sub(self.stacks.largest()).min(end);
        self.frames
            .within(lowest..end)
            .filter(move |(_, live)| self.stacks.at(live.frame.address) == Some(index))
    }

    /// The kernel has turned out to resume interrupted code from copies of its frames.
    fn frames_are_copied(&mut self) {
        if !self.copies_frames {
            self.copies_frames = true;
            self.stacks.forget_unused();
        }
    }

    /// Takes a task switch by hardware in; the task that goes on.
    pub(in crate::check) fn switch(&mut self, switch: &TaskSwitch) -> TaskId {
        self.last_return = None;
        self.running = None;
        self.suspended.remove(&switch.new_tss);
        if switch.cause == SwitchCause::Jump {
            let left = switch.before.stack_address();
            if let Some(index) = self.stacks.at(left) {
                self.stacks.reached(index, left);
            }
            self.suspend(switch);
        }
        let kernel_stack = &switch.kernel_stack;
        let index = self.stacks.number_of(kernel_stack.end());
        self.switched = switch.ring() > switch.before.cpl();
        // A task that goes on in an outer ring has an empty kernel stack. If another one was suspended
        // there, its frame is gone, unless it still lies there: then the next entry will destroy it.
        if self.switched {
            let frames: Vec<Slot> =
                self.on_stack(index, kernel_stack.end()).map(|(slot, _)| slot).collect();
            let suspended = |slot: &Slot| {
                let live = self.frames.at(*slot);
                live.frame.end() == kernel_stack.end() && live.frame.pops_as(kernel_stack)
            };
            if !frames.iter().any(suspended) {
                for slot in frames {
                    self.frames.remove(slot);
                }
            }
        }
        let task = self.stacks.task(index).unwrap_or(TaskId(0));
        if self.last_switch.is_none_or(|(last, _)| last != task) {
            self.last_switch = Some((task, switch.after_sequence));
        }
        task
    }

    /// The task that `switch` leaves is suspended in the kernel; the one that goes on is not any more.
    fn suspend(&mut self, switch: &TaskSwitch) {
        let (tss, left) = (switch.before.tr.base, switch.before.stack_address());
        self.suspended.remove(&tss);
        if switch.before.cpl() != 0 || switch.before.tr.selector().is_null() {
            return;
        }
        let Some(index) = self.stacks.at(left) else { return };
        let entries = self.on_stack(index, u32::MAX).map(|(_, live)| live);
        let own = entries
            .filter(|live| live.from_outer_ring() && live.tss == tss && left <= live.frame.address);
        if let Some(victim) = own.max_by_key(|live| live.sequence).copied()
            && self.suspended.len() < SUSPENDED
        {
            self.suspended.insert(tss, Suspended::by(switch, victim));
        }
    }

    /// Takes an entry by SYSENTER in; the task that was running.
    pub(in crate::check) fn sysenter(&mut self, registers: General) -> Option<TaskId> {
        // One right after another: the first was left by SYSEXIT.
        if self.sysentered {
            self.sysexits += 1;
        }
        self.sysentered = true;
        self.uses_sysenter = true;
        self.sysenter_esp = Some(registers.esp);
        self.sysentered_with = Some(registers);
        self.switched = false;
        self.refusal = None;
        self.refused_at = None;
        self.fresh_stack = None;
        self.edge = None;
        let task = self.last_return.take().and_then(|last| last.task);
        task.filter(|_| !self.copies_frames)
    }

    /// Takes an entry in; the task that was running.
    #[inline]
    pub(in crate::check) fn enter(&mut self, entry: &Entry) -> Option<TaskId> {
        let from_outer_ring = entry.from_outer_ring();
        if self.changed_esp0(entry).is_some() {
            self.mixed_at = Some(entry.sequence);
        }
        if self.misses_return(entry) {
            match self.sysentered {
                true => self.sysexits += 1,
                false => self.missed += 1,
            }
        }
        if from_outer_ring {
            self.sysentered = false;
            self.sysenter_esp = None;
        }
        self.refused_far = None;
        let glance = std::mem::take(&mut self.glance);
        self.astray = glance.behind_blank_handler;
        self.was_astray |= self.astray;
        if glance.words_are_kept == Some(true) {
            self.frames_are_copied();
        }
        self.data_segment_of.extend(glance.looked_at);
        self.looked_under.extend(glance.looked_under);
        let used = self.overgrown_at_entry(entry);
        self.forget(used.map(|used| (used.damage.slot, used.damage.sequence)));
        self.suspect(glance.damage);
        if from_outer_ring {
            let (top, moved) = (entry.frame.end(), glance.user_stack_moved);
            self.left_program(top, entry.sequence, glance.interrupted_stack, moved);
            self.edge = glance.edge;
        } else if glance.overrun.is_some() {
            self.edge = None;
        }
        self.switched = false;
        self.fresh_stack = None;
        if self.refusal.is_none() {
            self.refused_at = None;
        }
        self.refusal = None;
        // Who runs is who was returned to, whatever the TSS says.
        let resumed = self.last_return.as_ref().and_then(|last| {
            let task =
                last.task.filter(|_| last.ring > entry.after.cpl() && !self.copies_frames)?;
            Some((task, last.of_entry))
        });
        self.note_first_frame(entry);
        self.last_return = None;
        if let Some(stack) = entry.inner_stack
            && self.esp0.is_none_or(|change| change.esp0 != stack.esp)
        {
            self.esp0 = Some(Esp0Change { esp0: stack.esp, sequence: entry.sequence });
        }
        let index = if from_outer_ring {
            let top = entry.inner_stack.map(|stack| entry.after.ss().base.wrapping_add(stack.esp));
            match resumed {
                Some((task, of_entry)) => {
                    if let (false, Some(top)) = (of_entry, top) {
                        self.stacks.move_unused(task, top);
                    }
                    Some(task.0 as usize - 1)
                }
                None => top.map(|top| self.stacks.number_of(top)),
            }
        } else {
            self.stacks.at(entry.frame.address)
        };
        self.overwrite(entry);
        self.overwrites_called(entry);
        let task = index.and_then(|index| self.stacks.task(index));
        if entry.kind == Kind::Software {
            let call = Call { sequence: entry.sequence, task, frame: entry.frame };
            if self.calls.len() < CALLS {
                self.calls.push(call);
            } else {
                self.calls[entry.sequence as usize % CALLS] = call;
            }
        }
        let [es, _, _, ds, fs, gs] = entry.after.segments;
        self.frames.insert(LiveFrame {
            sequence: entry.sequence,
            task,
            kind: entry.kind,
            vector: entry.vector,
            address_space: entry.after.cr3,
            tss: entry.after.tr.base,
            frame: entry.frame,
            registers: entry.after.general,
            segments: [es, ds, fs, gs],
            handler: entry.after.instruction_address(),
            behind_halt: glance.behind_halt,
            below: glance.below,
        });
        if let Some(index) = self.stacks.at(entry.frame.address) {
            let depth = match self.frames.len() {
                1 => 1,
                _ => self.on_stack(index, u32::MAX).count() as u32,
            };
            self.stacks.reached(index, entry.frame.address);
            if let Some(stack) = self.stacks.get_mut(index) {
                stack.entries += 1;
                stack.deepest = stack.deepest.max(depth);
                if from_outer_ring {
                    self.running = Some(stack.top);
                }
            }
        }
        if self.copies_frames { None } else { task }
    }

    /// The processor has overwritten what lay where it pushed the frame of `entry`.
    fn overwrite(&mut self, entry: &Entry) {
        let Some(start) = entry.frame.physical.filter(|_| !self.frames.is_empty()) else { return };
        let mut gone = std::mem::take(&mut self.gone);
        let end = start + u64::from(entry.frame.shape.size());
        gone.extend(self.frames.overlapping(start, end).map(|(slot, _)| slot));
        for slot in gone.drain(..) {
            let live = *self.frames.at(slot);
            self.frames.remove(slot);
            if live.tss != entry.after.tr.base
                && let Some(suspended) = self.suspended.get_mut(&live.tss)
            {
                suspended.is_entered_upon(&live, entry.sequence);
            }
            if live.from_outer_ring() {
                if self.overwritten.len() == COPIES {
                    self.overwritten.pop_front();
                }
                self.overwritten.push_back(live);
            }
        }
        self.gone = gone;
    }

    /// What `pair` says of `returning`, beside its words.
    #[inline]
    pub(in crate::check) fn popped(&self, pair: Pair<'_>, returning: &Return) -> Popped {
        let Pair { pushed, in_place, slot } = pair;
        // Code that was interrupted, or faulted, goes on: nobody else has its words.
        // A frame made anew deeper on the same stack is still that stack's.
        let is_copy = !in_place
            && pushed.kind != Kind::Software
            && pushed.frame.pops_as(&returning.frame)
            && self.stacks.at(pushed.frame.address) != self.stacks.at(returning.frame.address);
        Popped {
            sequence: pushed.sequence,
            slot,
            in_place,
            from_outer_ring: pushed.from_outer_ring(),
            task: pushed.task,
            is_copy,
            idles: in_place && pushed.leads_into_the_kernel(returning),
            start: pushed.frame.address,
            end: pushed.frame.end(),
        }
    }

    /// The number of the stack on which the frame lay below the end: ESP0 was too low then. It is no other task's.
    fn sunk_stack(&self, popped: &Popped) -> Option<usize> {
        let task = popped.task.filter(|_| popped.from_outer_ring)?;
        let index =
            self.stacks.at(popped.end).filter(|_| self.stacks.ending_at(popped.end).is_none())?;
        (self.stacks.task(index) == Some(task)).then_some(index)
    }

    /// The number of the stack on which a frame was made for whoever runs on it: a task has replaced its program, and the
    /// kernel leaves from deep in the system call. ESP0 is still that stack's end, and the frame does not end with a page,
    /// as a new task's stack would.
    fn replaced_on(&self, returning: &Return) -> Option<usize> {
        const PAGE: u32 = 4096;
        let frame = &returning.frame;
        let next = returning.state.ss().base.wrapping_add(self.way_back_of?.stack?.esp);
        let top = self.running.filter(|top| *top == next && frame.end() < *top)?;
        let index = self.stacks.at(frame.address)?;
        let is_its_own = self.stacks.get(index)?.top == top;
        (is_its_own && !frame.end().is_multiple_of(PAGE)).then_some(index)
    }

    /// Takes a return in that pops the frame of `popped`; the task that it resumes.
    #[inline]
    pub(in crate::check) fn leave(
        &mut self,
        returning: &Return,
        popped: Option<Popped>,
    ) -> Option<TaskId> {
        let glance = std::mem::take(&mut self.glance);
        let frame = &returning.frame;
        let ring = returning.ring();
        let outer = ring > returning.state.cpl();
        let used = self.overgrown_at_return(returning);
        self.forget(used.map(|used| (used.damage.slot, used.damage.sequence)));
        self.suspect(glance.damage);
        self.fresh_stack = glance.fresh_stack;
        if glance.way_back_of.is_some() {
            self.way_back_of = glance.way_back_of;
        }
        if glance.overrun.is_some() || outer {
            self.edge = None;
        }
        if popped.is_some_and(|popped| popped.is_copy) {
            self.frames_are_copied();
        }
        if popped.is_some_and(|popped| popped.idles) {
            self.idle = frame.get(Word::Eip);
        }
        // Nothing of the return before can be taken back any more.
        for slot in self.undo.removed.drain(..) {
            self.frames.release(slot);
        }
        self.undo.last_switch = self.last_switch;
        self.undo.running = self.running;
        let known = self.stacks.all().len();
        let in_place = popped.is_some_and(|popped| popped.in_place);
        let elsewhere = popped.filter(|popped| !popped.in_place);
        let own = self.stacks.at(frame.address);
        let index = match elsewhere {
            _ if !outer => own,
            Some(popped) => self.stacks.at(popped.start),
            None if self.copies_frames && !in_place => None,
            None => {
                let known = match popped {
                    Some(popped) => self.sunk_stack(&popped),
                    None => self.replaced_on(returning),
                };
                Some(known.unwrap_or_else(|| self.stacks.number_of(frame.end())))
            }
        };
        self.undo.created = self.stacks.all().len() > known;
        // A stack that has only just become known begins here.
        let own = if self.undo.created { self.stacks.at(frame.address) } else { own };
        if let Some(index) = own {
            self.stacks.reached(index, frame.address);
        }
        self.abandon(returning, popped, index);
        self.abandons_called(returning);
        if let Some(popped) = elsewhere {
            self.overwritten.retain(|live| live.sequence != popped.sequence);
        }
        let task = index.and_then(|index| self.stacks.task(index)).filter(|_| !self.copies_frames);
        if let (true, Some(task)) = (outer, task)
            && self.last_switch.is_none_or(|(last, _)| last != task)
        {
            self.last_switch = Some((task, returning.after_sequence));
        }
        self.undo.begun = glance.begun_program.as_ref().map(|begun| begun.top);
        if let Some(begun) = glance.begun_program {
            self.user_stacks.begin(*begun);
        }
        if let Some(shared) = &glance.shared_user_stack {
            self.told_of_user_stack(shared);
        }
        self.undo.popped_last = self.popped_last;
        if outer {
            self.popped_last = Some(frame.address);
            self.running = None;
            self.sysentered = false;
        }
        self.last_return = Some(LastReturn {
            ring,
            stack_end: frame.end(),
            ss: returning.state.ss().selector,
            of_entry: popped.is_some_and(|popped| popped.in_place && popped.from_outer_ring),
            of_copy: elsewhere.is_some(),
            overwrites_itself: glance.reset.is_some() || self.is_overwritten_by_call(returning),
            task,
            state: returning.state,
            frame: *frame,
        });
        task
    }

    /// Gone are the frame that is popped, and what lies lower on its stack, which has this number.
    fn abandon(&mut self, returning: &Return, popped: Option<Popped>, index: Option<usize>) {
        if self.frames.is_empty() {
            return;
        }
        let frame = &returning.frame;
        let mut gone = std::mem::take(&mut self.gone);
        gone.extend(popped.and_then(|popped| {
            popped.slot.filter(|slot| self.frames.holds(*slot, popped.sequence))
        }));
        // No two live frames share a byte, so where one is popped no other lies.
        let in_place = popped.is_some_and(|popped| popped.in_place);
        if let Some(start) = frame.physical.filter(|_| !in_place) {
            let overlapping = self.frames.overlapping(start, start + u64::from(frame.shape.size()));
            let elsewhere = overlapping.filter(|(_, live)| is_elsewhere(live, frame));
            gone.extend(elsewhere.map(|(slot, _)| slot));
        }
        if let Some(index) = index {
            let end = match popped {
                Some(popped) if !popped.in_place => popped.end,
                _ => frame.end(),
            };
            gone.extend(self.on_stack(index, end).map(|(slot, _)| slot));
        }
        for slot in gone.drain(..) {
            if self.undo.removed.contains(&slot) {
                continue;
            }
            self.frames.take_out(slot);
            self.undo.removed.push(slot);
        }
        self.gone = gone;
    }

    /// The last return was refused: nothing was popped.
    pub(in crate::check) fn take_back(&mut self) {
        let Some(last) = self.last_return.take() else { return };
        self.refused += 1;
        self.refused_again = self.refused_at.filter(|at| *at == last.state.eip);
        self.refused_at = Some(last.state.eip);
        for slot in self.undo.removed.drain(..) {
            self.frames.put_back(slot);
        }
        self.last_switch = self.undo.last_switch;
        self.running = self.undo.running;
        self.popped_last = self.undo.popped_last;
        if let Some(top) = self.undo.begun.take() {
            self.user_stacks.not_begun(top);
        }
        if std::mem::take(&mut self.undo.created) {
            self.stacks.forget_last();
        }
        self.refusal = Some(last);
    }
}
