//! Tasks that were entered by task gates.
//!
//! Such a task interrupts another one at any place, and an IRET goes back there. What was known of that one before holds again,
//! unless its TSS was changed meanwhile: then the kernel has it go on elsewhere.

use super::stacks::TaskId;
use super::{History, LastReturn};
use crate::check::history::frames::LiveFrame;
use crate::entry::{SwitchCause, TaskSwitch, TssWords};
use ia32::Selector;

/// So many of a frame's bytes lie below the place where its stack ends, at most.
const FRAME: u32 = 64;

/// One of these tasks, as it was entered last.
#[derive(Clone, Debug)]
pub(in crate::check) struct ByGate {
    tss: Selector,
    /// ESP in its TSS.
    pub(in crate::check) esp: u32,
    /// An error code was pushed there.
    pub(in crate::check) has_error_code: bool,
    /// It has left by an IRET since.
    pub(in crate::check) returned: bool,
    /// What was interrupted, as it is stored, and what was known then.
    interrupted: TssWords,
    last: Option<LastReturn>,
    running: Option<u32>,
    switched: bool,
    task: Option<TaskId>,
}

impl History {
    /// How the task with this TSS was entered last by a task gate.
    pub(in crate::check) fn last_by_gate(&self, tss: Selector) -> Option<&ByGate> {
        self.by_gates.iter().find(|one| one.tss == tss)
    }

    /// The live frame whose words lie right below this linear address.
    pub(in crate::check) fn live_right_below(&self, address: u32) -> Option<&LiveFrame> {
        let within = self.frames.within(address.saturating_sub(FRAME)..address);
        within.map(|(_, live)| live).max_by_key(|live| live.sequence)
    }

    /// Takes a switch in; the task that goes on, or that was interrupted, as far as it is known.
    pub(in crate::check) fn change_tasks(&mut self, switch: &TaskSwitch) -> Option<TaskId> {
        match switch.cause {
            SwitchCause::Jump => Some(self.switch(switch)),
            SwitchCause::Gate { error_code, .. } => self.interrupt(switch, error_code.is_some()),
            SwitchCause::Return => self.go_back(switch),
        }
    }

    fn interrupt(&mut self, switch: &TaskSwitch, has_error_code: bool) -> Option<TaskId> {
        let last = self.last_return.take();
        let task = last.as_ref().and_then(|last| last.task);
        let running = self.running.take();
        let one = ByGate {
            tss: switch.selector,
            esp: switch.new.0[TssWords::ESP],
            has_error_code,
            returned: false,
            interrupted: switch.stored,
            last,
            running,
            switched: std::mem::take(&mut self.switched),
            task,
        };
        match self.by_gates.iter_mut().find(|other| other.tss == switch.selector) {
            Some(other) => *other = one,
            None => self.by_gates.push(one),
        }
        task
    }

    fn go_back(&mut self, switch: &TaskSwitch) -> Option<TaskId> {
        let left = switch.before.tr.selector();
        let Some(one) = self.by_gates.iter_mut().find(|one| one.tss == left) else {
            return Some(self.switch(switch));
        };
        one.returned = true;
        let loaded = TssWords::EIP..TssWords::LDT;
        if switch.new.0[loaded.clone()] != one.interrupted.0[loaded] {
            return Some(self.switch(switch));
        }
        let task = one.task;
        self.last_return = one.last.take();
        self.running = one.running;
        self.switched = one.switched || switch.ring() > 0 && self.last_return.is_none();
        task
    }
}
