//! What each run of the guest begins with: the one that was asked for, and those that look again.

use super::guest::RequestedGuest;
use esp0::machine::{Machine, StopRequest};
use esp0::probe::DebugRegisters;
use esp0::run::{ClockChoice, Dialogue, Mode, Options, Run};
use esp0::symbols::Symbols;
use std::time::Duration;

/// Wall-clock time that a run again may take.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A guest that can be started.
pub(super) struct Start<'a> {
    pub(super) guest: &'a RequestedGuest<'a>,
    how: Options,
    /// As it stands before anything has been said.
    dialogue: Option<Dialogue>,
    symbols: Symbols,
    pub(super) stop: &'a StopRequest,
}

impl<'a> Start<'a> {
    pub(super) fn new(
        guest: &'a RequestedGuest<'a>,
        symbols: &Symbols,
        mode: Mode,
        mut breakpoints: DebugRegisters,
        stop: &'a StopRequest,
    ) -> Self {
        let options = guest.options;
        // How fast they are is measured, and may come out otherwise when the run is to be the same again.
        breakpoints.slow |= matches!(mode.clock(), ClockChoice::Exits { .. });
        let probes = options.probe.into();
        let how = Options { mode, probes, breakpoints, timeout: options.timeout };
        let dialogue = (options.until_halt || !guest.steps.is_empty()).then(|| {
            let dialogue = Dialogue::new(guest.steps.clone());
            if options.until_halt { dialogue.until_halt() } else { dialogue }
        });
        Start { guest, how, dialogue, symbols: symbols.clone(), stop }
    }

    /// The clock of the run that was asked for.
    pub(super) fn clock(&self) -> ClockChoice {
        self.how.mode.clock()
    }

    /// The run that was asked for, in a machine that has been loaded. Its time counts from here on.
    pub(super) fn run(&self, machine: Machine) -> Run {
        self.run_as(machine, &self.how)
    }

    /// A run that looks again, on this clock. It is never exact: what happens is known.
    pub(super) fn run_again(&self, machine: Machine, clock: ClockChoice) -> Run {
        let (mode, timeout) = (Mode::Ordinary(clock), Some(LOOK_AGAIN));
        self.run_as(machine, &Options { mode, timeout, ..self.how.clone() })
    }

    fn run_as(&self, machine: Machine, how: &Options) -> Run {
        let mut run = Run::new(machine, self.guest.devices(), how);
        run = run.with_stop_request(self.stop.clone()).with_symbols(self.symbols.clone());
        if self.guest.has_bios() {
            run = run.behind_firmware();
        }
        match &self.dialogue {
            Some(dialogue) => run.with_dialogue(dialogue.clone()),
            None => run,
        }
    }
}
