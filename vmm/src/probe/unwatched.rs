//! Ways into the kernel beside the interrupt and trap gates of the IDT: call gates, and task gates of the IDT.
//!
//! What comes by a gate that was found too late, or cannot be watched, is not judged, so those are named. They are looked for where the guest's tables are read anyway: when its IDT or its LDT has changed, in a new
//! address space, and at the end; call gates also in front of each IRET that leaves for an outer ring, where GDT or LDT
//! have changed since the last one.
//!
//! A processor stores the old task's selector in the TSS that a task gate leads to (SDM vol. 3A, "Task linking"). So a
//! TSS without that link has not been entered by its gate. A call gate leaves no such trace.

use crate::machine::{LinearMemory, Machine};
use crate::probe::Idt;
use ia32::{Descriptor, DescriptorKind, GateKind, Selector, State};
use std::collections::BTreeMap;

/// Bytes of a descriptor table, at most.
const LARGEST: usize = 0x1_0000;

/// So many bytes of a table are compared with what they were.
const COMPARED: usize = 2048;

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
    /// Linear address of that.
    pub address: u32,
    /// Words of the caller's stack that are copied.
    pub parameters: u8,
    /// Its words have 32 bits, and the code is that of ring 0.
    pub usual: bool,
}

/// What is known of a call gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The guest is stopped where it leads to.
    pub watched: bool,
    /// It may have been used before it was found.
    pub late: bool,
    /// Something may have come by it unseen, although it is watched.
    pub doubtful: bool,
}

/// A descriptor table as it was seen last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    base: u32,
    limit: u32,
    bytes: Vec<u8>,
}

/// A task gate in the IDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskGate {
    /// Its vector.
    pub vector: u8,
    /// The selector of its TSS.
    pub tss: u16,
}

/// What is known of what has come by a task gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// Something has, as far as its TSS tells.
    pub linked: bool,
    /// An entry was seen.
    pub seen: bool,
    /// Something had come by it before it was found.
    pub late: bool,
}

/// The gates that were seen at any time.
#[derive(Clone, Debug, Default)]
pub struct Unwatched {
    call_gates: BTreeMap<CallGate, Seen>,
    /// GDT and LDT as they were when an outer ring was left for.
    tables: [Table; 2],
    /// Each with what is known of it.
    task_gates: BTreeMap<TaskGate, Entered>,
    /// Base of the LDT that was looked at last.
    ldt: u32,
}

impl Unwatched {
    /// The call gates, each with what is known of it.
    pub fn call_gates(&self) -> impl Iterator<Item = (CallGate, Seen)> {
        self.call_gates.iter().map(|(gate, seen)| (*gate, *seen))
    }

    pub(super) fn has_call_gates(&self) -> bool {
        !self.call_gates.is_empty()
    }

    pub(super) fn doubt(&mut self, gates: &[CallGate]) {
        for gate in gates {
            if let Some(seen) = self.call_gates.get_mut(gate) {
                seen.doubtful = true;
            }
        }
    }

    /// GDT or LDT of `state` are not what they were when this was asked last. Of a large table only the first part is
    /// compared, as long as it stays where it is.
    #[inline]
    pub(super) fn tables_changed(&mut self, machine: &Machine, state: &State) -> bool {
        if !state.protected() {
            return false;
        }
        let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
        let mut changed = false;
        for (table, (base, limit)) in self.tables.iter_mut().zip(registers(state)) {
            if (table.base, table.limit) == (base, limit) && linear.equals(base, &table.bytes) {
                continue;
            }
            let length =
                if limit == 0 { 0 } else { (limit as usize).saturating_add(1).min(COMPARED) };
            let mut bytes = vec![0; length];
            let read = linear.read_some(base, &mut bytes);
            bytes.truncate(read);
            *table = Table { base, limit, bytes };
            changed = true;
        }
        changed
    }

    /// The call gates in the tables of `state` that were not watched, and are from now on.
    pub(super) fn watch_call_gates(
        &mut self,
        machine: &Machine,
        state: &State,
        late: bool,
    ) -> Vec<CallGate> {
        let mut new = call_gates(machine, state);
        new.retain(|gate| {
            gate.usual && !self.call_gates.get(gate).is_some_and(|seen| seen.watched)
        });
        for gate in &new {
            let seen = self.call_gates.entry(*gate).or_default();
            seen.watched = true;
            seen.late |= late;
        }
        new
    }

    pub(super) fn has_task_gates(&self) -> bool {
        !self.task_gates.is_empty()
    }

    /// An entry by a task gate to the TSS with this selector was seen.
    pub(super) fn entered_by_task_gate(&mut self, tss: Selector) {
        for (gate, entered) in &mut self.task_gates {
            entered.seen |= gate.tss & !7 == tss.0 & !7;
        }
    }

    /// The task gates, each with what is known of it.
    pub fn task_gates(&self) -> impl Iterator<Item = (TaskGate, Entered)> {
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
        for gate in call_gates(machine, state) {
            self.call_gates.entry(gate).or_default();
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
                let found = Entered { late: entered, ..Entered::default() };
                self.task_gates.entry(gate).or_insert(found).linked |= entered;
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

/// Base and limit of GDT and LDT; 0 where there is no LDT.
fn registers(state: &State) -> [(u32, u32); 2] {
    let has_ldt = state.ldtr.present() && !state.ldtr.selector().is_null();
    let ldt = if has_ldt { (state.ldtr.base, state.ldtr.limit) } else { (0, 0) };
    [(state.gdtr.base, state.gdtr.limit.into()), ldt]
}

/// The present call gates of GDT and LDT that lead to an inner ring.
fn call_gates(machine: &Machine, state: &State) -> Vec<CallGate> {
    let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
    let [gdt, ldt] = registers(state);
    let mut gates = gates_in(&linear, state, gdt, 0);
    if ldt != (0, 0) {
        gates.extend(gates_in(&linear, state, ldt, 4));
    }
    gates
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
    leads_inwards.then_some(CallGate {
        selector,
        dpl: descriptor.dpl(),
        cs: cs.0,
        offset,
        address: target.base().wrapping_add(offset),
        parameters: (high & 31) as u8,
        usual: kind == 12 && target.dpl() == 0,
    })
}
