//! Runs a guest from its first instruction to its end, one event after the other.
//!
//! [`Run::next_event`] lets the guest go on until something happens that is told: an entry, a return, a
//! line on the console, the end. Between two calls the guest stands still, and can be asked. One thread
//! does everything: it lets the guest run, serves its devices, decides at which instruction boundary an
//! interrupt arrives, and turns stops at probes into entries and returns.
//!
//! ```text
//!          ┌───────────────────────────────────────────────────────────────┐
//!          ▼                                                               │
//!  Start ─► Ready ─► devices, interrupts ─► run or step ─► exit ─┬─► device, halt
//!                                                                ├─► AtProbe: entry, return, pass
//!                                                                └─► Ending ─► Ended
//! ```
//! How the guest goes on from a boundary is its `Pace`: freely on the real clock and on that of exits; stepped wherever an
//! interrupt could be taken, on the deterministic clock; or stepped everywhere, in exact mode. With the
//! deterministic clock the state before every event that interrupts such code is then known exactly, not
//! only that before external ones.

mod apic_page;
mod ask;
mod bios_calls;
mod by_exits;
mod checkpoint;
mod clock;
mod counted;
mod crossings;
mod departure;
mod dialogue;
mod end;
mod event;
mod exact;
mod exits;
mod first_idt;
mod inject;
mod input;
mod last;
mod operation;
mod probed;
mod progress;
mod real_mode;
mod seen;
mod single;
mod start;
mod string_output;
mod task_gates;
mod time_stamp;
mod unjudged;
mod wait;
mod watched_screen;

pub use bios_calls::BiosCall;
pub use checkpoint::Checkpoint;
pub use clock::{ClockChoice, Mode};
pub use dialogue::{Dialogue, DialogueStep};
pub use end::{End, Ending};
pub use event::{Event, Step};
pub use input::Input;
pub use last::LastEvent;
#[cfg(feature = "program")]
pub(crate) use operation::operation_of;
pub use real_mode::StackLoad;
pub(crate) use single::Boundary;
pub use single::Moment;
pub use start::{entry_state, flat_protected_mode, real_mode};
pub use time_stamp::TimeStampRead;
pub use unjudged::{FirstIdt, Unjudged};

use crate::devices::Devices;
use crate::machine::{Exit, Machine, MachineError, StopRequest};
use crate::probe::{Choice, DebugRegisters, Probes};
use crate::symbols::Symbols;
use by_exits::ByExits;
use clock::Clock;
use exact::ExactState;
use ia32::{Processor, State};
use probed::AtProbe;
use progress::Progress;
use seen::{Outward, Seen};
use std::time::{Duration, Instant};
use wait::Alarm;

/// How a guest is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much is to be known of it, and what its timer runs on.
    pub mode: Mode,
    /// How entries are caught.
    pub probes: Choice,
    /// What hardware breakpoints are good for.
    pub breakpoints: DebugRegisters,
    /// Wall-clock time after which the run ends.
    pub timeout: Option<Duration>,
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
    pace: Pace,
    phase: Phase,
    seen: Seen,
    owed: Owed,
    outside: Outside,
    by_exits: ByExits,
    /// What is expected of the console, and answered.
    dialogue: Option<Dialogue>,
    /// When the timer is due next, by the guest's time; asked anew after each access to a device.
    due: Option<u64>,
    counters: Counters,
    /// Whether it gets anywhere.
    progress: Progress,
    processor: Processor,
    /// It begins with a BIOS, and the kernel that is booted is watched from its first IDT on.
    firmware: bool,
    /// After so many stops and accesses to devices the guest is stepped to its end.
    watched_after: Option<(u64, u64)>,
}

/// What the vCPU was left in the middle of, and has to be done before it is let go.
#[derive(Clone, Copy, Debug)]
struct Owed {
    /// The last exit was for an instruction that KVM completes when the vCPU runs next.
    unfinished: bool,
    /// Stepping has to be set anew.
    step_again: bool,
    /// A signal ended the last KVM_RUN.
    disturbed: Option<Disturbed>,
}

impl Default for Owed {
    fn default() -> Self {
        Owed { unfinished: false, step_again: true, disturbed: None }
    }
}

/// What comes to a run from outside the guest: it is no checkpoint's.
#[derive(Debug)]
struct Outside {
    alarm: Alarm,
    stop: StopRequest,
    input: Option<Input>,
}

/// How the guest goes on from a boundary.
#[derive(Clone, Debug)]
enum Pace {
    /// Freely, to the next exit.
    Free,
    /// The same on the clock of exits: what does not repeat by itself is kept or put in place.
    ByExits {
        /// What is stepped and told.
        follow: Follow,
    },
    /// One instruction where an interrupt could be taken, and freely elsewhere.
    Counted {
        /// What is stepped and told beside that.
        follow: Follow,
    },
    /// One instruction everywhere; what an event does is undone and seen as a whole.
    Exact(Box<ExactState>),
}

