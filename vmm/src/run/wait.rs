//! What the run waits for: the alarm, the guest's timer, the keyboard.

use super::{Ending, Run, Turn, input, progress};
use crate::machine::{MachineError, stop_requested};
use ia32::Eflags;
use std::time::{Duration, Instant};

impl Run {
    /// The alarm goes off when the timer is due, or when the time allowed is up.
    pub(super) fn set_alarm(&mut self) -> Result<(), MachineError> {
        let deadline = self.due;
        if self.alarm_at.is_some() && self.alarm_at == Some(deadline.unwrap_or(u64::MAX)) {
            return Ok(());
        }
        self.alarm_at = Some(deadline.unwrap_or(u64::MAX));
        let timer = deadline.map(|at| Duration::from_nanos(at.saturating_sub(self.clock.now())));
        let patience = self.give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
        let typed = self.input.as_ref().filter(|input| !input.ended()).map(|_| input::LATENCY);
        let look = Some(progress::LOOK);
        let delay = [timer, patience, typed, look].into_iter().flatten().min();
        self.machine.vcpu.set_alarm(delay)
    }

    /// The guest waits for an interrupt.
    pub(super) fn halt(&mut self) -> Turn {
        let open = self.machine.vcpu.state().eflags.contains(Eflags::IF);
        if open && self.devices.interrupt_pending() {
            return Ok(None);
        }
        if open && self.input.as_ref().is_some_and(|input| !input.ended()) {
            return Ok(self.wait_for_input());
        }
        match self.due.filter(|_| open) {
            Some(deadline) => {
                self.clock.wait_until(deadline);
                Ok(self.interrupted())
            }
            None => Ok(Some(Ending::Halted)),
        }
    }

    /// The guest waits, and somebody may type.
    fn wait_for_input(&mut self) -> Option<Ending> {
        loop {
            if stop_requested() {
                return Some(Ending::Stopped);
            }
            if let Some(ending) = self.interrupted() {
                return Some(ending);
            }
            let input = self.input.as_mut().filter(|input| !input.ended());
            let now = self.clock.now();
            let left = self.due.map(|due| Duration::from_nanos(due.saturating_sub(now)));
            let time = left.map_or(input::LATENCY, |left| left.min(input::LATENCY));
            match input.map(|input| input.wait(time)) {
                Some(Some(bytes)) => self.devices.receive_console_input(&bytes),
                Some(None) => {}
                None if self.due.is_none() => return Some(Ending::Halted),
                None => std::thread::sleep(time),
            }
            if self.due.is_some_and(|due| self.clock.now() >= due) {
                self.devices.advance_to(self.clock.now());
                self.due = self.devices.next_deadline();
            }
            if self.devices.interrupt_pending() {
                return None;
            }
        }
    }

    /// The alarm went off, or time has passed: is it over?
    pub(super) fn interrupted(&mut self) -> Option<Ending> {
        // The alarm has gone off: it must be set again.
        if !self.clock.is_deterministic() || std::mem::take(&mut self.watching) {
            self.alarm_at = None;
        }
        let over = self.give_up_at.is_some_and(|at| Instant::now() >= at);
        self.stuck(over).or(over.then_some(Ending::TimedOut))
    }
}
