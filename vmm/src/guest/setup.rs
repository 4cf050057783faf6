//! How a guest is to be booted.

use super::known::Known;
use super::{Guest, GuestError};
use crate::boot::{self, KernelFile, ModuleFile};
use crate::check::{Checker, Judge, Objects};
use crate::devices::Devices;
use crate::doctor::TestedMachine;
use crate::host::Backend;
use crate::machine::{Machine, StopRequest};
use crate::probe::{Choice, DebugRegisters};
use crate::run::{ClockChoice, Follow, Mode, Options, Run, entry_state};
use crate::symbols::Symbols;
use std::time::Duration;

/// Bytes that a guest that can be gone back in keeps of where it was preempted.
const MOST_RECORDED: u64 = 32 << 20;

/// How a guest is to be booted.
#[derive(Clone, Debug)]
pub struct Setup {
    name: String,
    kernel: Vec<u8>,
    at: Option<u32>,
    modules: Vec<(String, Vec<u8>)>,
    command_line: String,
    memory: u64,
    clock: ClockChoice,
    probes: Choice,
    exact: bool,
    follows_kernel: bool,
    reversible: bool,
    stop: StopRequest,
    timeout: Option<Duration>,
}

impl Setup {
    /// The defaults.
    pub(super) fn new(name: String, kernel: Vec<u8>) -> Self {
        Setup {
            name,
            kernel,
            at: None,
            modules: Vec::new(),
            command_line: String::new(),
            memory: 16 << 20,
            clock: ClockChoice::DETERMINISTIC,
            probes: Choice::Auto,
            exact: false,
            follows_kernel: false,
            reversible: false,
            stop: StopRequest::default(),
            timeout: Some(Duration::from_secs(60)),
        }
    }

    /// The kernel is a flat binary: 32-bit code that lies and begins at this physical address.
    #[must_use]
    pub fn at(mut self, address: u32) -> Self {
        self.at = Some(address);
        self
    }

