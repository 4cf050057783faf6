//! A run as it was between two events, as a value.

use super::by_exits::Position;
use super::clock::Clock;
use super::progress::Progress;
use super::seen::Seen;
use super::{Counters, Dialogue, Disturbed, Owed, Pace, Phase, Run};
use crate::devices::Devices;
use crate::machine::{MachineCheckpoint, MachineError};
use crate::probe::Probes;

/// A run as it was between two events: the machine, its devices, the probes, the clock, and what the run
/// knew. Going on from it gives the same events as going on did the first time; on the real clock, as far as
/// the guest's time decides nothing. A copy is cheap.
///
/// The time allowed and what was typed belong to the run and not to its checkpoints.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    machine: MachineCheckpoint,
    devices: Devices,
    probes: Probes,
    clock: Clock,
    pace: Pace,
    phase: Phase,
    seen: Seen,
    disturbed: Option<Disturbed>,
    dialogue: Option<Dialogue>,
    due: Option<u64>,
    counters: Counters,
    progress: Progress,
    position: Position,
}

impl Checkpoint {
    /// The machine's part.
    pub fn machine(&self) -> &MachineCheckpoint {
        &self.machine
    }

    /// Pages that it holds and `other` does not.
    pub(crate) fn pages_beside(&self, other: &Checkpoint) -> usize {
        let memory = self.machine.memory();
        let recorded = self.position.pages_beside(&other.position, memory);
        memory.pages_beside(other.machine.memory()) + recorded
    }

    /// Pages of its memory that are zero.
    pub(crate) fn zero_pages(&self) -> usize {
        self.machine.memory().zero_pages()
    }

    /// The guest's memory is the same, whatever the probes in it, and whatever the processor has noted in page tables.
    pub(crate) fn has_memory_of(&self, other: &Checkpoint) -> bool {
        let holds_patch = |at| self.probes.holds_patch(at) || other.probes.holds_patch(at);
        self.machine.memory().is_that_of(other.machine.memory(), |at| !holds_patch(at))
    }
}

impl Run {
    /// The run as it is. It goes on as if none had been taken.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses a register set or its dirty log.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, MachineError> {
        // An OUT over a no-op is finished when the probe is passed: until then the site is where the
        // vCPU stands, and a vCPU that is put back there knows nothing of an OUT.
        if !matches!(self.phase, Phase::AtProbe(_)) {
            self.finish()?;
        }
        let machine = self.machine.checkpoint()?;
        let position = self.by_exits.position(machine.memory());
        Ok(Checkpoint {
            machine,
            devices: self.devices.clone(),
            probes: self.probes.clone(),
            clock: self.clock.clone(),
            pace: self.pace.clone(),
            phase: self.phase.clone(),
            seen: self.seen.clone(),
            disturbed: self.owed.disturbed,
            dialogue: self.dialogue.clone(),
            due: self.due,
            counters: self.counters,
            progress: self.progress.clone(),
            position,
        })
    }

    /// Puts the run back to what it was.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses a register set or its dirty log.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), MachineError> {
        self.finish()?;
        self.machine.restore(&checkpoint.machine)?;
        let Checkpoint {
            machine: _,
            devices,
            probes,
            clock,
            pace,
            phase,
            seen,
            disturbed,
            dialogue,
            due,
            counters,
            progress,
            position,
        } = checkpoint.clone();
        self.devices = devices;
        self.probes = probes;
        self.clock = clock;
        self.pace = pace;
        self.phase = phase;
        self.seen = seen;
        self.owed = Owed { disturbed, ..Owed::default() };
        self.dialogue = dialogue;
        self.due = due;
        self.counters = counters;
        self.progress = progress;
        self.by_exits.go_back_to(position);
        self.progress.take_watching();
        self.outside.alarm.forget();
        if let Pace::Exact(exact) = &mut self.pace {
            exact.forget_quiet();
        }
        Ok(())
    }
}
