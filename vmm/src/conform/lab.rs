//! Runs cases in KVM, one after the other in the same VM.
//!
//! **How a case stops.** Its destination can be any address in any ring, in 16- and 32-bit code and in
//! virtual-8086 mode, and nothing may be executed there, for the state has to be that which the event
//! left. So all code is entered where there is no RAM: the fetch leaves the guest for KVM, which finds
//! nothing to emulate there, and with KVM_CAP_EXIT_ON_EMULATION_FAILURE hands the vCPU out as it is, in
//! whatever ring. That costs one exit and no breakpoint. Rejected were OUT (a ring above IOPL gets
//! #GP), HLT (the same above ring 0), breakpoint registers (four, and their use has to be told to KVM in
//! each case) and stepping (TF shows in what is pushed).
//!
//! **What is undone.** The mirror of memory is compared with the guest's as a whole, so what is
//! neither in the case nor in the model's writes was not written; those places are put back, and no
//! others. After anything unexpected all of memory is.
//!
//! **Pages that KVM has yet to map** make an event's delivery stop half way and start again, which is a
//! matter of KVM's, and one of its own. So each page of RAM is written from inside the guest first.

use super::case::Case;
use super::fit::Unfit;
use super::layout::{LANDING, PAGE, RAM};
use super::mismatch::{ByteDifference, Mismatch, ended_so, fields};
use super::start::Start;
use super::via::{Via, has_error_code};
use super::world::{Expectation, World};
use crate::host::{Authority, Backend};
use crate::machine::{Exit, Machine, MachineError};
use ia32::{End, Path, Processor, State, Vendor, explain};
use std::arch::x86_64::__cpuid;
use std::time::{Duration, Instant};

/// An event takes microseconds; the most loaded emulator needs less than this.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// How many cases run under one setting of the alarm.
const CASES_PER_ALARM: u32 = 256;

/// One machine for many cases.
#[derive(Debug)]
pub struct Lab {
    machine: Machine,
    world: World,
    processor: Processor,
    until_alarm: u32,
    /// A state that leaves the guest at once.
    resting: State,
    /// The translation caches have to be flushed by loading another CR3 first.
    flush: bool,
}

/// What a case has shown.
#[derive(Debug)]
pub(super) enum Verdict {
    Unfit(Unfit),
    Same(Expectation),
    Differs(Expectation, Box<Mismatch>),
}

impl Lab {
    /// A VM with the plain world in it. `flush`: see [`Lab`]; emulated processors do not need it.
    ///
    /// # Errors
    /// [`MachineError`] if KVM gives no VM, or lacks KVM_CAP_EXIT_ON_EMULATION_FAILURE.
    pub fn new(processor: Processor, flush: bool) -> Result<Self, MachineError> {
        let machine = Machine::new(RAM.into())?;
        machine.exit_on_emulation_failure()?;
        let world = World::new();
        let mut resting = Start::Ring0.state(&world.memory);
        resting.segments[1].base = LANDING;
        let mut lab = Lab { machine, world, processor, until_alarm: 0, resting, flush };
        lab.map_all()?;
        lab.write_all();
        Ok(lab)
    }

