//! Runs a guest from its first instruction to its end, and tells an [`Observer`] what was seen.
//!
//! One thread does everything: it lets the guest run, serves its devices, decides at which
//! instruction boundary an interrupt arrives, and turns stops at probes into entries and returns.
//! The observer looks on; nothing that it does changes what the guest does next.
//!
//! ```text
//!        ┌──────────────────────────────────────────────┐
//!        ▼                                              │
//!  devices up to now ─► inject, if one waits ─► run or step ─► exit: device, probe, halt, end
//! ```
//!
//! With the deterministic clock the guest is stepped wherever an interrupt could be taken, and runs
//! freely where interrupts are closed. The state before every event that interrupts such code is
//! then known exactly, not only that before external ones.

mod boundary;
mod clock;
mod end;
mod exact;
mod input;
mod last;
mod progress;
mod real_mode;
mod start;
mod step;
mod stop;
mod wait;

pub use clock::ClockChoice;
pub use end::{End, Ending};
pub use input::Input;
pub use last::LastEvent;
pub use real_mode::StackLoad;
pub use start::{entry_state, flat_protected_mode, real_mode};

use crate::devices::{AccessSize, Devices, Effect};
use crate::entry::{Entry, PendingSwitch, Return, TaskSwitch};
use crate::machine::{Exit, Machine, MachineError, processor, stop_requested};
use crate::probe::{Choice, Probes};
use clock::Clock;
use exact::ExactState;
use ia32::{Processor, State, Vector};
use std::time::{Duration, Instant};