/// Which instructions are told, each as [`Event::Step`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// None.
    #[default]
    Nothing,
    /// Those of ring 0, once the guest's timer runs.
    Kernel,
    /// All, whatever the ring.
    Everything,
}

/// Where a run stands between two calls of [`Run::next_event`], and what comes first in the next one.
#[derive(Clone, Debug)]
enum Phase {
    /// The vCPU stands in front of the guest's first instruction, and nothing has been prepared.
    Start,
    /// A kernel that started in real mode is stepped until it has set itself up; so many instructions
    /// may still be.
    RealMode(u32),
    /// The vCPU may go on.
    Ready,
    /// The vCPU has left the guest, and the exit has not been handled yet.
    Exited(Exit),
    /// The vCPU stands at a probe.
    AtProbe(AtProbe),
    /// In exact mode: the guest steps itself, and the #DB after an instruction that has led to this state
    /// is due.
    OwnStep(Box<State>),
    /// The guest has come to its end, of which nothing has been told.
    Ending(Ending),
    /// The end has been told.
    Ended(Box<End>),
}

/// A signal ended KVM_RUN before anything else did: where the vCPU stands it may have been led by an event.
#[derive(Clone, Copy, Debug, Default)]
struct Disturbed {
    /// The instruction that was to happen has not, and takes time.
    owes_tick: bool,
    /// It has happened.
    has_run: bool,
}

/// What a part of the loop came to: an event to be told, or none so far.
type Turn = Result<Option<Event>, MachineError>;

impl Run {
    /// A guest that has been loaded into `machine`, whose vCPU stands at its first instruction.
    pub fn new(machine: Machine, devices: Devices, options: &Options) -> Self {
        let clock = Clock::new(options.mode.clock());
        let due = devices.next_deadline();
        let processor = machine.processor();
        let pace = match options.mode {
            Mode::Exact { .. } => Pace::Exact(Box::default()),
            Mode::Ordinary(ClockChoice::Deterministic { .. }) => {
                Pace::Counted { follow: Follow::Nothing }
            }
            Mode::Ordinary(ClockChoice::Exits { .. }) => Pace::ByExits { follow: Follow::Nothing },
            Mode::Ordinary(ClockChoice::Real | ClockChoice::Slowed { .. }) => Pace::Free,
        };
        Run {
            machine,
            devices,
            probes: Probes::new(options.probes, options.breakpoints),
            clock,
            pace,
            phase: Phase::Start,
            seen: Seen::default(),
            owed: Owed::default(),
            outside: Outside {
                alarm: Alarm::new(options.timeout),
                stop: StopRequest::default(),
                input: None,
            },
            by_exits: ByExits::default(),
            dialogue: None,
            due,
            counters: Counters::default(),
            progress: Progress::default(),
            processor,
            firmware: false,
            watched_after: None,
        }
    }

    /// What names the kernel's functions: where a return was missed, the IRET is looked for there.
    #[must_use]
    pub fn with_symbols(mut self, symbols: Symbols) -> Self {
        self.probes.set_symbols(symbols);
        self
    }

    /// The guest begins with a BIOS: real mode is not stepped, and nothing is probed before somebody has
    /// loaded an IDT in protected mode. It is for the real clock.
    #[must_use]
    pub fn behind_firmware(mut self) -> Self {
        self.firmware = true;
        self
    }

    /// Tells these instructions from now on; false on a clock that does not count, where nobody could. On the
    /// deterministic clock and on that of exits it changes nothing: instructions take as much time as they do
    /// otherwise. What leaves the VM by itself or enters a handler is not told; the latter is an entry. On the
    /// clock of exits [`Follow::Kernel`] is not to be had either.
    #[must_use]
    pub fn follow(&mut self, what: Follow) -> bool {
        match &mut self.pace {
            Pace::ByExits { .. } if what == Follow::Kernel => false,
            Pace::Counted { follow } | Pace::ByExits { follow } => {
                *follow = what;
                true
            }
            _ => false,
        }
    }

    /// What `input` brings goes to the guest's serial port. It is for the real clock: when a byte
    /// arrives cannot be repeated.
    #[must_use]
    pub fn with_input(mut self, input: Input) -> Self {
        self.outside.input = Some(input);
        self
    }

    /// What asks this run to end, from another thread or by a signal.
    pub fn stop_request(&self) -> &StopRequest {
        &self.outside.stop
    }

    /// `stop` ends this run from now on.
    #[must_use]
    pub fn with_stop_request(mut self, stop: StopRequest) -> Self {
        self.outside.stop = stop;
        self
    }

