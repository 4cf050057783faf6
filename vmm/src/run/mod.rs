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

mod clock;
mod end;
mod exact;
mod input;
mod real_mode;
mod start;
mod step;

pub use clock::ClockChoice;
pub use end::{End, Ending};
pub use input::Input;
pub use real_mode::StackLoad;
pub use start::{entry_state, flat_protected_mode, real_mode};

use crate::devices::{AccessSize, Devices, Effect};
use crate::entry::{
    Entry, PendingSwitch, Return, Scene, TaskSwitch, capture_entry, capture_return, capture_switch,
};
use crate::machine::{Exit, Machine, MachineError, processor, stop_requested};
use crate::probe::{Choice, Passed, Probes, loads_trap_flag, raised_event};
use clock::Clock;
use exact::ExactState;
use ia32::{Eflags, Processor, State, Vector};
use std::time::{Duration, Instant};
use step::{Stepping, classify};

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
                return Ok(End { ending, state: self.machine.vcpu.state() });
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
                let state = match ending {
                    Ending::TripleFault => self.last_state,
                    _ => self.machine.vcpu.state(),
                };
                return Ok(End { ending, state });
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

    /// The alarm goes off when the timer is due, or when the time allowed is up.
    fn set_alarm(&mut self) -> Result<(), MachineError> {
        let deadline = self.due;
        if self.alarm_at.is_some() && self.alarm_at == Some(deadline.unwrap_or(u64::MAX)) {
            return Ok(());
        }
        self.alarm_at = Some(deadline.unwrap_or(u64::MAX));
        let timer = deadline.map(|at| Duration::from_nanos(at.saturating_sub(self.clock.now())));
        let patience = self.give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
        let typed = self.input.as_ref().filter(|input| !input.ended()).map(|_| input::LATENCY);
        let delay = [timer, patience, typed].into_iter().flatten().min();
        self.machine.vcpu.set_alarm(delay)
    }

    /// Goes on by the deterministic clock: steps where an interrupt could be taken, and runs where
    /// none can. None if an instruction was stepped and nothing else happened.
    fn deterministic(
        &mut self,
        observer: &mut impl Observer,
    ) -> Result<Option<Exit>, MachineError> {
        if self.alarm_at.is_none() {
            self.alarm_at = Some(u64::MAX);
            let patience = self.give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
            self.machine.vcpu.set_alarm(patience)?;
        }
        if self.exact.is_some() {
            if !self.event_is_pending() {
                self.finish()?;
            }
            let state = self.machine.vcpu.state();
            if self.begin_exact(&state)? {
                let time_passes = self.due.is_some() || self.devices.interrupt_pending();
                let counts = time_passes && state.interruptible();
                return self.go_on_exactly(state, counts, observer);
            }
        }
        if self.injected.is_some() {
            self.machine.vcpu.request_interrupt_window(false);
            return self.machine.vcpu.run().map(Some);
        }
        let waiting = self.devices.interrupt_pending();
        let timed = self.due.is_some();
        if !timed && !waiting {
            self.machine.vcpu.request_interrupt_window(false);
            return self.machine.vcpu.run().map(Some);
        }
        self.finish()?;
        let state = self.machine.vcpu.state();
        let stepped = state.interruptible() || self.follows_kernel && state.cpl() == 0;
        if !stepped {
            self.machine.vcpu.request_interrupt_window(true);
            return self.machine.vcpu.run().map(Some);
        }
        self.step(state, observer)
    }

    /// Executes one instruction at a boundary where an interrupt could be taken.
    fn step(
        &mut self,
        state: State,
        observer: &mut impl Observer,
    ) -> Result<Option<Exit>, MachineError> {
        let at = state.instruction_address();
        let mut code = [0; 15];
        let count = self.probes.read_code(&self.machine.linear(), at, &mut code);
        let class = classify(&code[..count]);
        if class == Stepping::MaySwitchTasks {
            let exit = self.run_one(state)?;
            // What comes next may be an event of another task, from another state.
            self.before = None;
            return Ok(Some(exit));
        }
        let steps_itself = state.eflags.contains(Eflags::TF)
            || (class == Stepping::LoadsFlags
                && loads_trap_flag(&state, &self.machine.linear(), &code[..count]));
        if class == Stepping::Never || steps_itself || self.probes.is_site(at) {
            return self.run_one(state).map(Some);
        }
        self.machine.vcpu.request_interrupt_window(false);
        let snapshot = self.machine.vcpu.snapshot();
        let exit = self.machine.vcpu.step(self.step_again)?;
        self.step_again = class == Stepping::LoadsFlags;
        let after = self.machine.vcpu.state();
        match exit {
            Exit::Step if !raised_event(&state, &after, &code[..count]) => {
                if class == Stepping::PushesFlags {
                    self.hide_trap_flag(&after);
                }
                self.counters.stepped += 1;
                self.counters.exits += 1;
                if state.interruptible() {
                    self.clock.tick();
                }
                if self.follows_kernel && state.cpl() == 0 {
                    let (before, code) = (&state, &code[..count]);
                    observer.look(&self.machine, &after, Stop::Step { before, code });
                }
                Ok(None)
            }
            Exit::MemoryRead { .. } | Exit::MemoryWrite { .. } => {
                self.clock.tick();
                self.step_again = true;
                Ok(Some(exit))
            }
            Exit::Interrupted | Exit::Shutdown | Exit::InternalError { .. } => {
                self.step_again = true;
                Ok(Some(exit))
            }
            _ => {
                // The instruction raised an event, and its frame was pushed under stepping: let it
                // happen again without.
                self.machine.vcpu.restore(&snapshot);
                self.run_one(state).map(Some)
            }
        }
    }

    /// Lets the instruction at this boundary happen without stepping. An interrupt shadow keeps KVM
    /// from reporting the open window before it has.
    fn run_one(&mut self, state: State) -> Result<Exit, MachineError> {
        self.step_again = true;
        if state.interruptible() {
            self.clock.tick();
            self.machine.vcpu.hold_interrupts_for_one_instruction();
        }
        self.before = Some(Box::new(state));
        self.machine.vcpu.request_interrupt_window(true);
        self.machine.vcpu.run()
    }

    /// PUSHF under stepping has pushed a TF that is not the guest's.
    fn hide_trap_flag(&self, after: &State) {
        let linear = self.machine.linear();
        let at = after.stack_address().wrapping_add(1);
        let mut byte = [0];
        if linear.read(at, &mut byte).is_some() {
            let _ = linear.write(at, &[byte[0] & !1]);
        }
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
        self.injected = None;
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

    /// The instruction that was to happen has not.
    fn stands_still(&mut self) -> bool {
        let now = self.machine.vcpu.state();
        self.before.as_ref().is_some_and(|before| {
            before.eip == now.eip && before.cpl() == now.cpl() && before.general == now.general
        })
    }

    fn device_access(&mut self, size: u8) -> AccessSize {
        self.unfinished = true;
        self.counters.device_accesses += 1;
        self.clock.tick();
        AccessSize::from_bytes(size).unwrap_or(AccessSize::Byte)
    }

    /// The guest waits for an interrupt.
    fn halt(&mut self) -> Turn {
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
    fn interrupted(&mut self) -> Option<Ending> {
        // The alarm has gone off: it must be set again.
        if !self.clock.is_deterministic() {
            self.alarm_at = None;
        }
        self.give_up_at.filter(|at| Instant::now() >= *at).map(|_| Ending::TimedOut)
    }

    /// Tells of the task switch that was to come, if it has.
    #[cold]
    fn complete_switch(&mut self, observer: &mut impl Observer) {
        let state = self.machine.vcpu.state();
        let Some(pending) = self.switching.take() else { return };
        match pending.complete(&self.machine, &state) {
            Ok(switch) => {
                // A task that goes on in an outer ring does so as after a return.
                self.ring = Some(switch.ring()).filter(|ring| *ring > switch.before.cpl());
                observer.look(&self.machine, &state, Stop::Switch(&switch));
                observer.switch(&switch);
            }
            Err(pending) => self.switching = Some(pending),
        }
    }

    /// The guest stopped at a probe.
    #[inline]
    fn stop(
        &mut self,
        address: u32,
        exit: &Exit,
        observer: &mut impl Observer,
    ) -> Result<(), MachineError> {
        self.counters.stops += 1;
        self.unfinished = matches!(exit, Exit::PortWrite { .. });
        let mut state = self.machine.vcpu.state();
        if *exit == Exit::Halt {
            // HLT left EIP behind itself; the site is where it stands.
            state.eip = state.eip.wrapping_sub(1);
        }
        let witness = if self.exact.is_some() { self.witness()? } else { None };
        // Since a return to an outer ring no kernel code has run that could have changed its IDT.
        if self.ring.is_none_or(|ring| ring == 0) {
            self.probes.follow(&mut self.machine, &state)?;
        }
        let time = self.clock.instructions();
        let scene = Scene {
            sequence: self.sequence + 1,
            time,
            injected: self.injected.take(),
            before: self.before.take(),
            ring: self.ring,
        };
        let exact = self.is_exact();
        let (mut loads_idt, mut passes_itself) = (false, false);
        if let Some(site) = self.probes.site_at(address) {
            if site.resumes {
                self.step_again = true;
                return self.probes.resumed(&mut self.machine, address, state.eip);
            }
            // In exact mode it is reported when it has been executed.
            let (iret, far_jump) = (site.iret.filter(|_| !exact), site.far_jump);
            loads_idt = site.loads_idt;
            passes_itself = self.probes.passes_itself(site);
            if !site.vectors.is_empty() {
                let entry = capture_entry(&self.machine, &self.probes, &site.vectors, state, scene);
                if let Some(mut entry) = entry {
                    if let Some(witness) = witness {
                        self.complete(&mut entry, *witness);
                    }
                    self.sequence += 1;
                    self.last_state = state;
                    self.ring = None;
                    self.resuming = false;
                    observer.look(&self.machine, &entry.after, Stop::Entry(&entry));
                    observer.entry(&entry);
                }
            }
            if let Some(iret) = iret {
                let returning = &capture_return(&self.machine, &iret, state, self.sequence, time);
                self.ring = Some(returning.ring());
                self.resuming = self.clock.is_deterministic() && returning.ring() != 0;
                observer.look(&self.machine, &returning.state, Stop::Return(returning));
                observer.leave(returning);
            }
            if let Some(jump) = far_jump {
                let after = self.sequence;
                self.switching =
                    capture_switch(&self.machine, &self.probes, jump, state, after, time);
            }
        }
        let passed = if passes_itself {
            Passed::WithNextRun
        } else if exact {
            self.step_again = true;
            return self.probes.expose(&mut self.machine, address, state.eip);
        } else {
            self.probes.pass(&mut self.machine, address, state.eip)?
        };
        match passed {
            Passed::WithNextRun => {
                if self.unfinished && self.clock.is_deterministic() && state.interruptible() {
                    self.finish()?;
                    self.clock.tick();
                }
            }
            Passed::Stepped | Passed::Done => {
                if passed == Passed::Stepped {
                    self.counters.exits += 1;
                    self.counters.stepped += 1;
                }
                self.step_again = true;
                if state.interruptible() {
                    self.clock.tick();
                }
            }
            Passed::Exposed => {
                self.counters.exits += 1;
                self.step_again = true;
                // What it raises is an event from this very state.
                self.before = self.switching.is_none().then(|| Box::new(state));
                if let Some(at) = self.switching.as_ref().and_then(PendingSwitch::goes_on_in_ring_0)
                {
                    self.probes.await_resumption(&mut self.machine, at)?;
                }
            }
        }
        if loads_idt {
            let state = self.machine.vcpu.state();
            self.probes.follow(&mut self.machine, &state)?;
        }
        Ok(())
    }
}
