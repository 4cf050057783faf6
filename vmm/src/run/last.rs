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
//! A call, a loop and a repeated string instruction are run to a breakpoint after them instead, in one piece. Where the
//! guest dies before it gets there, the vCPU goes back to where the piece begins, and only this piece is stepped.
//! `int n` is run in one piece too, up to its handler: no step would end in there.
//!
//! An interrupt that was injected has its state before it kept; nothing has to be repeated then.

use super::departure::{Cause, Departure};
use super::{Counters, End, Ending, Run};
use crate::instruction::effect::raised_event;
use crate::instruction::operands::operands;
use crate::instruction::stepping::{Stepping, classify, hide_trap_flag};
use crate::instruction::valid_32;
use crate::machine::{Exit, LinearMemory, MachineError, Snapshot};
use ia32::{Gate, GateKind, Selector, State, Vector};
use iced_x86::{FlowControl, Mnemonic, OpKind};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long the way from the last stop to the end may take: tens of thousands of steps even on an emulated
/// processor.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a call or a loop may run in one piece.
const PIECE: Duration = Duration::from_secs(4);
/// A jump back that has been taken so often is a loop's.
const TURNS: u32 = 8;

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
    /// Once the guest has stopped at as many probes, and has come to as many devices, as another run of it that then was
    /// shut down, it is stepped to its end: there memory is what it was, and not that of the end.
    #[must_use]
    pub fn watched_after(mut self, other: Counters) -> Self {
        self.watched_after = Some((other.stops, other.device_accesses));
        self
    }

    /// The other run has seen its last exit here.
    #[inline]
    pub(super) fn is_to_be_watched(&self) -> bool {
        let Some(exits) = self.watched_after else { return false };
        (self.counters.stops, self.counters.device_accesses) == exits
    }

    /// Steps the guest to its end; none if it comes to something else.
    pub(super) fn watch_the_end(&mut self) -> Result<End, MachineError> {
        self.watched_after = None;
        self.finish()?;
        self.probes.give_up(&mut self.machine)?;
        self.machine.vcpu.request_interrupt_window(false);
        let last_state = self.machine.vcpu.state();
        let found = self.step_to_shutdown(Back::ToCheckpoint)?;
        let state = found.map_or(last_state, |snapshot| snapshot.state());
        self.machine.vcpu.set_state(&state);
        let last_event = found.map(|_| LastEvent { before: state, interrupt: None, certain: true });
        Ok(End { ending: Ending::TripleFault, state, last_event, arriving: None })
    }

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
        self.machine.vcpu.set_state(&self.seen.last_state);
        let found = self.step_to_shutdown(Back::ToMemoryOfTheEnd)?;
        let certain = self.machine.memory_changes()?.is_empty();
        self.machine.rewind_memory()?;
        let before = found.map(|snapshot| snapshot.state());
        self.machine.vcpu.set_state(before.as_ref().unwrap_or(&self.seen.last_state));
        Ok(before.map(|before| LastEvent { before, interrupt: None, certain }))
    }

    /// The interrupt that was being delivered.
    pub(super) fn last_interrupt(&mut self) -> Option<LastEvent> {
        let Departure { before, cause: Cause::Interrupt(vector), .. } =
            self.seen.departure.take()?
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
        if let Some([kind]) = self.machine.memory().read_array::<1>(physical)
            && matches!(kind & 0x1f, 3 | 11)
        {
            let _ = self.machine.write_memory(physical, &[kind & !BUSY]);
        }
    }

    fn step_to_shutdown(&mut self, back: Back) -> Result<Option<Snapshot>, MachineError> {
        let give_up_at = Instant::now() + PATIENCE;
        let whole = self.machine.vcpu.image()?;
        let mut pieces = Pieces::default();
        // It may be in the middle of an access that the first step completes.
        let mut accesses = 1;
        while Instant::now() < give_up_at {
            let snapshot = self.machine.vcpu.snapshot();
            let before = self.machine.vcpu.state();
            let mut code = [0; 15];
            let linear = self.machine.linear();
            let count = linear.read_some(before.instruction_address(), &mut code);
            let code = &code[..count];
            if back == Back::ToMemoryOfTheEnd {
                self.free_task_state(&before, code);
            }
            let end = match self.probes.debug_registers() {
                0 => None,
                _ => pieces.end_of(code, &before).or_else(|| self.handler_of(code, &before)),
            };
            if let Some(end) = end.filter(|_| !pieces.is_to_be_stepped(&before)) {
                let checkpoint = match back {
                    Back::ToCheckpoint => Some(self.machine.checkpoint()?),
                    Back::ToMemoryOfTheEnd => None,
                };
                let esp = if is_int(code) { 0 } else { before.general.esp };
                if self.run_to(end, esp)? {
                    continue;
                }
                // At its end KVM has reset the vCPU.
                match checkpoint {
                    Some(checkpoint) => self.machine.restore(&checkpoint)?,
                    None => {
                        // What the way is to write lies there already.
                        self.machine.rewind_memory()?;
                        self.machine.vcpu.put_back(&whole)?;
                        self.machine.vcpu.restore(&snapshot);
                        self.free_task_state(&before, code);
                    }
                }
                pieces.must_be_stepped(&before);
            }
            match self.machine.vcpu.step(true)? {
                Exit::Shutdown => return Ok(Some(snapshot)),
                Exit::Step => {
                    let after = self.machine.vcpu.state();
                    if raised_event(&before, &after, code) {
                        return Ok(None);
                    }
                    if classify(code) == Stepping::PushesFlags {
                        hide_trap_flag(&mut self.machine.linear_mut(), &after);
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

/// How memory is put back where a call or a loop was not run to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    /// It is that of the end all the way, and what is written lies there already.
    ToMemoryOfTheEnd,
    /// A checkpoint is taken before.
    ToCheckpoint,
}

/// The calls and loops on the way.
#[derive(Default)]
struct Pieces {
    /// Where those begin that the end lies in.
    stepped: BTreeSet<u32>,
    /// How often each jump back was seen.
    turns: BTreeMap<u32, u32>,
}

impl Pieces {
    /// The linear address behind the call or the loop that the vCPU stands at in `state`; none if it is none.
    fn end_of(&mut self, code: &[u8], state: &State) -> Option<u32> {
        let at = state.instruction_address();
        let instruction = valid_32(code, at)?;
        let is_piece = match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => !instruction.is_call_far(),
            FlowControl::ConditionalBranch if instruction.near_branch32() < at => {
                let turns = self.turns.entry(at).or_default();
                *turns += 1;
                *turns > TURNS
            }
            FlowControl::Next => instruction.has_rep_prefix() || instruction.has_repne_prefix(),
            _ => false,
        };
        is_piece.then(|| instruction.next_ip32())
    }

    fn is_to_be_stepped(&self, state: &State) -> bool {
        self.stepped.contains(&state.instruction_address())
    }

    fn must_be_stepped(&mut self, state: &State) {
        self.stepped.insert(state.instruction_address());
    }
}

impl Run {
    /// The linear address of the handler that the `int n` in `code` leads to.
    fn handler_of(&self, code: &[u8], state: &State) -> Option<u32> {
        let vector = u32::from(*code.get(1).filter(|_| is_int(code))?);
        let linear = self.machine.linear();
        let mut bytes = [0; 8];
        linear.read(state.idtr.base.wrapping_add(vector * 8), &mut bytes)?;
        let gate = Gate::decode(u64::from_le_bytes(bytes)).ok()?;
        let is_usable = gate.present && gate.kind != GateKind::Task;
        let code = linear.descriptor(state, gate.selector).filter(|_| is_usable)?;
        Some(code.base().wrapping_add(gate.offset))
    }

    /// Lets the guest run to `end`, with a stack that is at least as empty as at `esp`. False if it does not get there.
    fn run_to(&mut self, end: u32, esp: u32) -> Result<bool, MachineError> {
        let give_up_at = Instant::now() + PIECE;
        self.machine.vcpu.set_breakpoints(&[Some(end), None, None, None])?;
        let came = loop {
            self.machine.vcpu.set_alarm(Some(PIECE))?;
            match self.machine.vcpu.run()? {
                Exit::Breakpoint { address } if address == end => {
                    if self.machine.vcpu.state().general.esp >= esp {
                        break true;
                    }
                    // The same place in a call of itself lies lower.
                    if self.machine.vcpu.step(true)? != Exit::Step {
                        break false;
                    }
                }
                Exit::MemoryRead { .. } | Exit::MemoryWrite { .. } => {
                    self.machine.vcpu.mmio_data().fill(0xff);
                }
                Exit::Interrupted if Instant::now() < give_up_at => {}
                _ => break false,
            }
        };
        self.machine.vcpu.set_breakpoints(&[None; 4])?;
        Ok(came)
    }
}

/// `int n`. A step over it clears TF, and goes on to wherever the handler comes.
fn is_int(code: &[u8]) -> bool {
    code.first() == Some(&0xcd)
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
