//! What gdbstub asks of a target.

use super::monitor;
use super::registers::{Ia32, Set, changes_only_general};
use super::session::{Session, Wish};
use super::socket::Line;
use super::watching::words;
use crate::machine::{LinearMemory, MachineError, Paging};
use crate::run::Run;
use gdbstub::common::Signal;
use gdbstub::target::ext::base::reverse_exec::{
    ReverseCont, ReverseContOps, ReverseStep, ReverseStepOps,
};
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep,
    SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps,
    SwBreakpoint, SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::{TargetError, TargetResult};
use std::io::Write;

/// EFAULT, as gdb's protocol has it.
const NO_MEMORY: u8 = 14;
/// EROFS: it cannot be changed here.
const UNCHANGEABLE: u8 = 30;

/// A session and the line to the gdb that it is for.
pub(super) struct Target<'s, 'a, W: Write> {
    pub(super) session: &'s mut Session<'a, W>,
    pub(super) line: &'s Line<'s>,
}

/// Guest memory as the guest's own, by linear address; how many bytes there are.
pub(super) fn read(run: &Run, address: u32, bytes: &mut [u8]) -> usize {
    run.probes().read_code(&run.machine().linear(), address, bytes)
}

/// The same by physical address.
pub(super) fn read_physical(run: &Run, address: u32, bytes: &mut [u8]) -> usize {
    let linear = LinearMemory { memory: run.machine().memory(), paging: Paging::default() };
    run.probes().read_code(&linear, address, bytes)
}

impl<W: Write> gdbstub::target::Target for Target<'_, '_, W> {
    type Arch = Ia32;
    type Error = MachineError;

    fn base_ops(&mut self) -> gdbstub::target::ext::base::BaseOps<'_, Ia32, MachineError> {
        gdbstub::target::ext::base::BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    /// Breakpoints are none of memory's business.
    fn guard_rail_implicit_sw_breakpoints(&self) -> bool {
        true
    }
}

impl<W: Write> SingleThreadBase for Target<'_, '_, W> {
    fn read_registers(&mut self, registers: &mut Set) -> TargetResult<(), Self> {
        let run = self.session.run();
        registers.state = run.state();
        registers.fpu = run.machine().vcpu.fpu().map_err(TargetError::Fatal)?;
        Ok(())
    }

    fn write_registers(&mut self, registers: &Set) -> TargetResult<(), Self> {
        let run = self.session.run();
        let now = run.state();
        let (new, old) = (&registers.state, &now);
        let only_general = changes_only_general(old, new) && !registers.changes_system(old);
        if (new.general, new.eip, new.eflags) == (old.general, old.eip, old.eflags) && only_general
        {
            return Ok(());
        }
        if self.session.timeline().is_in_the_past() || !only_general {
            return Err(TargetError::Errno(UNCHANGEABLE));
        }
        let wanted = ia32::State { general: new.general, eip: new.eip, eflags: new.eflags, ..now };
        let run = self.session.run();
        run.set_registers(&wanted).map_err(TargetError::Fatal)?;
        self.session.changed().map_err(TargetError::Fatal)
    }

    fn read_addrs(&mut self, address: u32, bytes: &mut [u8]) -> TargetResult<usize, Self> {
        match read(self.session.run_now(), address, bytes) {
            0 if !bytes.is_empty() => Err(TargetError::Errno(NO_MEMORY)),
            count => Ok(count),
        }
    }

    fn write_addrs(&mut self, address: u32, bytes: &[u8]) -> TargetResult<(), Self> {
        let run = self.session.run_now();
        let mut guests = vec![0; bytes.len()];
        if read(run, address, &mut guests) != bytes.len() {
            return Err(TargetError::Errno(NO_MEMORY));
        }
        if guests == bytes {
            return Ok(());
        }
        // What lies under a probe stays.
        let is_probed = !run.machine().linear().equals(address, &guests);
        if self.session.timeline().is_in_the_past() || is_probed {
            return Err(TargetError::Errno(UNCHANGEABLE));
        }
        let written = self.session.run().write_linear(address, bytes);
        written.ok_or(TargetError::Errno(NO_MEMORY))?;
        self.session.changed().map_err(TargetError::Fatal)
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl<W: Write> SingleThreadResume for Target<'_, '_, W> {
    fn resume(&mut self, _: Option<Signal>) -> Result<(), MachineError> {
        self.session.wish(Wish::Continue);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, (), Self>> {
        Some(self)
    }

    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, (), Self>> {
        Some(self)
    }
}

impl<W: Write> SingleThreadSingleStep for Target<'_, '_, W> {
    fn step(&mut self, _: Option<Signal>) -> Result<(), MachineError> {
        self.session.wish(Wish::Step);
        Ok(())
    }
}

impl<W: Write> ReverseStep<()> for Target<'_, '_, W> {
    fn reverse_step(&mut self, (): ()) -> Result<(), MachineError> {
        self.session.wish(Wish::StepBack);
        Ok(())
    }
}

impl<W: Write> ReverseCont<()> for Target<'_, '_, W> {
    fn reverse_cont(&mut self) -> Result<(), MachineError> {
        self.session.wish(Wish::ContinueBack);
        Ok(())
    }
}

impl<W: Write> Breakpoints for Target<'_, '_, W> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl<W: Write> SwBreakpoint for Target<'_, '_, W> {
    fn add_sw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        self.session.breakpoints.insert(address);
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.session.breakpoints.remove(&address))
    }
}

impl<W: Write> HwBreakpoint for Target<'_, '_, W> {
    fn add_hw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        self.session.breakpoints.insert(address);
        Ok(true)
    }

    fn remove_hw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.session.breakpoints.remove(&address))
    }
}

impl<W: Write> HwWatchpoint for Target<'_, '_, W> {
    fn add_hw_watchpoint(
        &mut self,
        address: u32,
        length: u32,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        if !(1..=256).contains(&length) {
            return Ok(false);
        }
        words(address, length).for_each(|word| self.session.watch(word, kind));
        Ok(true)
    }

    fn remove_hw_watchpoint(
        &mut self,
        address: u32,
        length: u32,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        words(address, length).for_each(|word| self.session.watch_no_more(word, kind));
        Ok(true)
    }
}

impl<W: Write> MonitorCmd for Target<'_, '_, W> {
    fn handle_monitor_cmd(
        &mut self,
        command: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), MachineError> {
        let command = String::from_utf8_lossy(command);
        self.line.answers(true);
        let text = monitor::answer(self.session, self.line, &command)?;
        self.line.answers(false);
        // In pieces: a packet has an end.
        for line in text.split_inclusive('\n') {
            out.write_raw(line.as_bytes());
        }
        Ok(())
    }
}
