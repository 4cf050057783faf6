//! Ways into the kernel at which no probe stands: call gates, and task gates of the IDT.
//!
//! What comes by them is not judged, so they are named. They are looked for where the guest's tables are read anyway:
//! when its IDT or its LDT has changed, in a new address space, and at the end.
//!
//! A processor stores the old task's selector in the TSS that a task gate leads to (SDM vol. 3A, "Task linking"). So a
//! TSS without that link has not been entered by its gate. A call gate leaves no such trace.

use crate::machine::{LinearMemory, Machine};
use crate::probe::Idt;
use ia32::{Descriptor, DescriptorKind, GateKind, Selector, State};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a descriptor table, at most.
const LARGEST: usize = 0x1_0000;

/// Offset of the EIP to go on with in a TSS.
const TSS_EIP: u32 = 32;

/// A call gate that leads to an inner ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallGate {
    /// Its own selector, with an RPL of 0.
    pub selector: u16,
    /// The outermost ring that may call it.
    pub dpl: u8,
    /// The code segment that it leads to.
    pub cs: u16,
    /// The offset there.
    pub offset: u32,
}

/// A task gate in the IDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskGate {
    /// Its vector.
    pub vector: u8,
    /// The selector of its TSS.
    pub tss: u16,
}

/// The gates that were seen at any time.
#[derive(Clone, Debug, Default)]
pub struct Unwatched {
    call_gates: BTreeSet<CallGate>,
    /// Each with whether something has come by it, as far as its TSS tells.
    task_gates: BTreeMap<TaskGate, bool>,
    /// Base of the LDT that was looked at last.
    ldt: u32,
}

impl Unwatched {
    /// The call gates.
    pub fn call_gates(&self) -> impl Iterator<Item = CallGate> {
        self.call_gates.iter().copied()
    }

    /// The task gates, each with whether something has come by it.
    pub fn task_gates(&self) -> impl Iterator<Item = (TaskGate, bool)> {
        self.task_gates.iter().map(|(gate, entered)| (*gate, *entered))
    }

    /// The LDT of `state` is another than the one that was looked at last.
    #[inline]
    pub(super) fn is_another_ldt(&self, state: &State) -> bool {
        self.ldt != state.ldtr.base
    }

    /// Looks at the tables of `state`.
    pub(super) fn look(&mut self, machine: &Machine, idt: &Idt, state: &State) {
        self.ldt = state.ldtr.base;
        if !state.protected() {
            return;
        }
        let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
        let gdt = (state.gdtr.base, state.gdtr.limit.into());
        let gates = gates_in(&linear, state, gdt, 0);
        self.call_gates.extend(gates);
        if state.ldtr.present() && !state.ldtr.selector().is_null() {
            let gates = gates_in(&linear, state, (state.ldtr.base, state.ldtr.limit), 4);
            self.call_gates.extend(gates);
        }
        for vector in 0..=255 {
            let Some(gate) = idt.gate(vector) else { continue };
            let tss = gate.selector;
            if gate.present
                && gate.kind == GateKind::Task
                && let Some(descriptor) = linear.descriptor(state, tss)
                && matches!(descriptor.kind(), DescriptorKind::Tss { .. })
            {
                let entered = has_been_entered(&linear, state, tss, descriptor);
                let gate = TaskGate { vector, tss: tss.0 };
                *self.task_gates.entry(gate).or_default() |= entered;
            }
        }
    }
}

/// The task at this TSS runs, or was switched to by a gate.
fn has_been_entered(
    linear: &LinearMemory<'_>,
    state: &State,
    tss: Selector,
    descriptor: Descriptor,
) -> bool {
    let link = linear.read_u16(descriptor.base());
    // A TSS that has not been filled in holds nothing yet.
    let filled = linear.read_u32(descriptor.base().wrapping_add(TSS_EIP)) != Some(0);
    state.tr.selector == tss.0 || (filled && link.is_some_and(|link| link != 0))
}

/// The present call gates of a table at `base` with `limit` that an outer ring may use to come to an inner one.
/// Selectors of the table have `indicator` for TI.
fn gates_in(
    linear: &LinearMemory<'_>,
    state: &State,
    (base, limit): (u32, u32),
    indicator: u16,
) -> Vec<CallGate> {
    let mut bytes = vec![0; (limit as usize).saturating_add(1).min(LARGEST)];
    let length = linear.read_some(base, &mut bytes);
    let entries = bytes[..length].as_chunks::<8>().0.iter();
    (0u16..)
        .step_by(8)
        .zip(entries)
        .filter_map(|(offset, entry)| {
            call_gate(linear, state, offset | indicator, u64::from_le_bytes(*entry))
        })
        .collect()
}

fn call_gate(
    linear: &LinearMemory<'_>,
    state: &State,
    selector: u16,
    entry: u64,
) -> Option<CallGate> {
    let (descriptor, low, high) = (Descriptor(entry), entry as u32, (entry >> 32) as u32);
    let DescriptorKind::Gate(kind @ (4 | 12)) = descriptor.kind() else { return None };
    // Bits 7:5 of the word that counts parameters are 0.
    if !descriptor.present() || descriptor.dpl() == 0 || high & 0xe0 != 0 {
        return None;
    }
    let cs = Selector((low >> 16) as u16);
    let target = linear.descriptor(state, cs)?;
    let leads_inwards = target.present()
        && target.dpl() < descriptor.dpl()
        && matches!(target.kind(), DescriptorKind::Code { conforming: false, .. });
    let offset = if kind == 4 { low & 0xffff } else { low & 0xffff | high & 0xffff_0000 };
    leads_inwards.then_some(CallGate { selector, dpl: descriptor.dpl(), cs: cs.0, offset })
}