/// What the guest stopped at, for whoever looks at its memory too.
#[derive(Clone, Copy, Debug)]
pub enum Stop<'a> {
    /// In front of a handler's first instruction.
    Entry(&'a Entry),
    /// In front of an IRET.
    Return(&'a Return),
    /// At the next exit behind a task switch by hardware, whatever it was for.
    Switch(&'a TaskSwitch),
    /// In ring 3, before anything was executed there: right behind the IRET. Told on the
    /// deterministic clock only.
    Resumed,
    /// Behind one instruction of ring 0, where [`Run::follow_kernel`] asks for it.
    Step {
        /// The state in front of it.
        before: &'a State,
        /// The instruction; as many bytes as are mapped.
        code: &'a [u8],
    },
}

/// Looks on while a guest runs.
pub trait Observer {
    /// The guest has stopped with `state`, and stands still: its memory can be read. Comes right
    /// before [`entry`](Observer::entry), [`leave`](Observer::leave) or
    /// [`switch`](Observer::switch), and at stops that these do not tell of.
    #[inline]
    fn look(&mut self, _machine: &Machine, _state: &State, _stop: Stop<'_>) {}

    /// The guest wrote to its console.
    fn console(&mut self, bytes: &[u8]);

    /// An event has been delivered.
    fn entry(&mut self, entry: &Entry);

    /// An IRET is about to be executed; in exact mode it has been, unless it faults.
    fn leave(&mut self, returning: &Return);

    /// A kernel that started in real mode has loaded a stack, before it had an IDT.
    fn stack_load(&mut self, _load: &StackLoad) {}

    /// A far jump to a TSS has switched tasks.
    fn switch(&mut self, _switch: &TaskSwitch) {}
}

/// How a guest is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What its timer runs on.
    pub clock: ClockChoice,
    /// How entries are caught.
    pub probes: Choice,
    /// How many hardware breakpoints work.
    pub breakpoints: usize,
    /// Wall-clock time after which the run ends.
    pub timeout: Option<Duration>,
    /// The state before each event is to be known and all of memory compared; on the deterministic
    /// clock only.
    pub exact: bool,
}

/// What a run counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// VM exits of all kinds.
    pub exits: u64,
    /// Stops at probes.
    pub stops: u64,
    /// Accesses to devices.
    pub device_accesses: u64,
    /// Interrupts injected.
    pub injected: u64,
    /// Instructions stepped.
    pub stepped: u64,
}

/// A guest that runs.
#[derive(Debug)]
pub struct Run {
    machine: Machine,
    devices: Devices,
    probes: Probes,
    clock: Clock,
    give_up_at: Option<Instant>,
    input: Option<Input>,
    alarm_at: Option<u64>,
    /// When the timer is due next, by the guest's time; asked anew after each access to a device.
    due: Option<u64>,
    counters: Counters,
    sequence: u64,
    /// The ring that the last return went to, until something is entered.
    ring: Option<u8>,
    /// The interrupt that was injected at the boundary just before.
    injected: Option<(Vector, Box<State>)>,
    /// The state at the boundary just before, where it was seen.
    before: Option<Box<State>>,
    /// A task switch that the vCPU stood in front of at the last stop.
    switching: Option<PendingSwitch>,
    /// The last exit was for an instruction that KVM completes when the vCPU runs next.
    unfinished: bool,
    /// KVM was seen to hold interrupts off for one instruction when asked to.
    holds_interrupts: bool,
    /// Stepping has to be set anew.
    step_again: bool,
    /// The observer is to be shown each instruction of ring 0.
    follows_kernel: bool,
    /// Ring 3 has been returned to, and has not been shown yet.
    resuming: bool,
    last_state: State,
    /// The vCPU when the alarm went off last.
    seen: Option<State>,
    /// On the deterministic clock: the alarm is set to look at a guest that runs freely.
    watching: bool,
    /// The next instruction cannot be fetched, and no fault can come of that.
    lost: bool,
    /// Exact mode.
    exact: Option<Box<ExactState>>,
    processor: Processor,
}

/// What a turn of the loop came to.
type Turn = Result<Option<Ending>, MachineError>;

impl Run {
    /// A guest that has been loaded into `machine`, whose vCPU stands at its first instruction.
    pub fn new(machine: Machine, devices: Devices, options: &Options) -> Self {
        let deterministic = matches!(options.clock, ClockChoice::Deterministic { .. });
        Run {
            machine,
            devices,
            probes: Probes::new(options.probes, options.breakpoints),
            clock: Clock::new(options.clock),
            give_up_at: options.timeout.map(|timeout| Instant::now() + timeout),
            input: None,
            alarm_at: None,
            due: None,
            counters: Counters::default(),
            sequence: 0,
            ring: None,
            injected: None,
            before: None,
            switching: None,
            unfinished: false,
            holds_interrupts: false,
            step_again: true,
            follows_kernel: false,
            resuming: false,
            last_state: State::default(),
            seen: None,
            watching: false,
            lost: false,
            exact: (options.exact && deterministic).then(Box::default),
            processor: processor(),
        }
    }

    /// Shows the observer each instruction of ring 0 from now on, as [`Stop::Step`], once the guest's
    /// timer runs. Takes the deterministic clock, on which it changes nothing: instructions with
    /// interrupts closed take no time then either.
    pub fn follow_kernel(&mut self) {
        self.follows_kernel = true;
    }

    /// What `input` brings goes to the guest's serial port. It is for the real clock: when a byte
    /// arrives cannot be repeated.
    #[must_use]
    pub fn with_input(mut self, input: Input) -> Self {
        self.input = Some(input);
        self
    }

    /// Runs the guest to its end.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn run(&mut self, observer: &mut impl Observer) -> Result<End, MachineError> {
        let mut entry = self.machine.vcpu.state();
        self.last_state = entry;
        if !entry.protected() && self.probes.choice() != Choice::None {
            if let Some(ending) = self.leave_real_mode(observer)? {
                return Ok(End::new(ending, self.machine.vcpu.state()));
            }
            entry = self.machine.vcpu.state();
        }
        self.probes.await_idt(&mut self.machine, entry.instruction_address())?;
        // A guest that starts in the middle has its IDT already.
        self.probes.follow(&mut self.machine, &entry)?;
        loop {
            if let Some(ending) = self.turn(observer)? {
                self.machine.vcpu.set_alarm(None)?;
                self.machine.verify_memory()?;
                return self.end(ending);
            }
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The probes.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// The devices.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// The machine, to be looked at.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    #[inline]
    fn turn(&mut self, observer: &mut impl Observer) -> Turn {
        // A signal that came while an instruction was being finished has left no other trace.
        if stop_requested() {
            return Ok(Some(Ending::Stopped));
        }
        if self.lost {
            return Ok(Some(Ending::NoProgress));
        }
        if self.machine.vcpu.alarm_rang()
            && let Some(ending) = self.interrupted()
        {
            return Ok(Some(ending));
        }
        if self.resuming {
            let state = self.machine.vcpu.state();
            if state.cpl() != 0 {
                self.resuming = false;
                observer.look(&self.machine, &state, Stop::Resumed);
            }
        }
        if let Some(due) = self.due
            && self.clock.now() >= due
        {
            self.devices.advance_to(self.clock.now());
            self.due = self.devices.next_deadline();
        }
        if let Some(bytes) = self.input.as_mut().and_then(Input::poll) {
            self.devices.receive_console_input(&bytes);
        }
        if self.devices.interrupt_pending() {
            self.try_inject()?;
        }
        let exit = if self.clock.is_deterministic() {
            match self.deterministic(observer)? {
                Some(exit) => exit,
                None => return Ok(None),
            }
        } else {
            self.set_alarm()?;
            // An instruction whose probe has been taken out goes first.
            let waiting = self.devices.interrupt_pending()
                && self.injected.is_none()
                && !self.probes.is_exposed(self.machine.vcpu.instruction_address());
            self.machine.vcpu.request_interrupt_window(waiting);
            self.machine.vcpu.run()?
        };
        self.handle(exit, observer)
    }

    /// Injects the interrupt that waits, if the vCPU takes one at this boundary.
    fn try_inject(&mut self) -> Result<(), MachineError> {
        if self.injected.is_some() || self.event_is_pending() {
            return Ok(());
        }
        self.finish()?;
        if !self.machine.vcpu.ready_for_interrupt() {
            return Ok(());
        }
        let state = self.machine.vcpu.state();
        if self.probes.is_exposed(state.instruction_address()) {
            return Ok(());
        }
        let vector = self.devices.acknowledge_interrupt();
        self.due = self.devices.next_deadline();
        self.machine.vcpu.inject(vector)?;
        self.counters.injected += 1;
        self.injected = Some((Vector(vector), Box::new(state)));
        Ok(())
    }

    /// Completes an instruction that the last exit left half-way.
    fn finish(&mut self) -> Result<(), MachineError> {
        if std::mem::take(&mut self.unfinished) {
            self.machine.vcpu.finish_instruction()?;
        }
        Ok(())
    }

    #[inline]
    fn handle(&mut self, exit: Exit, observer: &mut impl Observer) -> Turn {
        self.counters.exits += 1;
        if self.switching.is_some() {
            self.complete_switch(observer);
        }
        if let Some(address) = self.probes.hit(&mut self.machine, &exit) {
            self.stop(address, &exit, observer)?;
            return Ok(None);
        }
        if exit == Exit::Interrupted {
            // The next turn finds out what it was.
            return Ok(None);
        }
        if exit == Exit::InterruptWindow && !self.holds_interrupts && self.before.is_some() {
            self.holds_interrupts = !self.stands_still();
        }
        if exit == Exit::InterruptWindow && !self.holds_interrupts && self.before.is_some() {
            // This KVM takes no notice of the shadow: without the window, then. Where there are no
            // probes the guest runs on to its next exit.
            self.machine.vcpu.request_interrupt_window(false);
            let exit = self.machine.vcpu.run()?;
            return self.handle(exit, observer);
        }
        // The end is explained by what was being delivered.
        let dies = matches!(exit, Exit::Shutdown | Exit::InternalError { .. });
        if !dies {
            self.injected = None;
        }
        self.before = None;
        self.forget_pending();
        if exit != Exit::Shutdown {
            self.last_state = self.machine.vcpu.state();
            let state = self.last_state;
            self.probes.follow(&mut self.machine, &state)?;
        }
        match exit {
            Exit::PortWrite { port, size } => {
                let size = self.device_access(size);
                let data = self.machine.vcpu.port_data();
                let effect = self.devices.port_write_string(port, size, data, self.clock.now());
                self.due = self.devices.next_deadline();
                let bytes = self.devices.take_console_output();
                if !bytes.is_empty() {
                    observer.console(&bytes);
                }
                Ok(match effect {
                    Effect::None => None,
                    Effect::PowerOff(0) => Some(Ending::PoweredOff),
                    Effect::PowerOff(code) => Some(Ending::Failed(code)),
                    Effect::Reset(_) => Some(Ending::Reset),
                })
            }
            Exit::PortRead { port, size } => {
                let size = self.device_access(size);
                let data = self.machine.vcpu.port_data();
                self.devices.port_read_string(port, size, data, self.clock.now());
                self.due = self.devices.next_deadline();
                Ok(None)
            }
            Exit::MemoryRead { .. } => {
                self.unfinished = true;
                self.machine.vcpu.mmio_data().fill(0xff);
                Ok(None)
            }
            Exit::MemoryWrite { .. } => {
                self.unfinished = true;
                Ok(None)
            }
            Exit::Halt => self.halt(),
            Exit::InterruptWindow => Ok(None),
            // Nothing was to be stepped: the guest steps itself. While there are breakpoints KVM takes
            // every #DB for the debugger's.
            Exit::Step => self.machine.vcpu.reflect_single_step().map(|()| None),
            Exit::Breakpoint { .. } => Ok(Some(Ending::UnknownExit(4))),
            Exit::Interrupted => Ok(None),
            Exit::Shutdown => Ok(Some(Ending::TripleFault)),
            Exit::InternalError { suberror, data } => {
                Ok(Some(Ending::InternalError { suberror, data }))
            }
            Exit::EntryFailed { reason } => Ok(Some(Ending::EntryFailed { reason })),
            Exit::Other(reason) => Ok(Some(Ending::UnknownExit(reason))),
        }
    }

    fn device_access(&mut self, size: u8) -> AccessSize {
        self.unfinished = true;
        self.counters.device_accesses += 1;
        self.clock.tick();
        AccessSize::from_bytes(size).unwrap_or(AccessSize::Byte)
    }
}
