//! A kernel under test: booted, run to a place, asked, put back.
//!
//! ```no_run
//! # fn main() -> Result<(), esp0::guest::GuestError> {
//! use esp0::guest::Guest;
//!
//! let mut guest = Guest::from_file("kernel.elf")?.memory_mib(64).deterministic().boot()?;
//! let entry = guest.run_until(|entry| entry.vector.0 == 0x80)?;
//! assert_eq!(entry.frame.selector(esp0::ia32::Word::Cs), Some(0x1b));
//! guest.run_until_console("init: ready")?;
//! guest.assert_clean();
//! # Ok(())
//! # }
//! ```
//! Each entry and return on the way is judged by the rules of [`crate::check`]; what they find is kept
//! ([`Guest::findings`]), and [`Guest::assert_clean`] panics with it, each finding with what was expected
//! beside what came. When the guest has ended, how it did is judged as well ([`Guest::verdict`]).

mod backwards;
mod known;
mod setup;

pub use known::Found;
pub use setup::Setup;

use crate::boot::BootError;
pub use crate::check::{Judged, Sink, Verdict};
use crate::doctor::Problem;
use crate::entry::Entry;
use crate::host::Backend;
use crate::machine::{Machine, MachineError};
use crate::run::{Checkpoint as RunCheckpoint, Counters, End, Ending, Run, Unjudged};
use crate::timeline::{Mark, Timeline};
use crate::trace::{Colour, FindingText};
use ia32::State;
use known::Known;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Why a guest cannot be booted, or did not come to where it was to.
#[derive(Debug, Error)]
pub enum GuestError {
    /// The kernel or a module cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The image cannot be booted.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// There is no KVM that runs 32-bit kernels. The test is to be run where there is one: on a processor with
    /// virtualisation, or by `scripts/kvm-host`, which brings one of its own.
    #[error("{0}")]
    NoKvm(Problem),
    /// What was asked for contradicts itself.
    #[error("{0}")]
    Contradiction(&'static str),
    /// KVM refused something on the way.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The guest ended before.
    #[error("the guest ended before {wanted}: {ending}{console}")]
    Ended {
        /// What it was run to.
        wanted: String,
        /// How it ended.
        ending: Ending,
        /// The last lines of its console.
        console: String,
    },
    /// No symbol of that name.
    #[error("the kernel has no symbol {0}")]
    NoSymbol(String),
    /// Memory is not mapped, or is no RAM.
    #[error("there is no memory of the guest at {0:08x}")]
    NoMemory(u64),
}

/// A guest as it was: registers, memory, devices, and what had been seen. A copy is cheap.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    run: RunCheckpoint,
    known: Known,
    mark: Option<Mark>,
}

/// A kernel that has been booted.
#[derive(Debug)]
pub struct Guest {
    run: Run,
    backend: Backend,
    known: Known,
    /// Where it can be gone back to, if that was asked for.
    timeline: Option<Timeline<Known>>,
}