    /// Lets the guest go on to the next event.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    #[inline]
    pub fn next_event(&mut self) -> Result<Event, MachineError> {
        loop {
            if let Some(event) = self.advance()? {
                return Ok(event);
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

    /// The machine, for another run.
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// From one phase to the next.
    #[inline]
    fn advance(&mut self) -> Turn {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Ready => self.go_on(),
            Phase::AtProbe(stop) => self.at_probe(stop),
            Phase::Exited(exit) => self.handle(exit),
            Phase::Start => self.start(),
            Phase::RealMode(left) => self.step_real_mode(left),
            Phase::OwnStep(after) => self.trap_own_step(*after),
            Phase::Ending(ending) => self.end(ending),
            Phase::Ended(end) => {
                self.phase = Phase::Ended(end.clone());
                Ok(Some(Event::End(end)))
            }
        }
    }

    /// Prepares for the guest's first instruction.
    fn start(&mut self) -> Turn {
        let entry = self.machine.vcpu.state();
        self.seen.last_state = entry;
        if self.firmware {
            return Ok(None);
        }
        if !entry.protected() && self.probes.choice() != Choice::None {
            self.phase = Phase::RealMode(real_mode::LIMIT);
            return Ok(None);
        }
        self.await_idt(&entry)
    }

    /// Probes what is to load an IDT, the vCPU being in 32-bit protected mode.
    fn await_idt(&mut self, entry: &State) -> Turn {
        self.probes.await_idt(&mut self.machine, entry.instruction_address())?;
        // A guest that starts in the middle has its IDT already.
        self.probes.follow(&mut self.machine, entry)?;
        Ok(None)
    }

    /// Tells the end.
    fn end(&mut self, ending: Ending) -> Turn {
        self.machine.vcpu.set_alarm(None)?;
        self.machine.verify_memory()?;
        self.end_recording(&ending)?;
        let end = Box::new(self.last_words(ending)?);
        self.probes.look_for_unwatched(&self.machine, &end.state);
        self.phase = Phase::Ended(end.clone());
        Ok(Some(Event::End(end)))
    }

    /// The run is over, for nobody wants more of it.
    pub(crate) fn end_with_enough(&mut self) {
        if !matches!(self.phase, Phase::Ending(_) | Phase::Ended(_)) {
            self.phase = Phase::Ending(Ending::Enough);
        }
    }

    /// The run is over, unless `ending` is none.
    fn end_if(&mut self, ending: Option<Ending>) {
        if let Some(ending) = ending {
            self.phase = Phase::Ending(ending);
        }
    }

    /// Brings devices up to now, injects an interrupt if one waits and is taken here, and lets the guest go
    /// on.
    #[inline]
    fn go_on(&mut self) -> Turn {
        // A signal that came while an instruction was being finished has left no other trace.
        self.machine.vcpu.attend_to_signals();
        if self.outside.stop.is_requested() {
            self.end_if(Some(Ending::Stopped));
            return Ok(None);
        }
        self.is_as_recorded()?;
        if self.is_cut_off()? {
            return Ok(None);
        }
        if self.machine.vcpu.alarm_rang()
            && let Some(ending) = self.alarm_went_off()
        {
            self.end_if(Some(ending));
            return Ok(None);
        }
        if self.is_to_be_watched() {
            let end = Box::new(self.watch_the_end()?);
            self.phase = Phase::Ended(end.clone());
            return Ok(Some(Event::End(end)));
        }
        if self.probes.awaits_covering() {
            self.finish()?;
            self.probes.cover_asked(&mut self.machine)?;
        }
        if self.seen.outward.untold {
            let state = self.machine.vcpu.state();
            if state.cpl() != 0 {
                self.seen.outward.untold = false;
                return Ok(Some(Event::Resumed(Box::new(state))));
            }
        }
        if let Some(due) = self.due
            && self.clock.now() >= due
        {
            self.devices.advance_to(self.clock.now());
            self.due = self.devices.next_deadline();
        }
        if let Some(bytes) = self.outside.input.as_mut().and_then(Input::poll) {
            self.devices.receive_console_input(&bytes);
        }
        self.move_for_devices();
        self.inject_what_waits()?;
        match self.pace {
            Pace::Free => self.run_freely(),
            Pace::ByExits { .. } => self.run_by_exits(),
            Pace::Counted { .. } => self.run_counted(),
            Pace::Exact(_) => self.run_exactly(),
        }
    }

    /// Lets the guest run to its next exit, on the real clock.
    fn run_freely(&mut self) -> Turn {
        if self.machine.answers_reads() {
            self.show_local_apic();
        }
        self.set_alarm()?;
        let waiting = self.wants_window();
        self.machine.vcpu.request_interrupt_window(waiting);
        let begun = Instant::now();
        let exit = self.machine.vcpu.run()?;
        self.clock.passed_since(begun);
        self.exited(exit)
    }

    /// Completes an instruction that the last exit left half-way, in as many parts as it has.
    fn finish(&mut self) -> Result<(), MachineError> {
        while std::mem::take(&mut self.owed.unfinished) {
            // An instruction that reads and writes at a device goes on with another exit.
            let exit = self.machine.vcpu.finish_instruction()?;
            if self.serve(&exit).is_some() {
                self.count_exit(&exit);
            }
        }
        Ok(())
    }
}
