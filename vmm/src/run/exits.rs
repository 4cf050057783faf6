//! What is done at an exit.

use super::departure::{Cause, Departure};
use super::{Ending, Event, Pace, Phase, Run, Turn};
use crate::boot::services;
use crate::devices::transfer::{Moved, Transfer};
use crate::devices::{AccessSize, Effect};
use crate::machine::{Exit, MachineError};
use crate::probe::{Choice, Missed, Site};
use ia32::Vector;

impl Run {
    /// The vCPU has left the guest.
    #[inline]
    pub(super) fn exited(&mut self, exit: Exit) -> Turn {
        if exit == Exit::Interrupted {
            self.counters.exits += u64::from(!self.clock.counts_exits());
        } else {
            self.counters.exits += 1;
            // Whatever a signal had cut short has led here.
            self.owed.disturbed = None;
        }
        // At a shutdown KVM has reset the registers: what the switch led to is not seen.
        if exit == Exit::Shutdown {
            self.seen.switching = None;
        }
        if self.seen.switching.is_some()
            && let Some(switch) = self.complete_switch()
        {
            self.phase = Phase::Exited(exit);
            return Ok(Some(Event::Switch(Box::new(switch))));
        }
        self.handle(exit)
    }

    /// Does what `exit` asks for.
    #[inline]
    pub(super) fn handle(&mut self, exit: Exit) -> Turn {
        if let Some(address) = self.probes.hit(&mut self.machine, &exit) {
            // A place that is a site because somebody asked takes no time.
            if !self.probes.site_at(address).is_some_and(Site::is_only_asked) {
                self.count_exit(&exit);
            }
            return self.stopped_at(address, &exit);
        }
        if let Exit::Breakpoint { address } = exit
            && let Some(what) = self.probes.ahead_at(address)
        {
            self.count_exit(&exit);
            return self.came_ahead(what);
        }
        if exit == Exit::Halt
            && let Some(address) = self.probes.adopt(&mut self.machine)?
        {
            self.count_exit(&exit);
            return self.stopped_at(address, &exit);
        }
        if exit == Exit::Interrupted {
            // The next turn finds out what it was.
            if self.looks_for_idt() {
                let state = self.machine.vcpu.state();
                self.follow_tables(&state)?;
            }
            self.owed.disturbed.get_or_insert_default();
            return Ok(None);
        }
        if self.is_own_window(&exit) {
            return Ok(None);
        }
        if exit == Exit::InterruptWindow && self.arrives_by_call() {
            self.machine.vcpu.request_interrupt_window(false);
            let exit = self.machine.vcpu.run()?;
            return self.exited(exit);
        }
        if exit == Exit::InterruptWindow && !self.clock.counts_exits() && self.comes_too_early() {
            // This KVM takes no notice of the shadow: without the window, then. Where there are no
            // probes the guest runs on to its next exit.
            self.machine.vcpu.request_interrupt_window(false);
            let exit = self.machine.vcpu.run()?;
            return self.exited(exit);
        }
        self.count_exit(&exit);
        // The end is explained by what was being delivered.
        if !matches!(exit, Exit::Shutdown | Exit::InternalError { .. })
            || !self.seen.departure.as_ref().is_some_and(Departure::is_interrupt)
        {
            self.forget_delivered()?;
        }
        if exit != Exit::Shutdown {
            self.seen.last_state = self.machine.vcpu.state();
            let state = self.seen.last_state;
            self.follow_tables(&state)?;
        }
        if let Exit::MsrWrite { index, value } = exit
            && self.seen.sysenter.take(index, value)
        {
            self.owed.unfinished = true;
            self.machine.vcpu.write_msr(index, value)?;
            self.probes.follow_sysenter(&mut self.machine, self.seen.sysenter.target())?;
            return Ok(None);
        }
        if let Some(effect) = self.serve(&exit) {
            if matches!(exit, Exit::MemoryRead { .. }) {
                self.consider_local_apic()?;
            }
            return Ok(self.console_after(effect));
        }
        let ending = match exit {
            Exit::Halt => self.halt(),
            Exit::InterruptWindow | Exit::Interrupted => None,
            // Nothing was to be stepped: the guest steps itself. While there are breakpoints KVM takes
            // every #DB for the debugger's.
            Exit::Step => {
                self.machine.vcpu.reflect_single_step()?;
                None
            }
            Exit::Breakpoint { .. } => Some(Ending::UnknownExit(4)),
            Exit::Shutdown => Some(Ending::TripleFault),
            Exit::InternalError { suberror, data } => {
                Some(Ending::InternalError { suberror, data })
            }
            Exit::EntryFailed { reason } => Some(Ending::EntryFailed { reason }),
            Exit::Other(reason) => Some(Ending::UnknownExit(reason)),
            // Served above.
            Exit::PortWrite { .. }
            | Exit::PortRead { .. }
            | Exit::MemoryRead { .. }
            | Exit::MemoryWrite { .. }
            | Exit::MsrRead { .. }
            | Exit::MsrWrite { .. } => None,
        };
        self.end_if(ending);
        Ok(None)
    }

