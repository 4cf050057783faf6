//! An entry by a task gate, and the IRET back.
//!
//! The event of a task gate switches tasks: the processor stores the registers of what it interrupts in the old TSS, loads those
//! of the TSS that the gate names, stores the old TSS's selector there as the backlink, and sets NT. An error code is pushed on
//! the new task's stack (SDM vol. 3A, "Task gates in the IDT" and "Task linking"). An IRET with NT set goes back by the link;
//! the task is left as it is then, and its next event goes on behind that IRET.
//! ```text
//!   the TSS that TR named           the gate's TSS
//!  ┌──────────────────────┐        ┌────────────────────────┐
//!  │ EIP, EFLAGS, ESP, …  │ ◄───── │ backlink               │    ESP in it ──►  ┌────────────┐
//!  │ of what was          │        │ EIP, EFLAGS, ESP, …    │                   │ error code │
//!  │ interrupted          │        │ are loaded, NT is set  │            ESP ─► └────────────┘
//!  └──────────────────────┘        └────────────────────────┘
//! ```
//! It is told as a [`TaskSwitch`], seen where the new task goes on: what was interrupted is what the old TSS holds.

use super::fault::Ram;
use super::switch::{Bases, PendingSwitch, SwitchCause, TaskSwitch, TssWords};
use crate::machine::{LinearMemory, Machine};
use crate::probe::{IretSite, Probes, TaskGate};
use ia32::{
    DescriptorKind, Eflags, General, OperandSize, Processor, Selector, State, Vector, attempt,
};

/// The switch that has led to where the vCPU stands in `state`, by one of `gates`, all of which lead there. None if TR holds
/// another TSS, or no task has been left for it. `injected` is the vector of an interrupt that was to come.
pub(crate) fn capture_task_gate(
    machine: &Machine,
    probes: &Probes,
    gates: &[TaskGate],
    state: &State,
    injected: Option<Vector>,
    (after_sequence, time): (u64, u64),
) -> Option<TaskSwitch> {
    let tr = state.tr.selector();
    if !state.eflags.contains(Eflags::NT) {
        return None;
    }
    let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
    let new = TssWords::read(&linear, state.tr.base)?;
    let link = new.selector(TssWords::BACKLINK);
    let left = linear.descriptor(state, link)?;
    let is_task = matches!(left.kind(), DescriptorKind::Tss { wide: true, .. });
    if !is_task || link.0 & !7 == tr.0 & !7 {
        return None;
    }
    let pushed = new.0[TssWords::ESP].wrapping_sub(state.general.esp);
    let fits = |gate: &&TaskGate| {
        let vector = Vector(gate.vector);
        let by_this =
            gate.tss & !7 == tr.0 & !7 && injected.is_none_or(|injected| injected == vector);
        by_this && (pushed == 0 || vector.has_error_code())
    };
    // A gate for several vectors: the one whose error code is there.
    let mut fitting: Vec<&TaskGate> = gates.iter().filter(fits).collect();
    fitting.sort_by_key(|gate| Vector(gate.vector).has_error_code() != (pushed == 4));
    let vector = Vector(fitting.first()?.vector);
    let error_code = match pushed {
        0 => None,
        4 => Some(linear.read_u32(state.stack_address())?),
        _ => return None,
    };
    let stored = TssWords::read(&linear, left.base())?;
    let before = interrupted(&linear, state, &stored, link, left.base());
    let bases = Bases::of(&linear, state, &new);
    let behind = before.instruction_address().wrapping_sub(2);
    let mut code = [0; 2];
    let read = probes.read_code(&linear, behind, &mut code);
    let by_int = read == code.len() && code == [0xcd, vector.0];
    Some(TaskSwitch {
        cause: SwitchCause::Gate { vector, error_code, by_int },
        after_sequence,
        time,
        next_eip: before.eip,
        before,
        selector: tr,
        old: stored,
        new,
        new_tss: state.tr.base,
        code_base: bases.code,
        stack_base: bases.stack,
        kernel_stack: bases.kernel_stack,
        stored,
        tr,
        after: *state,
    })
}

/// What was interrupted, as far as its TSS tells: with the tables and control registers of `now`.
fn interrupted(
    linear: &LinearMemory<'_>,
    now: &State,
    stored: &TssWords,
    tr: Selector,
    tss: u32,
) -> State {
    let TssWords(words) = stored;
    let mut before = *now;
    let ldt = linear.descriptor(now, stored.selector(TssWords::LDT));
    before.ldtr = ldt.map(|ldt| ldt.segment(words[TssWords::LDT] as u16)).unwrap_or_default();
    before.tr.selector = tr.0;
    before.tr.base = tss;
    before.eip = words[TssWords::EIP];
    before.eflags = Eflags(words[TssWords::EFLAGS]);
    let general: [u32; 8] = std::array::from_fn(|index| words[TssWords::EAX + index]);
    before.general = General::from_array(general);
    let in_virtual_8086 = before.eflags.contains(Eflags::VM);
    for (index, segment) in before.segments.iter_mut().enumerate() {
        let selector = words[TssWords::ES + index] as u16;
        let descriptor =
            linear.descriptor(&State { ldtr: before.ldtr, ..*now }, Selector(selector));
        match descriptor.filter(|_| !in_virtual_8086) {
            Some(descriptor) => *segment = descriptor.segment(selector),
            None => {
                segment.selector = selector;
                segment.base = u32::from(selector) << 4;
            }
        }
    }
    before
}

/// The switch that the IRET at which the vCPU stands in `state` is about to do, back by the link of the TSS that TR names. None
/// if it does not go back to a 32-bit task.
pub(crate) fn capture_task_return(
    machine: &Machine,
    processor: &Processor,
    iret: &IretSite,
    state: State,
    (after_sequence, time): (u64, u64),
) -> Option<PendingSwitch> {
    if !super::returns_to_a_task(machine, &state) {
        return None;
    }
    let linear = LinearMemory { memory: machine.memory(), paging: (&state).into() };
    let old = TssWords::read(&linear, state.tr.base)?;
    let eip = iret.address.wrapping_sub(state.cs().base);
    let size = if iret.word_size == 2 { OperandSize::Bits16 } else { OperandSize::Bits32 };
    let operation = ia32::Iret { size, length: iret.length };
    let outcome = attempt(&State { eip, ..state }, &Ram(linear.memory), operation, processor);
    if outcome.fault().is_some() {
        return None;
    }
    PendingSwitch::new(
        &linear,
        SwitchCause::Return,
        state,
        (old.selector(TssWords::BACKLINK), iret.address),
        eip.wrapping_add(iret.length.into()),
        (after_sequence, time),
    )
}