    /// RAM, in MiB; 16 unless it is said.
    #[must_use]
    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.memory = mib << 20;
        self
    }

    /// The kernel's command line.
    #[must_use]
    pub fn command_line(mut self, text: impl Into<String>) -> Self {
        self.command_line = text.into();
        self
    }

    /// One more module: what the kernel is told of it (its name and arguments), and its bytes.
    #[must_use]
    pub fn module(mut self, command: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.modules.push((command.into(), bytes.into()));
        self
    }

    /// Time is counted in instructions, so that a run repeats to the byte: this is so unless something else is
    /// said.
    #[must_use]
    pub fn deterministic(mut self) -> Self {
        self.clock = ClockChoice::DETERMINISTIC;
        self
    }

    /// The same, an instruction taking so many nanoseconds of the guest's time.
    #[must_use]
    pub fn nanoseconds_per_instruction(mut self, nanoseconds: u64) -> Self {
        self.clock = ClockChoice::Deterministic { nanoseconds_per_instruction: nanoseconds.max(1) };
        self
    }

    /// Time is counted in exits: the guest runs at full speed, and repeats to the byte where it does not compute for
    /// long without one. One that is [`reversible`](Setup::reversible) can be gone back in either way.
    #[must_use]
    pub fn by_exits(mut self) -> Self {
        self.clock = ClockChoice::EXITS;
        self
    }

    /// The timer follows the time that the guest ran.
    #[must_use]
    pub fn real_time(mut self) -> Self {
        self.clock = ClockChoice::Real;
        self
    }

    /// Everything is stepped, so that the state before each event is known and all of memory after it is held
    /// against the model; slow.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// The guest can be gone back with ([`Guest::step_back`], [`Guest::who_wrote`]): checkpoints are taken on the
    /// way, which hold 48 MiB beside one image of memory at most.
    #[must_use]
    pub fn reversible(mut self) -> Self {
        self.reversible = true;
        self
    }

    /// Each instruction of ring 0 is told to sinks ([`Judged::Step`](crate::check::Judged::Step)), once the guest's timer
    /// runs. It needs the deterministic clock.
    #[must_use]
    pub fn follow_kernel(mut self) -> Self {
        self.follows_kernel = true;
        self
    }

    /// What ends the run from another thread, or by a signal.
    #[must_use]
    pub fn stop_request(mut self, stop: StopRequest) -> Self {
        self.stop = stop;
        self
    }

    /// How entries are caught.
    #[must_use]
    pub fn probes(mut self, choice: Choice) -> Self {
        self.probes = choice;
        self
    }

    /// Ends the run after this wall-clock time; a minute unless it is said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The guest in front of its first instruction.
    ///
    /// # Errors
    /// [`GuestError`] if there is no usable KVM, the image cannot be booted, or what was asked for contradicts
    /// itself.
    pub fn boot(self) -> Result<Guest, GuestError> {
        let mode = self.mode()?;
        let tested = TestedMachine::new(self.memory).map_err(GuestError::NoKvm)?;
        self.boot_in(tested, mode)
    }

    /// The guest in front of its first instruction, on a KVM that was tested before, with hardware `breakpoints` as that
    /// test has found them.
    ///
    /// # Errors
    /// As [`Setup::boot`].
    pub fn boot_on(
        self,
        backend: &Backend,
        breakpoints: DebugRegisters,
    ) -> Result<Guest, GuestError> {
        let mode = self.mode()?;
        let mut machine = Machine::new(self.memory)?;
        machine.exit_on_msr()?;
        self.boot_in(TestedMachine { machine, backend: backend.clone(), breakpoints }, mode)
    }

    /// The mode that was asked for.
    fn mode(&self) -> Result<Mode, GuestError> {
        let mode = Mode::new(self.clock, self.exact).ok_or(GuestError::Contradiction(
            "exact mode steps the guest, so it needs the deterministic clock",
        ))?;
        if self.exact && self.probes == Choice::None {
            return Err(GuestError::Contradiction(
                "exact mode catches events by probes, so it needs some",
            ));
        }
        if self.reversible && (self.exact || self.clock.is_real()) {
            return Err(GuestError::Contradiction(
                "going back is to run again by single instructions, so it needs a clock that counts and no exact mode",
            ));
        }
        if self.follows_kernel && !matches!(mode, Mode::Ordinary(ClockChoice::Deterministic { .. }))
        {
            return Err(GuestError::Contradiction(
                "to follow the kernel is to step it, which the deterministic clock does, without exact mode",
            ));
        }
        Ok(mode)
    }

    fn boot_in(self, tested: TestedMachine, mode: Mode) -> Result<Guest, GuestError> {
        let TestedMachine { mut machine, backend, breakpoints } = tested;
        let kernel = KernelFile { name: &self.name, bytes: &self.kernel };
        let modules: Vec<ModuleFile<'_>> = self
            .modules
            .iter()
            .map(|(command, bytes)| ModuleFile { name: command, command, bytes })
            .collect();
        let (memory, command_line) = (&machine.all_memory(), &self.command_line);
        let boot = match self.at {
            Some(address) => boot::load_at(memory, kernel, address, &modules, command_line)?,
            None => boot::load(memory, kernel, &modules, command_line)?,
        };
        machine.vcpu.set_state(&entry_state(&boot.entry));
        let objects = Objects::of_elf32(&self.kernel);
        let options = Options { mode, probes: self.probes, breakpoints, timeout: self.timeout };
        let judge = Judge::new(Checker::new(&backend).with_objects(objects))
            .without_probes(self.probes == Choice::None);
        let names = Symbols::none().with_kernel(self.kernel);
        let mut run = Run::new(machine, Devices::new(self.memory), &options)
            .with_symbols(names.clone())
            .with_stop_request(self.stop);
        if self.follows_kernel {
            let follows = run.follow(Follow::Kernel);
            debug_assert!(follows, "the mode was looked at");
        }
        let mut guest = Guest {
            run: if self.reversible { run.reversible(MOST_RECORDED) } else { run },
            known: Known::new(judge, names),
            backend,
            timeline: None,
        };
        if self.reversible {
            guest.remember()?;
        }
        Ok(guest)
    }
}
