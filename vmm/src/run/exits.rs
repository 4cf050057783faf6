//! What is done at an exit.

use super::{Ending, Event, Pace, Phase, Run, Turn};
use crate::devices::{AccessSize, Effect};
use crate::machine::Exit;

impl Run {
    /// The vCPU has left the guest.
    #[inline]
    pub(super) fn exited(&mut self, exit: Exit) -> Turn {
        self.counters.exits += 1;
        if self.switching.is_some()
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
            return self.stopped_at(address, &exit);
        }
        if exit == Exit::Interrupted {
            // The next turn finds out what it was.
            return Ok(None);
        }
        if exit == Exit::InterruptWindow && self.comes_too_early() {
            // This KVM takes no notice of the shadow: without the window, then. Where there are no
            // probes the guest runs on to its next exit.
            self.machine.vcpu.request_interrupt_window(false);
            let exit = self.machine.vcpu.run()?;
            return self.exited(exit);
        }
        self.forget_departure();
        if exit != Exit::Shutdown {
            self.last_state = self.machine.vcpu.state();
            let state = self.last_state;
            self.probes.follow(&mut self.machine, &state)?;
        }
        let ending = match exit {
            Exit::PortWrite { port, size } => return Ok(self.port_write(port, size)),
            Exit::PortRead { port, size } => {
                let size = self.device_access(size);
                let data = self.machine.vcpu.port_data();
                self.devices.port_read_string(port, size, data, self.clock.now());
                self.due = self.devices.next_deadline();
                None
            }
            Exit::MemoryRead { .. } => {
                self.unfinished = true;
                self.machine.vcpu.mmio_data().fill(0xff);
                None
            }
            Exit::MemoryWrite { .. } => {
                self.unfinished = true;
                None
            }
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
        };
        self.end_if(ending);
        Ok(None)
    }

    /// OUT or OUTS; what the guest wrote to its console by it.
    fn port_write(&mut self, port: u16, size: u8) -> Option<Event> {
        let size = self.device_access(size);
        let data = self.machine.vcpu.port_data();
        let effect = self.devices.port_write_string(port, size, data, self.clock.now());
        self.due = self.devices.next_deadline();
        self.end_if(match effect {
            Effect::None => None,
            Effect::PowerOff(0) => Some(Ending::PoweredOff),
            Effect::PowerOff(code) => Some(Ending::Failed(code)),
            Effect::Reset(_) => Some(Ending::Reset),
        });
        let bytes = self.devices.take_console_output();
        if !bytes.is_empty() {
            self.converse(&bytes);
            if effect == Effect::None {
                self.end_if(self.dialogue_over());
            }
        }
        (!bytes.is_empty()).then_some(Event::Console(bytes))
    }

    fn device_access(&mut self, size: u8) -> AccessSize {
        self.unfinished = true;
        self.counters.device_accesses += 1;
        self.clock.tick();
        AccessSize::from_bytes(size).unwrap_or(AccessSize::Byte)
    }

    /// The exit was another than the one that was waited for: what happened was no event, or it was missed.
    #[inline]
    pub(super) fn forget_departure(&mut self) {
        self.departure = None;
        if let Pace::Exact(exact) = &mut self.pace {
            exact.forget();
        }
    }

    /// The open window is reported before the one instruction that was to come first.
    fn comes_too_early(&mut self) -> bool {
        let departure = self.departure.as_ref().filter(|departure| !departure.is_interrupt());
        let Some(departure) = departure else { return false };
        if !self.holds_interrupts {
            let now = self.machine.vcpu.state();
            self.holds_interrupts = !departure.stands_still(&now);
        }
        !self.holds_interrupts
    }
}