    /// A lab for what stands behind /dev/kvm.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn on(backend: &Backend) -> Result<Self, MachineError> {
        Lab::new(processor_of(backend), backend.authority == Authority::Silicon)
    }

    /// The branches of the model that a case takes, if it can be run.
    pub(super) fn path(&mut self, case: &Case) -> Option<Path> {
        let path = self.world.prepare(case, &self.processor).ok().map(|found| found.path());
        self.world.undo(|_, _| ());
        path
    }

    /// What the model says of a case, step by step.
    pub(super) fn explain(&mut self, case: &Case) -> String {
        let text = match self.world.prepare(case, &self.processor) {
            Ok(expectation) => explain(&expectation.before, &expectation.outcome).to_string(),
            Err(unfit) => unfit.to_string(),
        };
        self.world.undo(|_, _| ());
        text
    }

    /// Writes to each page from inside the guest.
    fn map_all(&mut self) -> Result<(), MachineError> {
        const CODE: [u8; 13] = [
            0x80, 0x08, 0x00, // or byte [eax], 0
            0x2d, 0x00, 0x10, 0x00, 0x00, // sub eax, 0x1000
            0x73, 0xf6, // jnc back
            0xf4, // hlt
            0xf4, 0xf4,
        ];
        self.machine.memory.write(0, &CODE);
        let mut state = Start::Ring0.state(&super::layout::memory());
        state.eip = 0;
        state.eflags.0 = 2;
        state.general.eax = RAM - PAGE;
        self.machine.vcpu.set_state(&state);
        self.machine.vcpu.set_alarm(Some(TIME_LIMIT))?;
        let exit = self.machine.vcpu.run()?;
        if exit == Exit::Halt {
            Ok(())
        } else {
            Err(MachineError::Missing("ring-0 code that runs"))
        }
    }

    fn write_all(&mut self) {
        self.world.undo(|_, _| ());
        self.machine.memory.write(0, &self.world.memory);
    }

    /// Runs a case and compares.
    ///
    /// # Errors
    /// [`MachineError`] if an ioctl fails, which is no matter of the case.
    pub(super) fn judge(&mut self, case: &Case) -> Result<Verdict, MachineError> {
        let verdict = match self.world.prepare(case, &self.processor) {
            Err(unfit) => Verdict::Unfit(unfit),
            Ok(expectation) => {
                let exit = self.run(case, &expectation)?;
                let got = self.machine.vcpu.state();
                if expectation.before.nmi_blocked && matches!(case.via, Via::Iret(_)) {
                    self.leave_iret()?;
                }
                self.world.apply(&expectation);
                let mismatch = self.compare(&expectation, exit, got)?;
                if mismatch.is_empty() {
                    Verdict::Same(expectation)
                } else {
                    Verdict::Differs(expectation, Box::new(mismatch))
                }
            }
        };
        let memory = &self.machine.memory;
        let ran = !matches!(verdict, Verdict::Unfit(_));
        self.world.undo(|at, bytes| {
            if ran {
                memory.write(at.into(), bytes);
            }
        });
        Ok(verdict)
    }

    fn run(&mut self, case: &Case, expectation: &Expectation) -> Result<Exit, MachineError> {
        if self.until_alarm == 0 {
            self.until_alarm = CASES_PER_ALARM;
            self.machine.vcpu.set_alarm(Some(TIME_LIMIT))?;
        }
        self.until_alarm -= 1;
        for place in self.world.touched() {
            self.machine.memory.write(place.0.into(), self.world.bytes(*place));
        }
        let state = &expectation.before;
        if self.flush && state.paging() {
            self.machine.vcpu.forget_translations(state)?;
        }
        // A page fault at the source is one that the processor has to report.
        let cr2 = if case.via == Via::Fetch { !state.cr2 } else { state.cr2 };
        self.machine.vcpu.set_state(&State { cr2, ..*state });
        match case.via {
            Via::Exception(vector, code) => {
                let code = if vector == 8 { 0 } else { u32::from(code) };
                let code = has_error_code(vector).then_some(code);
                self.machine.vcpu.inject_exception(vector, code);
            }
            Via::Interrupt(vector) => self.machine.vcpu.inject_with_state(vector),
            Via::Nmi => self.machine.vcpu.inject_nmi()?,
            _ => {}
        }
        let mut exit = self.machine.vcpu.run()?;
        if exit == Exit::Interrupted {
            // The alarm may have been set long ago: the case has its time from now on.
            self.machine.vcpu.set_alarm(Some(TIME_LIMIT))?;
            exit = self.machine.vcpu.run()?;
            self.until_alarm = 0;
        }
        Ok(exit)
    }

    /// How long the guest's part of a case takes: its memory and state set, and the one exit. None if it
    /// cannot be run.
    pub(super) fn time_raw(&mut self, case: &Case) -> Result<Option<Duration>, MachineError> {
        let Ok(expectation) = self.world.prepare(case, &self.processor) else {
            self.world.undo(|_, _| ());
            return Ok(None);
        };
        let start = Instant::now();
        self.run(case, &expectation)?;
        let time = start.elapsed();
        self.leave_iret()?;
        self.write_all();
        Ok(Some(time))
    }

    /// kvm_amd opens NMIs at the first exit with another EIP than the IRET's. That may be one of the
    /// next case, and is to be one of none.
    fn leave_iret(&mut self) -> Result<(), MachineError> {
        let resting = self.resting;
        self.machine.vcpu.set_state(&resting);
        self.machine.vcpu.run()?;
        Ok(())
    }

    fn compare(
        &mut self,
        expectation: &Expectation,
        exit: Exit,
        got: State,
    ) -> Result<Mismatch, MachineError> {
        let end = expectation.last().end;
        let as_expected = ended_so(end, &exit);
        let mut mismatch = Mismatch { exit: None, got, fields: Vec::new(), bytes: Vec::new() };
        if !as_expected {
            if matches!(
                exit,
                Exit::PortRead { .. }
                    | Exit::PortWrite { .. }
                    | Exit::MemoryRead { .. }
                    | Exit::MemoryWrite { .. }
            ) {
                self.machine.vcpu.finish_instruction()?;
            }
            mismatch.exit = Some(exit);
        }
        if end == End::Completed && (as_expected || mismatch.exit != Some(Exit::Shutdown)) {
            mismatch.fields = fields(expectation, &got);
        }
        if !self.machine.memory.equals(0, &self.world.memory) {
            self.compare_bytes(expectation, &mut mismatch);
        }
        Ok(mismatch)
    }

    /// Finds the bytes that are not as expected, in ever smaller pieces.
    fn compare_bytes(&mut self, expectation: &Expectation, mismatch: &mut Mismatch) {
        const PIECE: usize = 64;
        for page in (0..RAM as usize).step_by(PAGE as usize) {
            let same = |from: usize, length: usize| {
                self.machine.memory.equals(from as u64, &self.world.memory[from..from + length])
            };
            if same(page, PAGE as usize) {
                continue;
            }
            let mut differing = Vec::new();
            for piece in (page..page + PAGE as usize).step_by(PIECE).filter(|at| !same(*at, PIECE))
            {
                let mut found = [0; PIECE];
                self.machine.memory.read(piece as u64, &mut found);
                let found = (piece as u32..).zip(found);
                differing.extend(found.filter(|(at, got)| self.world.memory[*at as usize] != *got));
            }
            for (at, got) in differing {
                self.world.touch_byte(at);
                mismatch.bytes.extend(self.compare_byte(expectation, at, got));
            }
        }
    }

    fn compare_byte(&self, expectation: &Expectation, at: u32, got: u8) -> Option<ByteDifference> {
        let address = u64::from(at);
        let before = self.world.before(at);
        let mut expected = expectation.outcome.writes.expect(address, before);
        if let Some(second) = &expectation.debug_trap {
            let first = expected;
            expected = second.writes.expect(address, first.value);
            expected.owner = expected.owner.or(first.owner);
            if expected.value == first.value {
                expected.undefined |= first.undefined;
            }
        }
        let undefined = expected.undefined | expectation.fetched.mask(address);
        ((got ^ expected.value) & !undefined != 0).then_some(ByteDifference {
            address: at,
            before,
            expected: expected.value,
            got,
            undefined,
            owner: expected.owner,
        })
    }
}

/// The model's parameters for what stands behind /dev/kvm, whose guests see the same processor.
fn processor_of(backend: &Backend) -> Processor {
    let vendor = if backend.module == "kvm_intel" { Vendor::Intel } else { Vendor::Amd };
    Processor {
        vendor,
        physical_bits: __cpuid(0x8000_0008).eax as u8,
        pse36: __cpuid(1).edx & (1 << 17) != 0,
        // QEMU reads the reserved half of SSn too.
        inner_stack_bytes: if backend.authority == Authority::Tcg { 8 } else { 6 },
    }
}
