//! Between two exits, for whoever wants to see what lies there: the guest is stepped, and so reaches the place of its
//! preemption.

use super::MOST_STEPS;
use crate::machine::{Exit, MachineError, MemoryImage, time_on_processor};
use crate::recording::{RecordedState, unpack};
use crate::run::departure::Departure;
use crate::run::{Run, Turn};
use ia32::{Eflags, State};

/// A recorded state that the guest is stepped towards.
#[derive(Debug)]
pub(super) struct Awaited {
    exits: u64,
    state: State,
    memory: MemoryImage,
    /// The pages that changed since the state before.
    pages: Vec<usize>,
}

impl Awaited {
    fn has_registers_of(&self, now: &State) -> bool {
        let seen = |state: &State| {
            let selectors = state.segments.map(|segment| segment.selector);
            let flags = state.eflags.without(Eflags::RF).without(Eflags::TF);
            (state.general, state.eip, flags, selectors, state.cr0, state.cr2, state.cr3)
        };
        seen(&self.state) == seen(now)
    }
}

impl Run {
    /// Somebody wants to see what lies between two exits: the guest is stepped, and comes to where it was preempted
    /// by itself. Where it was in ring 3 all the time, nothing of the kernel's can have been executed.
    pub(super) fn looks_inside(&mut self) -> bool {
        if self.follows_everything() {
            return true;
        }
        if self.by_exits.next_state().is_none() || !self.probes.has_asked() {
            return false;
        }
        let in_ring_3 = self.seen.outward.ring == Some(3) && self.machine.vcpu.state().cpl() == 3;
        !in_ring_3 || self.probes.asks_ring_3(&self.machine)
    }

    /// Goes on by one instruction. All that counts is what would count if the guest ran.
    pub(super) fn step_by_exits(&mut self) -> Turn {
        self.by_exits.slice.over = false;
        self.by_exits.slice.since = time_on_processor();
        if self.seen.departure.as_ref().is_some_and(Departure::is_interrupt) {
            self.by_exits.position.at_exit = false;
            return self.run_on(false);
        }
        if let Some(disturbed) = self.owed.disturbed.take()
            && let Some(turn) = self.go_on_after_signal(disturbed)
        {
            return turn;
        }
        self.finish()?;
        let state = self.machine.vcpu.state();
        if self.by_exits.position.window
            && !self.by_exits.position.at_exit
            && state.interruptible()
            && self.machine.vcpu.ready_for_interrupt()?
        {
            return self.exited(Exit::InterruptWindow);
        }
        self.by_exits.slice.stepped += 1;
        if self.by_exits.slice.stepped > MOST_STEPS && self.preempt()? {
            return Ok(self.told_preempted());
        }
        self.by_exits.position.at_exit = false;
        self.step(state, false)
    }

    /// The vCPU and memory are as they were then.
    pub(super) fn stands_at(&mut self, then: &RecordedState) -> Result<bool, MachineError> {
        if self.by_exits.slice.awaited.as_ref().is_none_or(|awaited| awaited.exits != then.exits) {
            self.by_exits.slice.awaited = self.state_then(then);
        }
        let now = self.machine.vcpu.state();
        let (memory, probes) = (self.machine.memory(), &self.probes);
        let Some(then) = &mut self.by_exits.slice.awaited else { return Ok(true) };
        if !then.has_registers_of(&now) {
            return Ok(false);
        }
        let patched = probes.patched_pages();
        let differs = |page: usize| patched.read(memory, page) != *then.memory.page(page);
        if let Some(index) = then.pages.iter().position(|page| differs(*page)) {
            // It is likely to be the one that differs the next time.
            then.pages.swap(0, index);
            return Ok(false);
        }
        // What was written meanwhile has to be as it was before, too.
        let written = self.machine.written_pages()?;
        let Some(then) = &self.by_exits.slice.awaited else { return Ok(true) };
        let memory = self.machine.memory();
        Ok(written.into_iter().all(|page| patched.read(memory, page) == *then.memory.page(page)))
    }

    /// A recorded state, which is asked for at each step on the way there.
    fn state_then(&self, then: &RecordedState) -> Option<Awaited> {
        let size = self.machine.memory().size();
        let all = (size / 4096) as usize;
        let base = self.by_exits.position.base.clone();
        let is_first = base.is_none();
        let mut memory = base.unwrap_or_else(|| MemoryImage::zero(size));
        let (vcpu, pages) = unpack(&then.bytes, &mut memory, all)?;
        let pages = if is_first { (0..all).collect() } else { pages };
        Some(Awaited { exits: then.exits, state: vcpu.state(), memory, pages })
    }
}
