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
//! **What is compared and undone.** A case has its places: what it changes, and what the model says
//! that its event may write. They are compared after it and put back, and no others. That nothing
//! else was written is seen for a batch of cases at once: after its last one all of memory has to be
//! as it was before the first. Where it is not, or where a case finds one of its places changed
//! before it has run, the batch is repeated with all of memory compared after each case.
//!
//! **Pages that KVM has yet to map** make an event's delivery stop half way and start again. That is
//! KVM's behaviour and not what a case tests, so each page of RAM is written from inside the guest first.

use super::batch::Batch;
use super::case::Case;
use super::compare::{Compare, compare};
use super::deviation::KnownDeviations;
use super::fit::Unfit;
use super::layout::{LANDING, PAGE, RAM};
use super::mismatch::CaseMismatch;
use super::start::Start;
use super::via::{Via, has_error_code};
use super::world::{Expectation, World};
use crate::host::{Backend, processor};
use crate::machine::{Exit, Machine, MachineError, Patience};
use ia32::{Path, Processor, State, explain};
use std::time::{Duration, Instant};

/// How many cases run under one setting of the alarm.
const CASES_PER_ALARM: u32 = 256;

/// One machine for many cases.
#[derive(Debug)]
pub struct Lab {
    machine: Machine,
    world: World,
    processor: Processor,
    known: KnownDeviations,
    until_alarm: u32,
    /// A state that leaves the guest at once.
    resting: State,
    /// The translation caches have to be flushed by loading another CR3 first.
    flush: bool,
    batch: Batch,
}

/// What a case has shown. What was expected of it is [`Lab::expectation`].
#[derive(Debug, PartialEq)]
pub(super) enum CaseOutcome {
    Unfit(Unfit),
    Same,
    Differs(Box<CaseMismatch>),
}

impl Lab {
    /// A VM with the plain world in it. `flush`: see [`Lab`]; emulated processors do not need it.
    ///
    /// # Errors
    /// [`MachineError`] if KVM gives no VM, or lacks KVM_CAP_EXIT_ON_EMULATION_FAILURE.
    fn new(
        processor: Processor,
        flush: bool,
        known: KnownDeviations,
    ) -> Result<Self, MachineError> {
        let mut machine = Machine::new(RAM.into())?;
        machine.exit_on_emulation_failure()?;
        let world = World::new();
        let mut resting = Start::Ring0.state(&world.memory);
        resting.segments[1].base = LANDING;
        let mut lab = Lab {
            machine,
            world,
            processor,
            known,
            until_alarm: 0,
            resting,
            flush,
            batch: Batch::default(),
        };
        lab.map_all()?;
        lab.write_all();
        Ok(lab)
    }

    /// A lab for what stands behind /dev/kvm.
    ///
    /// # Errors
    /// As `Lab::new`.
    pub fn on(backend: &Backend) -> Result<Self, MachineError> {
        let known = KnownDeviations::of(backend);
        Lab::new(processor(), backend.authority.may_be_silicon(), known)
    }

    /// The branches of the model that a case takes, if it can be run.
    pub(super) fn path(&mut self, case: &Case) -> Option<Path> {
        let fit = self.world.prepare(case, &self.processor).is_ok();
        let path = fit.then(|| self.expectation().path());
        self.world.undo(|_, _| ());
        path
    }

    /// What the model says of a case, step by step.
    pub(super) fn explain(&mut self, case: &Case) -> String {
        let text = match self.world.prepare(case, &self.processor) {
            Ok(()) => {
                let expectation = self.expectation();
                explain(&expectation.before, &expectation.outcome).to_string()
            }
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
        self.machine.write_memory(0, &CODE);
        let mut state = Start::Ring0.state(&super::layout::memory());
        state.eip = 0;
        state.eflags.0 = 2;
        state.general.eax = RAM - PAGE;
        self.machine.vcpu.set_state(&state);
        self.machine.vcpu.set_alarm(Some(Patience::SLICE))?;
        if self.run_patiently()? == Exit::Halt {
            Ok(())
        } else {
            Err(MachineError::Missing("ring-0 code that runs"))
        }
    }

    fn write_all(&mut self) {
        self.world.undo(|_, _| ());
        self.machine.write_memory(0, &self.world.memory);
    }

    /// What the model says of the last case that could be run.
    pub(super) fn expectation(&self) -> &Expectation {
        self.world.expectation()
    }

    /// The names of the known deviations that a mismatch of that case consists of; none if a part of
    /// it is unknown.
    pub(super) fn known_deviations(
        &self,
        case: &Case,
        mismatch: &CaseMismatch,
    ) -> Option<Vec<&'static str>> {
        self.known.find(case, self.expectation(), mismatch)
    }

