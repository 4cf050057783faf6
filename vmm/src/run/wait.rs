//! What the run waits for: the alarm, the guest's timer, the keyboard.

use super::{Ending, Run, apic_page, input, progress};
use crate::machine::MachineError;
use ia32::Eflags;
use std::time::{Duration, Instant};

/// How often whoever comes behind a BIOS is looked at, until it has an IDT.
const LOOK_FOR_IDT: Duration = Duration::from_millis(5);

/// The alarm of a run: it goes off when the timer is due on the real clock, or when the time allowed is up.
#[derive(Debug)]
pub(super) struct Alarm {
    /// How long the run may take.
    allowed: Option<Duration>,
    /// Wall-clock time at which the run ends.
    give_up_at: Option<Instant>,
    /// What it is set for, by the guest's time; that it is set for the end alone is the greatest number.
    set_for: Option<u64>,
    /// How often somebody wants to look up from a guest that causes no exit.
    look_up: Option<Duration>,
}

impl Alarm {
    /// An alarm for a run that may take `timeout` of wall-clock time from now on.
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Alarm {
            allowed: timeout,
            give_up_at: timeout.map(|timeout| Instant::now() + timeout),
            set_for: None,
            look_up: None,
        }
    }

    /// As much time as at first, from now on.
    pub(super) fn renew(&mut self) {
        self.give_up_at = self.allowed.map(|allowed| Instant::now() + allowed);
        self.set_for = None;
    }

    /// The wall-clock time until somebody has to look: the time that is left, or less.
    pub(super) fn patience(&self) -> Option<Duration> {
        let left = self.give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
        left.into_iter().chain(self.look_up).min()
    }

    /// The vCPU comes back at least as often as this, whatever the guest does.
    pub(super) fn look_up_every(&mut self, time: Option<Duration>) {
        self.look_up = time;
        self.set_for = None;
    }

    /// It is set for nothing.
    #[inline]
    pub(super) fn is_to_be_set(&self) -> bool {
        self.set_for.is_none()
    }

    /// It has been set, and not for a deadline.
    pub(super) fn is_set(&mut self) {
        self.set_for = Some(u64::MAX);
    }

    /// It has to be set anew.
    pub(super) fn forget(&mut self) {
        self.set_for = None;
    }

    /// The time allowed is up.
    pub(super) fn is_over(&self) -> bool {
        self.give_up_at.is_some_and(|at| Instant::now() >= at)
    }
}

impl Run {
    /// As much wall-clock time as at first, from now on: for whoever has gone back.
    pub fn renew_timeout(&mut self) {
        self.outside.alarm.renew();
    }

    /// Nobody behind the BIOS has loaded an IDT so far.
    #[inline]
    pub(super) fn looks_for_idt(&self) -> bool {
        self.firmware && self.seen.first_idt.is_none()
    }

    /// The alarm goes off when the timer is due, or when the time allowed is up. The guest's time stands
    /// still at stops, so the timer may be due later than the alarm: it is set again then.
    #[inline]
    pub(super) fn set_alarm(&mut self) -> Result<(), MachineError> {
        let deadline = self.due;
        if self.outside.alarm.set_for == Some(deadline.unwrap_or(u64::MAX)) {
            return Ok(());
        }
        self.outside.alarm.set_for = Some(deadline.unwrap_or(u64::MAX));
        let timer = deadline.map(|at| self.clock.to_run_until(at));
        let typed =
            self.outside.input.as_ref().filter(|input| !input.ended()).map(|_| input::LATENCY);
        let look = if self.looks_for_idt() {
            LOOK_FOR_IDT
        } else if self.machine.answers_reads() {
            apic_page::REFRESH
        } else {
            progress::LOOK
        };
        let look = Some(look);
        let delay = [timer, self.outside.alarm.patience(), typed, look].into_iter().flatten().min();
        self.machine.vcpu.set_alarm(delay)
    }

    /// The alarm goes off when the time allowed is up: the deterministic clock needs no other.
    #[inline]
    pub(super) fn set_patience(&mut self) -> Result<(), MachineError> {
        if self.outside.alarm.set_for.is_none() {
            self.outside.alarm.set_for = Some(u64::MAX);
            self.machine.vcpu.set_alarm(self.outside.alarm.patience())?;
        }
        Ok(())
    }

    /// The alarm went off, or time has passed: is it over?
    pub(super) fn alarm_went_off(&mut self) -> Option<Ending> {
        // It must be set again.
        let again = !self.clock.is_deterministic() || self.outside.alarm.look_up.is_some();
        if self.progress.take_watching() || again {
            self.outside.alarm.set_for = None;
        }
        if let Some(ending) = self.look_at_screen() {
            return Some(ending);
        }
        let over = self.outside.alarm.is_over();
        self.stuck(over).or(over.then_some(Ending::TimedOut))
    }

    /// The guest waits for an interrupt.
    pub(super) fn halt(&mut self) -> Option<Ending> {
        self.machine.go_behind_halt();
        let open = self.machine.vcpu.state().eflags.contains(Eflags::IF);
        let wakes = self.devices.nmi_pending() && !self.machine.vcpu.masks_nmi();
        if open && self.devices.interrupt_pending() || wakes {
            return None;
        }
        if let Some(ending) = self.look_at_screen() {
            return Some(ending);
        }
        // What was seen there may have been answered.
        if open && self.devices.interrupt_pending() {
            return None;
        }
        if self.ends_at_halt() {
            return Some(Ending::Idle);
        }
        if open && self.outside.input.as_ref().is_some_and(|input| !input.ended()) {
            return self.wait_for_input();
        }
        match self.due.filter(|_| open) {
            Some(deadline) => self.wait_for_timer(deadline),
            None => Some(Ending::Halted),
        }
    }

    /// The guest waits for its timer, which may be due long after the run is to end: a sleep goes on after a signal,
    /// so it is cut into pieces.
    fn wait_for_timer(&mut self, deadline: u64) -> Option<Ending> {
        loop {
            let piece = self
                .outside
                .alarm
                .patience()
                .map_or(progress::LOOK, |left| left.min(progress::LOOK));
            self.clock.wait_until(deadline, piece);
            if self.outside.stop.is_requested() {
                return Some(Ending::Stopped);
            }
            if self.clock.now() >= deadline || self.outside.alarm.is_over() {
                return self.alarm_went_off();
            }
        }
    }

    /// The guest waits, and somebody may type.
    fn wait_for_input(&mut self) -> Option<Ending> {
        loop {
            if self.outside.stop.is_requested() {
                return Some(Ending::Stopped);
            }
            if let Some(ending) = self.alarm_went_off() {
                return Some(ending);
            }
            let begun = Instant::now();
            let input = self.outside.input.as_mut().filter(|input| !input.ended());
            let now = self.clock.now();
            let left = self.due.map(|due| Duration::from_nanos(due.saturating_sub(now)));
            let time = left.map_or(input::LATENCY, |left| left.min(input::LATENCY));
            match input.map(|input| input.wait(time)) {
                Some(Some(bytes)) => self.devices.receive_console_input(&bytes),
                Some(None) => {}
                None if self.due.is_none() => return Some(Ending::Halted),
                None => std::thread::sleep(time),
            }
            self.clock.waited_since(begun);
            if self.due.is_some_and(|due| self.clock.now() >= due) {
                self.devices.advance_to(self.clock.now());
                self.due = self.devices.next_deadline();
            }
            if self.devices.interrupt_pending() {
                return None;
            }
        }
    }
}
