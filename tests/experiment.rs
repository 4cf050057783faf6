//! A guest, and how it is to be run.

use crate::host::host;
use crate::seen::{Recorder, Seen};
use esp0::boot::{self, KernelFile, ModuleFile};
use esp0::check::{Checker, Judge, Objects};
use esp0::devices::Devices;
use esp0::guests;
use esp0::machine::Machine;
use esp0::probe::Choice;
use esp0::run::{ClockChoice, Mode, Options, Run, entry_state};
use std::borrow::Cow;
use std::time::Duration;

/// Long enough for any guest of the tests, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The same in exact mode, which steps the kernel's start too.
const EXACT_TIMEOUT: Duration = Duration::from_secs(900);

/// RAM of a guest unless a test says otherwise: enough for the microkernel.
const MEMORY: u64 = 16 << 20;

/// A guest, and how it is to be run.
#[derive(Clone, Debug)]
pub struct Experiment {
    kernel: Cow<'static, [u8]>,
    modules: Vec<(String, Cow<'static, [u8]>)>,
    command_line: String,
    clock: ClockChoice,
    probes: Choice,
    timeout: Duration,
    exact: bool,
    tells_of_msrs: bool,
}

impl Experiment {
    /// A guest that esp0 carries, with its default modules, on the deterministic clock.
    ///
    /// # Panics
    /// If esp0 carries no such guest.
    pub fn with_guest(name: &str) -> Self {
        let guest = guests::guest(name).unwrap_or_else(|| panic!("esp0 carries no guest {name}"));
        Self::with_kernel(guest.kernel).modules(guest.modules)
    }

    /// A kernel from its file's bytes, without modules, on the deterministic clock.
    pub fn with_kernel(kernel: impl Into<Cow<'static, [u8]>>) -> Self {
        Experiment {
            kernel: kernel.into(),
            modules: Vec::new(),
            command_line: String::new(),
            clock: ClockChoice::DETERMINISTIC,
            probes: Choice::Auto,
            timeout: TIMEOUT,
            exact: false,
            tells_of_msrs: true,
        }
    }

    /// The microkernel with these programs and no others.
    pub fn with_programs(commands: &[&str]) -> Self {
        Self::with_guest("micro").modules(commands)
    }

    /// These programs that esp0 carries, in place of the modules so far.
    ///
    /// # Panics
    /// If esp0 carries no such program.
    #[must_use]
    pub fn modules(mut self, commands: &[&str]) -> Self {
        self.modules.clear();
        for command in commands {
            let program = guests::program(command)
                .unwrap_or_else(|| panic!("esp0 carries no program for {command:?}"));
            self.modules.push(((*command).to_owned(), program.bytes.into()));
        }
        self
    }

    /// One more module, from its file's bytes.
    #[must_use]
    pub fn module(mut self, command: &str, bytes: Vec<u8>) -> Self {
        self.modules.push((command.to_owned(), bytes.into()));
        self
    }

    /// With this command line.
    #[must_use]
    pub fn command_line(mut self, text: &str) -> Self {
        text.clone_into(&mut self.command_line);
        self
    }

    /// On this clock.
    #[must_use]
    pub fn clock(mut self, clock: ClockChoice) -> Self {
        self.clock = clock;
        self
    }

    /// On the wall clock.
    #[must_use]
    pub fn real_time(self) -> Self {
        self.clock(ClockChoice::Real)
    }

    /// Caught by these probes.
    #[must_use]
    pub fn probes(mut self, choice: Choice) -> Self {
        self.probes = choice;
        self
    }

    /// Ended after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Stepped, and held against the model: see `esp0 run --exact`.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self.timeout = EXACT_TIMEOUT;
        self
    }

    /// As with a KVM that has no exits at MSRs: an entry by SYSENTER is not seen.
    #[must_use]
    pub fn without_exits_at_msrs(mut self) -> Self {
        self.tells_of_msrs = false;
        self
    }

    /// Runs the guest to its end.
    ///
    /// # Panics
    /// If the guest cannot be loaded, or KVM refuses something.
    pub fn run(&self) -> Seen {
        let mut run = self.start();
        let checker = Checker::new(&host().backend).with_objects(Objects::of_elf32(&self.kernel));
        let mut recorder = Recorder::default();
        let end = Judge::new(checker).follow(&mut run, &mut recorder).expect("KVM runs the guest");
        recorder.finish(end, &run)
    }

    /// The guest in front of its first instruction.
    ///
    /// # Panics
    /// If it cannot be loaded, or there is no machine.
    pub fn start(&self) -> Run {
        let host = host();
        let mut machine = Machine::new(MEMORY).expect("a machine can be created");
        if self.tells_of_msrs {
            machine.exit_on_msr().expect("KVM of Linux 5.10");
        }
        let modules: Vec<ModuleFile<'_>> = self
            .modules
            .iter()
            .map(|(command, bytes)| ModuleFile { name: command, command, bytes })
            .collect();
        let kernel = KernelFile { name: "the test's kernel", bytes: &self.kernel };
        let boot = boot::load(&machine.all_memory(), kernel, &modules, &self.command_line)
            .unwrap_or_else(|error| panic!("{error}"));
        machine.vcpu.set_state(&entry_state(&boot.entry));
        let options = Options {
            mode: Mode::new(self.clock, self.exact).expect("exact is for the deterministic clock"),
            probes: self.probes,
            breakpoints: host.breakpoints,
            timeout: Some(self.timeout),
        };
        Run::new(machine, Devices::new(MEMORY), &options)
    }
}
