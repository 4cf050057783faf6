//! Where the doctor's guests run: one machine for all of them, put back in order between two.
//!
//! A guest is a few instructions, a state to start in, and what is expected at the next stop. All
//! that a KVM can do wrong (refuse, give up, reset the processor, hang) is a result like any other.

use super::layout::{
    self, END, ESP0, FILL, GDT, HANDLERS, IDT, KERNEL_ESP, PAGE_DIRECTORY, PAGE_TABLE_ENTRIES,
    SECOND_TSS, TSS, Tss,
};
use super::stop::Stop;
use super::wrong::Wrong;
use crate::machine::{Exit, Machine, MachineError, Patience};
use ia32::State;
use iced_x86::IcedError;
use iced_x86::code_asm::CodeAssembler;

/// Bytes that are filled on either side of a stack pointer.
pub(super) const MARGIN: u32 = 64;

/// A machine with tables, stacks and handlers in place.
#[derive(Debug)]
pub(super) struct Lab<'m> {
    pub(super) machine: &'m mut Machine,
    /// The last exit was for an instruction that KVM completes when the vCPU runs next.
    unfinished: bool,
    /// The vCPU may be in a state that KVM does not get it out of.
    spoilt: bool,
    /// What was written to memory: address, bytes.
    written: Vec<(u32, usize)>,
    /// A guest executes some dozens of instructions.
    patience: Patience,
}

impl<'m> Lab<'m> {
    /// Puts tables, stacks and handlers into the machine's memory, which is zero there.
    pub(super) fn new(machine: &'m mut Machine) -> Result<Self, Wrong> {
        let size = machine.memory().size();
        Wrong::unless(
            size >= u64::from(END),
            format!("at least {END} bytes of RAM"),
            format!("{size}"),
        )?;
        let mut lab = Lab {
            machine,
            unfinished: false,
            spoilt: false,
            written: Vec::new(),
            patience: Patience::new(),
        };
        lab.machine.vcpu.set_alarm(Some(Patience::SLICE))?;
        for (address, bytes) in [
            (PAGE_DIRECTORY, layout::page_directory().to_vec()),
            (PAGE_TABLE_ENTRIES, layout::page_table()),
            (GDT, layout::gdt()),
            (TSS, Tss::first().encode()),
            (SECOND_TSS, Tss::second().encode()),
            (IDT, layout::idt()),
            (HANDLERS, layout::handlers()),
        ] {
            lab.write(address, &bytes);
        }
        lab.fill_stack();
        Ok(lab)
    }

    /// Fills the kernel's stack on both sides of where it may start, so that the words of an entry
    /// show.
    pub(super) fn fill_stack(&mut self) {
        for top in [ESP0, KERNEL_ESP] {
            self.write(top - MARGIN, &[FILL; 2 * MARGIN as usize]);
        }
    }

    /// Leaves the machine as it was found, memory zero and nothing pending; whether it can be used
    /// again.
    pub(super) fn close(mut self) -> bool {
        self.tidy().is_ok() && !self.spoilt
    }

    fn tidy(&mut self) -> Result<(), MachineError> {
        if std::mem::take(&mut self.unfinished) {
            self.machine.vcpu.finish_instruction()?;
        }
        self.machine.vcpu.request_interrupt_window(false);
        self.machine.vcpu.intercept_int3(false)?;
        self.machine.vcpu.set_breakpoints(&[None; 4])?;
        self.machine.vcpu.set_alarm(None)?;
        for (address, length) in std::mem::take(&mut self.written) {
            self.write(address, &vec![0; length]);
        }
        Ok(())
    }

    /// Writes instructions to `address`; the address behind them.
    pub(super) fn code(
        &mut self,
        address: u32,
        write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    ) -> Result<u32, Wrong> {
        let mut assembler = CodeAssembler::new(32)?;
        write(&mut assembler)?;
        let bytes = assembler.assemble(u64::from(address))?;
        self.write(address, &bytes);
        Ok(address + bytes.len() as u32)
    }

