//! The run that was asked for, from its first instruction to its end.

use super::super::boxed::Boxed;
use super::super::failure::Failure;
use super::super::terminal::{RawTerminal, Typed};
use super::recording::Recorded;
use super::start::Start;
use esp0::machine::Machine;
use esp0::run::{Input, Run};
use esp0::sandbox::Phase;

/// Bytes that a run under gdb keeps of where the guest was preempted.
const MOST_FOR_GDB: u64 = 32 << 20;

/// The run, and the terminal if that is the guest's.
pub(super) struct Session {
    pub(super) run: Run,
    /// Given back when it is dropped.
    terminal: Option<RawTerminal>,
}

impl Session {
    /// Gives up the system calls that the run does without, and puts the guest in front of its first instruction.
    pub(super) fn begin(
        start: &Start<'_>,
        machine: Machine,
        recorded: &Recorded,
        sandbox: Boxed,
    ) -> Result<Self, Failure> {
        let options = start.guest.options;
        let (interactive, by_gdb) = (options.interactive, options.gdb.is_some());
        // Before the run's time counts; but a thread that reads what is typed has to be there first.
        if !interactive {
            sandbox.filter(if by_gdb { Phase::Debug } else { Phase::Run })?;
        }
        let mut run = recorded.apply(start.run(machine));
        // What has been recorded can be gone back in as it is.
        if by_gdb && !recorded.is_replayed() {
            run = run.reversible(MOST_FOR_GDB);
        }
        let terminal = interactive.then(RawTerminal::new);
        if interactive {
            let typed = Typed::standard(start.stop.clone()).map_err(|error| {
                Failure::Input(format!("what is typed cannot be read: {error}"))
            })?;
            run = run.with_input(Input::new(typed));
            sandbox.filter(Phase::Run)?;
        }
        Ok(Session { run, terminal })
    }

    /// The run is over, and the terminal the user's.
    pub(super) fn end(self) -> Run {
        drop(self.terminal);
        self.run
    }
}