    /// Answers an access to a device, if that is what the exit is for; what it means beyond the devices.
    pub(super) fn serve(&mut self, exit: &Exit) -> Option<Effect> {
        let eip = self.machine.vcpu.eip();
        let mut effect = Effect::None;
        match *exit {
            Exit::PortWrite { port, size } => {
                let (size, now) = self.device_access(size);
                if port != services::PORT || !self.service_is_asked() {
                    let data = self.machine.vcpu.port_data();
                    effect = self.devices.by(eip).port_write_string(port, size, data, now);
                    self.output_rest(port, size, now);
                }
            }
            Exit::PortRead { port, size } => {
                let (size, now) = self.device_access(size);
                let data = self.machine.vcpu.port_data();
                self.devices.by(eip).port_read_string(port, size, data, now);
                self.look_at_what_is_read();
            }
            Exit::MemoryRead { address, .. } => {
                let (_, now) = self.device_access(0);
                let data = self.machine.vcpu.mmio_data();
                self.devices.by(eip).memory_read(address, data, now);
            }
            Exit::MemoryWrite { address, size, value } => {
                let (_, now) = self.device_access(0);
                let data = &value.to_le_bytes()[..size.into()];
                self.devices.by(eip).memory_write(address, data, now);
            }
            Exit::MsrRead { index } => {
                self.owed.unfinished = true;
                let value = self.devices.by(eip).msr_read(index);
                self.machine.vcpu.answer_msr_read(value);
            }
            Exit::MsrWrite { index, .. } => {
                self.owed.unfinished = true;
                self.devices.by(eip).msr_write(index);
            }
            _ => return None,
        }
        self.move_for_devices();
        self.due = self.devices.next_deadline();
        Some(effect)
    }

    /// Does with memory what a device wants, before the guest goes on.
    #[inline]
    pub(super) fn move_for_devices(&mut self) {
        while let Some((master, transfer)) = self.devices.take_transfer() {
            // Beyond RAM nobody takes the bytes, and there all reads as ones.
            match transfer {
                Transfer::ToMemory(address, bytes) => {
                    self.sight(&bytes);
                    let answered = self.machine.write_memory(address.into(), &bytes).is_some();
                    self.devices.moved(master, Moved { bytes: &[], answered });
                }
                Transfer::FromMemory(address, length) => {
                    let mut bytes = vec![0xFF; length];
                    let answered = self.machine.memory().read(address.into(), &mut bytes).is_some();
                    self.devices.moved(master, Moved { bytes: &bytes, answered });
                }
            }
        }
    }

    /// What the guest wrote to its console by an access that had this effect.
    fn console_after(&mut self, effect: Effect) -> Option<Event> {
        let ending = match effect {
            Effect::None => None,
            Effect::PowerOff(0) => Some(Ending::PoweredOff),
            Effect::PowerOff(code) => Some(Ending::Failed(code)),
            Effect::Reset(_) => Some(Ending::Reset),
        };
        let bytes = self.devices.take_console_output();
        if !bytes.is_empty() {
            self.converse(&bytes);
        }
        self.end_if(ending.or_else(|| self.dialogue_over()));
        (!bytes.is_empty()).then_some(Event::Console(bytes))
    }

    /// A device is accessed: with which size, and when.
    fn device_access(&mut self, size: u8) -> (AccessSize, u64) {
        self.owed.unfinished = true;
        self.counters.device_accesses += 1;
        self.clock.access();
        (AccessSize::from_bytes(size).unwrap_or(AccessSize::Byte), self.clock.now())
    }

    /// What was to happen has, and was not seen.
    pub(super) fn forget_delivered(&mut self) -> Result<(), MachineError> {
        if let Some(vector) = self.delivered_unseen() {
            self.probes.missed_entry(&mut self.machine, Missed::Interrupt(vector.0))?;
        }
        self.forget_departure();
        Ok(())
    }

    /// The exit was another than the one that was waited for: what happened was no event, or it was missed.
    #[inline]
    pub(super) fn forget_departure(&mut self) {
        self.seen.departure = None;
        if let Pace::Exact(exact) = &mut self.pace {
            exact.forget();
        }
    }

    /// The interrupt that was injected has been delivered, and did not stop at a probe of its gate.
    fn delivered_unseen(&self) -> Option<Vector> {
        let probed = self.probes.choice() != Choice::None
            && self.probes.idt().is_loaded()
            && !self.looks_for_idt();
        match &self.seen.departure {
            // In real mode it has come by the vectors of that.
            Some(Departure { before, cause: Cause::Interrupt(vector), .. })
                if probed && before.protected() =>
            {
                Some(*vector)
            }
            _ => None,
        }
    }

    /// The open window is reported where a far CALL has led through a call gate, which leaves interrupts as they are, and the probe
    /// there is still to come.
    fn arrives_by_call(&mut self) -> bool {
        let Some(departure) = &self.seen.departure else { return false };
        if self.clock.counts_exits() || departure.is_interrupt() {
            return false;
        }
        let now = self.machine.vcpu.state();
        let site = self.probes.site_at(now.instruction_address());
        site.is_some_and(|site| !site.call_gates.is_empty())
            && self.probes.awaits_entry(now.instruction_address())
            && !departure.stands_still(&now)
    }

    /// The open window is reported before the one instruction that was to come first.
    fn comes_too_early(&mut self) -> bool {
        let departure = self.seen.departure.as_ref().filter(|departure| !departure.is_interrupt());
        let Some(departure) = departure else { return false };
        if !self.seen.holds_interrupts {
            let now = self.machine.vcpu.state();
            self.seen.holds_interrupts = !departure.stands_still(&now);
        }
        !self.seen.holds_interrupts
    }
}
