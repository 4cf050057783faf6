//! A run as it was between two events, as a value.

use super::by_exits::{Position, Slice};
use super::clock::Clock;
use super::departure::Departure;
use super::progress::Progress;
use super::{Counters, Dialogue, Disturbed, Outward, Pace, Phase, Run};
use crate::devices::Devices;
use crate::entry::{PendingSwitch, SysenterRegisters};
use crate::machine::{MachineCheckpoint, MachineError};
use crate::probe::Probes;
use ia32::State;

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
    departure: Option<Departure>,
    outward: Outward,
    switching: Option<PendingSwitch>,
    holds_interrupts: bool,
    disturbed: Option<Disturbed>,
    dialogue: Option<Dialogue>,
    due: Option<u64>,
    counters: Counters,
    sequence: u64,
    last_state: State,
    progress: Progress,
    sysenter: SysenterRegisters,
    position: Position,
}

impl Checkpoint {
    /// The machine's part.
    pub fn machine(&self) -> &MachineCheckpoint {
        &self.machine
    }

    /// The guest's memory is the same, whatever the probes in it.
    pub(crate) fn has_memory_of(&self, other: &Checkpoint) -> bool {
        let is_guests = |at| !self.probes.holds_patch(at) && !other.probes.holds_patch(at);
        self.machine.memory().equals(other.machine.memory(), is_guests)
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
        Ok(Checkpoint {
            machine: self.machine.checkpoint()?,
            devices: self.devices.clone(),
            probes: self.probes.clone(),
            clock: self.clock.clone(),
            pace: self.pace.clone(),
            phase: self.phase.clone(),
            departure: self.departure.clone(),
            outward: self.outward,
            switching: self.switching.clone(),
            holds_interrupts: self.holds_interrupts,
            disturbed: self.disturbed,
            dialogue: self.dialogue.clone(),
            due: self.due,
            counters: self.counters,
            sequence: self.sequence,
            last_state: self.last_state,
            progress: self.progress.clone(),
            sysenter: self.sysenter,
            position: self.position.clone(),
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
            departure,
            outward,
            switching,
            holds_interrupts,
            disturbed,
            dialogue,
            due,
            counters,
            sequence,
            last_state,
            progress,
            sysenter,
            position,
        } = checkpoint.clone();
        self.devices = devices;
        self.probes = probes;
        self.clock = clock;
        self.pace = pace;
        self.phase = phase;
        self.departure = departure;
        self.outward = outward;
        self.switching = switching;
        self.holds_interrupts = holds_interrupts;
        self.disturbed = disturbed;
        self.dialogue = dialogue;
        self.due = due;
        self.counters = counters;
        self.sequence = sequence;
        self.last_state = last_state;
        self.progress = progress;
        self.sysenter = sysenter;
        self.position = position;
        self.slice = Slice::default();
        self.progress.take_watching();
        self.step_again = true;
        self.alarm.forget();
        if let Pace::Exact(exact) = &mut self.pace {
            exact.forget_quiet();
        }
        Ok(())
    }
}