    /// Puts everything back after a case that could not be run to its end.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses even a plain state.
    pub(super) fn recover(&mut self) -> Result<(), MachineError> {
        self.write_all();
        self.batch.forget();
        self.until_alarm = 0;
        self.machine.vcpu.set_state(&self.resting);
        self.run_patiently().map(|_| ())
    }

    /// Runs a case and compares all.
    ///
    /// # Errors
    /// [`MachineError`] if an ioctl fails, which is no matter of the case.
    pub(super) fn judge(&mut self, case: &Case) -> Result<CaseOutcome, MachineError> {
        self.judge_by(case, Compare::All)
    }

    /// Runs a case and compares what it should touch, and all where it differs in more than some bits:
    /// [`Lab::end_batch`] tells of the rest.
    ///
    /// # Errors
    /// As [`Lab::judge`].
    pub(super) fn judge_in_batch(&mut self, case: &Case) -> Result<CaseOutcome, MachineError> {
        let outcome = self.judge_by(case, Compare::Touched)?;
        if !std::mem::take(&mut self.batch.elsewhere) {
            return Ok(outcome);
        }
        // By itself it has to do the same, or what was found elsewhere was another's.
        let alone = self.judge(case)?;
        self.batch.strayed |= alone != outcome;
        Ok(alone)
    }

    /// Whether no case of the batch wrote to memory that was not its own. If one did, the outcomes
    /// mean nothing; memory is as it should be again.
    pub(super) fn end_batch(&mut self) -> bool {
        let clean = !self.batch.strayed && self.machine.memory().equals(0, self.world.plain());
        if !clean {
            self.batch.strayed = false;
            self.write_all();
        }
        clean
    }

    fn judge_by(&mut self, case: &Case, how: Compare) -> Result<CaseOutcome, MachineError> {
        let prepared = self.world.prepare(case, &self.processor);
        let outcome = match prepared {
            Err(unfit) => CaseOutcome::Unfit(unfit),
            Ok(()) => {
                let how = self.batch.check_plain(self.machine.memory(), &self.world, how);
                let exit = self.run(case)?;
                let got = self.machine.vcpu.state();
                if self.expectation().before.nmi_blocked && matches!(case.via, Via::Iret(_)) {
                    self.leave_iret()?;
                }
                self.world.apply();
                let compared = compare(&mut self.machine, &mut self.world, how, exit, got)?;
                self.batch.note(&compared);
                if how == Compare::All {
                    self.batch.note_suspect(self.world.expectation());
                }
                if compared.mismatch.is_empty() {
                    CaseOutcome::Same
                } else {
                    CaseOutcome::Differs(Box::new(compared.mismatch))
                }
            }
        };
        let machine = &mut self.machine;
        self.world.undo(|place, bytes| {
            if prepared.is_ok() {
                machine.write_memory(place.address.into(), bytes);
            }
        });
        if std::mem::take(&mut self.batch.flooded) {
            self.write_all();
        }
        Ok(outcome)
    }

    fn run(&mut self, case: &Case) -> Result<Exit, MachineError> {
        if self.until_alarm == 0 {
            self.until_alarm = CASES_PER_ALARM;
            self.machine.vcpu.set_alarm(Some(Patience::SLICE))?;
        }
        self.until_alarm -= 1;
        for place in self.world.changed() {
            self.machine.write_memory(place.address.into(), &self.world.memory[place.range()]);
        }
        let state = &self.world.expectation().before;
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
        self.run_patiently()
    }

    /// Runs to an exit that is not the alarm's, unless nothing happens any more.
    fn run_patiently(&mut self) -> Result<Exit, MachineError> {
        let mut patience = Patience::new();
        loop {
            let exit = self.machine.vcpu.run()?;
            if exit != Exit::Interrupted {
                return Ok(exit);
            }
            self.until_alarm = 0;
            if !patience.lasts(&self.machine.vcpu.state()) {
                return Ok(exit);
            }
            self.machine.vcpu.set_alarm(Some(Patience::SLICE))?;
        }
    }

    /// How long the guest's part of a case takes: its memory and state set, and the one exit. None if it
    /// cannot be run.
    pub(super) fn time_raw(&mut self, case: &Case) -> Result<Option<Duration>, MachineError> {
        if self.world.prepare(case, &self.processor).is_err() {
            self.world.undo(|_, _| ());
            return Ok(None);
        }
        let start = Instant::now();
        self.run(case)?;
        let time = start.elapsed();
        self.leave_iret()?;
        self.write_all();
        Ok(Some(time))
    }

    /// kvm_amd unblocks NMIs at the first exit whose EIP is not the IRET's. That exit is made to come here, so that it
    /// does not fall into the next case.
    fn leave_iret(&mut self) -> Result<(), MachineError> {
        let mut resting = self.resting;
        resting.eip ^= u32::from(resting.eip == self.expectation().before.eip);
        self.machine.vcpu.set_state(&resting);
        self.run_patiently()?;
        Ok(())
    }
}