impl Guest {
    /// The kernel in a file: an ELF32 image or a flat one, with a Multiboot header.
    ///
    /// # Errors
    /// [`GuestError::Read`] if it cannot be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Setup, GuestError> {
        let path = path.as_ref();
        let kernel = std::fs::read(path)
            .map_err(|source| GuestError::Read { path: path.to_owned(), source })?;
        Ok(Self::from_bytes(path.display().to_string(), kernel))
    }

    /// The kernel in these bytes; `name` is for messages.
    pub fn from_bytes(name: impl Into<String>, kernel: impl Into<Vec<u8>>) -> Setup {
        Setup::new(name.into(), kernel.into())
    }

    /// Lets the guest go on to what happens next, and judges it.
    ///
    /// # Errors
    /// [`GuestError::Machine`] if KVM refuses something.
    pub fn next_event(&mut self) -> Result<Judged, GuestError> {
        if self.timeline.is_some() {
            return self.next_remembered();
        }
        loop {
            let event = self.run.next_event()?;
            let judged = self.known.take(&self.run, event);
            if Known::is_told(&judged) {
                return Ok(judged);
            }
        }
    }

    /// Lets the guest go on to its end, or as long as `goes_on` says; `sink` takes each event with its judgement, those that
    /// [`Guest::next_event`] does not tell as well.
    ///
    /// # Errors
    /// [`GuestError::Machine`] if KVM refuses something; [`GuestError::Contradiction`] if the guest is
    /// [`reversible`](Setup::reversible).
    pub fn run_to(
        &mut self,
        sink: &mut impl Sink,
        mut goes_on: impl FnMut(&Counters) -> bool,
    ) -> Result<End, GuestError> {
        if self.timeline.is_some() {
            return Err(GuestError::Contradiction(
                "a guest that is to be gone back with tells its events by `next_event` alone",
            ));
        }
        loop {
            if !goes_on(&self.run.counters()) {
                self.run.end_with_enough();
            }
            let event = self.run.next_event()?;
            let judged = self.known.take(&self.run, event);
            sink.take(self.run.machine(), &judged);
            if let Judged::End(end) = judged {
                return Ok(*end);
            }
        }
    }

    /// The machine, to be looked at.
    pub fn machine(&self) -> &Machine {
        self.run.machine()
    }

    /// Runs to the next entry into ring 0 of which `wanted` is true.
    ///
    /// # Errors
    /// [`GuestError::Ended`] if the guest ends before.
    pub fn run_until(&mut self, wanted: impl Fn(&Entry) -> bool) -> Result<Entry, GuestError> {
        loop {
            match self.next_event()? {
                Judged::Entry(entry, _) if wanted(&entry) => {
                    return Ok(Arc::unwrap_or_clone(entry));
                }
                Judged::End(end) => return Err(self.ended("the entry that was wanted", *end)),
                _ => {}
            }
        }
    }

    /// Runs over `count` entries into ring 0; the last of them.
    ///
    /// # Errors
    /// [`GuestError::Ended`] if the guest ends before.
    pub fn run_entries(&mut self, count: u64) -> Result<Entry, GuestError> {
        let mut left = count.max(1);
        self.run_until_mut(format!("{count} entries"), |judged| {
            left -= u64::from(matches!(judged, Judged::Entry(..)));
            left == 0
        })
        .map(|judged| match judged {
            Judged::Entry(entry, _) => Arc::unwrap_or_clone(entry),
            _ => unreachable!("the count changes at entries only"),
        })
    }

    /// Runs until the console has `text`, in what was written so far or from now on.
    ///
    /// # Errors
    /// [`GuestError::Ended`] if the guest ends before.
    pub fn run_until_console(&mut self, text: &str) -> Result<(), GuestError> {
        while !self.console().contains(text) {
            if let Judged::End(end) = self.next_event()? {
                if self.console().contains(text) {
                    break;
                }
                return Err(self.ended(&format!("its console had {text:?}"), *end));
            }
        }
        Ok(())
    }

    /// Runs to the linear address `address`, in front of the instruction there; the registers.
    ///
    /// # Errors
    /// [`GuestError::Ended`] if the guest ends before.
    pub fn run_until_address(&mut self, address: u32) -> Result<State, GuestError> {
        self.run.stop_at(address, true)?;
        let reached = self.run_until_mut(format!("it came to {address:08x}"), |judged| {
            matches!(judged, Judged::Reached(_))
        });
        self.run.stop_at(address, false)?;
        reached.map(|judged| match judged {
            Judged::Reached(state) => *state,
            _ => unreachable!("it was run to an address"),
        })
    }

    /// Runs to the function, or another label, of that name in the kernel; the registers.
    ///
    /// # Errors
    /// [`GuestError::NoSymbol`] if the kernel has none, and as [`Guest::run_until_address`].
    pub fn run_until_symbol(&mut self, name: &str) -> Result<State, GuestError> {
        let address = self.symbol(name)?;
        self.run_until_address(address)
    }

    /// The address of a function, a variable or a label of the kernel: by its name as linked, or as it is
    /// written in Rust (`kernel::main`).
    ///
    /// # Errors
    /// [`GuestError::NoSymbol`] if the kernel has none.
    pub fn symbol(&self, name: &str) -> Result<u32, GuestError> {
        self.known.names().address_of(name).ok_or_else(|| GuestError::NoSymbol(name.into()))
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// [`GuestError::Machine`] if KVM refuses something.
    pub fn run_to_end(&mut self) -> Result<End, GuestError> {
        loop {
            if let Judged::End(end) = self.next_event()? {
                return Ok(*end);
            }
        }
    }

    fn run_until_mut(
        &mut self,
        wanted: String,
        mut is: impl FnMut(&Judged) -> bool,
    ) -> Result<Judged, GuestError> {
        loop {
            let judged = self.next_event()?;
            if is(&judged) {
                return Ok(judged);
            }
            if let Judged::End(end) = judged {
                return Err(self.ended(&wanted, *end));
            }
        }
    }

    fn ended(&self, wanted: &str, end: End) -> GuestError {
        let console = self.console();
        let lines: Vec<&str> = console.lines().rev().take(5).collect();
        let mut last = String::new();
        for line in lines.iter().rev() {
            let _ = write!(last, "\n     │ {}", line.escape_debug());
        }
        GuestError::Ended { wanted: wanted.into(), ending: end.ending, console: last }
    }

    /// The registers.
    pub fn registers(&mut self) -> State {
        self.run.state()
    }

    /// Changes general registers, EIP and EFLAGS.
    ///
    /// # Errors
    /// [`GuestError::Machine`] if KVM refuses.
    pub fn set_registers(&mut self, state: &State) -> Result<(), GuestError> {
        self.run.set_registers(state)?;
        self.remember_from_here()
    }

    /// `N` bytes at a linear address, as the paging of the moment maps it.
    ///
    /// # Errors
    /// [`GuestError::NoMemory`] if any of them is not mapped.
    pub fn read<const N: usize>(&self, address: u32) -> Result<[u8; N], GuestError> {
        let mut bytes = [0; N];
        let read = self.run.machine().linear().read(address, &mut bytes);
        read.map(|()| bytes).ok_or(GuestError::NoMemory(address.into()))
    }

    /// The little-endian word at a linear address.
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn read_u32(&self, address: u32) -> Result<u32, GuestError> {
        self.read(address).map(u32::from_le_bytes)
    }

    /// Replaces bytes at a linear address, whatever the page's rights.
    ///
    /// # Errors
    /// As [`Guest::read`].
    pub fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), GuestError> {
        let written = self.run.write_linear(address, bytes);
        written.ok_or(GuestError::NoMemory(address.into()))?;
        self.remember_from_here()
    }

    /// `N` bytes at a physical address.
    ///
    /// # Errors
    /// [`GuestError::NoMemory`] if any of them is no RAM.
    pub fn read_physical<const N: usize>(&self, address: u64) -> Result<[u8; N], GuestError> {
        self.run.machine().memory().read_array(address).ok_or(GuestError::NoMemory(address))
    }

    /// Replaces bytes at a physical address.
    ///
    /// # Errors
    /// As [`Guest::read_physical`].
    pub fn write_physical(&mut self, address: u64, bytes: &[u8]) -> Result<(), GuestError> {
        let written = self.run.write_physical(address, bytes);
        written.ok_or(GuestError::NoMemory(address))?;
        self.remember_from_here()
    }

    /// Delivers an external interrupt at this boundary. False if the guest takes none here.
    ///
    /// # Errors
    /// [`GuestError::Machine`] if KVM refuses.
    pub fn inject(&mut self, vector: u8) -> Result<bool, GuestError> {
        let injected = self.run.inject(vector)?;
        if injected {
            self.remember_from_here()?;
        }
        Ok(injected)
    }

    /// The guest as it is.
    ///
    /// # Errors
    /// [`GuestError::Machine`] if KVM does not give its state.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, GuestError> {
        let mark = self.timeline.as_ref().map(Timeline::mark);
        Ok(Checkpoint { run: self.run.checkpoint()?, known: self.known.clone(), mark })
    }

    /// Puts the guest back to what it was. Going on from there gives the same events.
    ///
    /// # Errors
    /// [`GuestError::Machine`] if KVM does not take its state.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), GuestError> {
        if self.restore_remembered(checkpoint)? {
            return Ok(());
        }
        self.run.restore(&checkpoint.run)?;
        self.known = checkpoint.known.clone();
        self.remember_from_here()
    }

    /// What the guest wrote to its console.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&self.known.console).into_owned()
    }

    /// What is wrong, in the order in which it was found.
    pub fn findings(&self) -> &[Found] {
        &self.known.findings
    }

    /// What is unusual, but consistent.
    pub fn notes(&self) -> &[Found] {
        &self.known.notes
    }

    /// How the guest ended, if it has.
    pub fn end(&self) -> Option<&End> {
        self.known.end.as_ref()
    }

    /// What stands behind /dev/kvm.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.run.counters()
    }

    /// The verdict on the run, as `esp0 run` prints it; none before the guest has ended.
    pub fn verdict(&self) -> Option<Verdict> {
        self.known.verdict()
    }

    /// What was not judged so far, whatever the verdict: call gates, task gates. A gate is known from the next look at
    /// the tables on, of which the end is one.
    pub fn unjudged(&self) -> Vec<Unjudged> {
        self.run.unjudged()
    }

    /// Nothing has been found so far; and if the guest has ended, the verdict is that all was right. How a guest
    /// ends is judged too: one that was shut down, or that stopped itself after a fault, is not clean. A test that
    /// wants a bad end looks at [`Guest::end`] and [`Guest::findings`] instead.
    ///
    /// # Panics
    /// If something was found, with each finding as `esp0 run` prints it; if the guest came to a bad end; or if it
    /// has ended and nothing was there to be judged: no entry into ring 0, or no probes.
    #[track_caller]
    pub fn assert_clean(&self) {
        let verdict = self.verdict().unwrap_or(Verdict::Ok);
        if self.known.findings.is_empty() && verdict == Verdict::Ok {
            return;
        }
        let mut text = match (verdict, self.end()) {
            (Verdict::Ok | Verdict::Findings, _) | (_, None) => String::new(),
            (_, Some(end)) => format!("verdict: {verdict} ({})\n", end.ending),
        };
        for Found { place, finding } in &self.known.findings {
            let place = place.clone();
            let _ = writeln!(
                text,
                "{}",
                FindingText {
                    finding,
                    place,
                    colour: Colour::default(),
                    symbols: Some(self.known.names()),
                }
            );
        }
        panic!("{} findings\n{text}", self.known.findings.len());
    }
}

#[cfg(test)]
mod tests {
    /// The lines of the first block of Rust.
    fn example(text: &str, prefix: &str, fence: &str) -> String {
        let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
        let lines = lines.skip_while(|line| *line != fence).skip(1);
        let shown = lines.take_while(|line| *line != "```").filter(|line| !line.starts_with("# "));
        shown.map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn the_example_of_the_guide_is_the_one_that_is_compiled() {
        let guide = include_str!("../../docs/testing-your-kernel.md");
        let compiled = example(include_str!("guest.rs"), "//! ", "```no_run");
        assert!(compiled.contains("assert_clean"), "{compiled}");
        let written = example(guide, "", "```rust").replace("\n\n", "\n");
        assert_eq!(written, compiled);
    }
}