    /// Replaces bytes of memory. All that the doctor names lies in RAM. A guest itself writes only
    /// where something was written here before: that becomes zero again.
    pub(super) fn write(&mut self, address: u32, bytes: &[u8]) {
        self.written.push((address, bytes.len()));
        let written = self.machine.write_memory(u64::from(address), bytes);
        debug_assert!(written.is_some(), "{address:#x} is no RAM");
    }

    /// Replaces words of memory, the first at `address`.
    pub(super) fn write_words(&mut self, address: u32, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write(address, &bytes);
    }

    /// The word at a physical address; 0 where there is no RAM.
    pub(super) fn word(&self, address: u32) -> u32 {
        self.machine.memory().read_u32(u64::from(address)).unwrap_or(0)
    }

    /// The task-state segment at `address`.
    pub(super) fn tss(&self, address: u32) -> Tss {
        Tss(std::array::from_fn(|index| self.word(address + 4 * index as u32)))
    }

    /// Puts the vCPU into `state`.
    pub(super) fn start(&mut self, state: &State) -> Result<(), Wrong> {
        self.finish()?;
        self.machine.vcpu.set_state(state);
        Ok(())
    }

    /// The state at the last stop.
    pub(super) fn state(&mut self) -> State {
        self.machine.vcpu.state()
    }

    /// Completes the instruction that the last exit was for, without running on. Makes KVM look at
    /// a state that was just set, too.
    pub(super) fn finish(&mut self) -> Result<(), Wrong> {
        if std::mem::take(&mut self.unfinished) {
            self.settle()?;
        }
        Ok(())
    }

    /// Lets KVM take over what was set, and say what it could do now, without running the guest.
    pub(super) fn settle(&mut self) -> Result<(), Wrong> {
        let settled = self.machine.vcpu.finish_instruction();
        self.spoilt |= settled.is_err();
        settled?;
        Ok(())
    }

    /// Runs until the next stop.
    pub(super) fn run(&mut self) -> Result<Stop, Wrong> {
        self.go(|machine| machine.vcpu.run())
    }

    /// Executes one instruction.
    pub(super) fn step(&mut self) -> Result<Stop, Wrong> {
        self.go(|machine| machine.vcpu.step(true))
    }

    /// Runs until the next stop, which has to be `stop`; the state there.
    pub(super) fn run_to(&mut self, stop: Stop) -> Result<State, Wrong> {
        let got = self.run()?;
        self.same(stop, got)
    }

    /// Executes one instruction, which has to cause no exit and lead to `eip`; the state there.
    pub(super) fn step_to(&mut self, eip: u32) -> Result<State, Wrong> {
        let got = self.step()?;
        let state = self.same(Stop::Exit(Exit::Step), got)?;
        Wrong::unless_equal("EIP behind the step", eip, state.eip)?;
        Ok(state)
    }

    fn same(&mut self, expected: Stop, got: Stop) -> Result<State, Wrong> {
        let state = self.state();
        if expected == got {
            return Ok(state);
        }
        let place = match got {
            // The registers may have been reset.
            Stop::Exit(Exit::Shutdown) => String::new(),
            _ => format!(", in ring {} at {:08x}", state.cpl(), state.instruction_address()),
        };
        Err(Wrong::new(expected.to_string(), format!("{got}{place}")))
    }

    fn go(
        &mut self,
        run: impl Fn(&mut Machine) -> Result<Exit, MachineError>,
    ) -> Result<Stop, Wrong> {
        loop {
            let exit = run(self.machine);
            self.unfinished = matches!(
                exit,
                Ok(Exit::PortWrite { .. }
                    | Exit::PortRead { .. }
                    | Exit::MemoryRead { .. }
                    | Exit::MemoryWrite { .. })
            );
            if matches!(exit, Ok(Exit::Interrupted)) {
                let state = self.machine.vcpu.state();
                if self.patience.lasts(&state) {
                    self.machine.vcpu.set_alarm(Some(Patience::SLICE))?;
                    continue;
                }
            }
            self.spoilt |= !matches!(
                exit,
                Ok(Exit::PortWrite { .. }
                    | Exit::Halt
                    | Exit::InterruptWindow
                    | Exit::Step
                    | Exit::Breakpoint { .. })
            );
            let exit = exit?;
            let state = self.state();
            return Ok(Stop::of(exit, self.machine, &state));
        }
    }
}
