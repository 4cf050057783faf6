//! The true last state of a guest that died.
//!
//! At a triple fault the registers are gone: kvm_amd resets the vCPU before it reports the shutdown
//! (Linux, arch/x86/kvm/svm/svm.c, shutdown_interception), because the VMCB is undefined then
//! (APM vol. 2, "Shutdown intercept"). Memory is as the guest left it. So the vCPU is put back to the last
//! boundary that was seen, the probes are taken out, and it is stepped until it dies again:
//!
//! ```text
//!   last stop or exit ─► step ─► step ─► … ─► shutdown: the state before that step
//!   memory of the end ─────────────────────► the same memory, if the way was the same
//! ```
//! What is found dies in front of KVM's eyes a second time, so the state is a true one. That the way there
//! was the same is shown by memory: stepping has to write what already lies there.
//!
//! An interrupt that was injected has its state before it kept; nothing has to be repeated then.

use super::Run;
use super::departure::{Cause, Departure};
use crate::instruction::effect::raised_event;
use crate::instruction::operands::operands;
use crate::instruction::stepping::{Stepping, classify, hide_trap_flag};
use crate::instruction::valid_32;
use crate::machine::{Exit, LinearMemory, MachineError, Snapshot};
use ia32::{Selector, State, Vector};
use iced_x86::{Mnemonic, OpKind};
use std::time::{Duration, Instant};

/// How long the way from the last stop to the end may take, stepped: tens of thousands of instructions even
/// on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a guest was doing when it ended by a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEvent {
    /// The state just before.
    pub before: State,
    /// The interrupt that was being delivered; none if it was the instruction at EIP.
    pub interrupt: Option<Vector>,
    /// The state was seen, or the way to it wrote what lay in memory at the end.
    pub certain: bool,
}

impl Run {
    /// What ended in the shutdown that KVM has reported; none if it is not found again.
    pub(super) fn last_event(&mut self) -> Result<Option<LastEvent>, MachineError> {
        let interrupt = self.last_interrupt();
        if interrupt.is_some() {
            return Ok(interrupt);
        }
        self.probes.give_up(&mut self.machine)?;
        if self.machine.watch_memory().is_err() {
            // Without a log of writes nothing shows that the way is the same.
            return Ok(None);
        }
        self.machine.settle_memory()?;
        self.machine.settle_own_writes();
        self.machine.vcpu.request_interrupt_window(false);
        self.machine.vcpu.set_state(&self.last_state);
        let found = self.step_to_shutdown()?;
        let certain = self.machine.memory_changes()?.is_empty();
        self.machine.rewind_memory()?;
        let before = found.map(|snapshot| snapshot.state());
        self.machine.vcpu.set_state(before.as_ref().unwrap_or(&self.last_state));
        Ok(before.map(|before| LastEvent { before, interrupt: None, certain }))
    }

    /// The interrupt that was being delivered.
    pub(super) fn last_interrupt(&mut self) -> Option<LastEvent> {
        let Departure { before, cause: Cause::Interrupt(vector), .. } = self.departure.take()?
        else {
            return None;
        };
        Some(LastEvent { before: *before, interrupt: Some(vector), certain: true })
    }

    /// LTR marks the TSS that it loads as busy, and refuses one that is. In the memory of the end it has been
    /// marked already: where the guest is in front of its LTR once more, the mark goes.
    fn free_task_state(&mut self, state: &State, code: &[u8]) {
        const BUSY: u8 = 2;
        let Some(selector) = task_register_load(&self.machine.linear(), state, code) else {
            return;
        };
        if selector.0 & 0xfffc == state.tr.selector & 0xfffc {
            return;
        }
        let at = state.gdtr.base.wrapping_add(u32::from(selector.0 & 0xfff8) + 5);
        let linear = self.machine.linear();
        let Some(physical) = linear.paging.translate(linear.memory, at) else { return };
        if let Some([kind]) = self.machine.memory.read_array::<1>(physical)
            && matches!(kind & 0x1f, 3 | 11)
        {
            let _ = self.machine.memory.write(physical, &[kind & !BUSY]);
        }
    }

    fn step_to_shutdown(&mut self) -> Result<Option<Snapshot>, MachineError> {
        let give_up_at = Instant::now() + PATIENCE;
        // It may be in the middle of an access that the first step completes.
        let mut accesses = 1;
        while Instant::now() < give_up_at {
            let snapshot = self.machine.vcpu.snapshot();
            let before = self.machine.vcpu.state();
            let mut code = [0; 15];
            let linear = self.machine.linear();
            let count = linear.read_some(before.instruction_address(), &mut code);
            let code = &code[..count];
            self.free_task_state(&before, code);
            match self.machine.vcpu.step(true)? {
                Exit::Shutdown => return Ok(Some(snapshot)),
                Exit::Step => {
                    let after = self.machine.vcpu.state();
                    if raised_event(&before, &after, code) {
                        return Ok(None);
                    }
                    if classify(code) == Stepping::PushesFlags {
                        hide_trap_flag(&self.machine.linear(), &after);
                    }
                }
                Exit::PortWrite { .. } | Exit::PortRead { .. } if accesses > 0 => accesses -= 1,
                Exit::MemoryRead { .. } | Exit::MemoryWrite { .. } => {
                    self.machine.vcpu.mmio_data().fill(0xff);
                }
                Exit::Interrupted => {}
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// The selector that the instruction in `code` loads into TR; none if it is not LTR.
fn task_register_load(linear: &LinearMemory<'_>, state: &State, code: &[u8]) -> Option<Selector> {
    let instruction = valid_32(code, state.eip).filter(|one| one.mnemonic() == Mnemonic::Ltr)?;
    if instruction.op0_kind() == OpKind::Register {
        let number = instruction.op0_register().full_register32().number();
        return state.general.to_array().get(number).map(|value| Selector(*value as u16));
    }
    let touch = operands(code, state).0.first().copied()?;
    linear.read_u16(touch.linear).map(Selector)
}
