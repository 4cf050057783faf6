//! A linear address where a physical one is needed, and the reverse: what kernels that are linked elsewhere than they are
//! loaded confuse.

use super::Aftermath;
use super::explained::Explained;
use crate::entry::{Reach, Walk};
use ia32::State;

/// The page directory lies where there is no RAM: nothing is mapped, whatever the tables in memory say.
pub(super) fn directory_beyond_ram(
    state: &State,
    aftermath: &Aftermath<'_>,
) -> Option<(String, Option<String>)> {
    let directory = state.cr3 & !0xfff;
    if !state.paging() || u64::from(directory) < aftermath.memory.size() {
        return None;
    }
    let physical = directory & !KERNEL_HALF;
    // Named by its linear address, or by the physical one that the kernel was linked for.
    let name = (aftermath.names)(directory).or_else(|| (aftermath.names)(physical));
    let name = name.map_or(String::new(), |name| format!(" ({name})"));
    let advice = if name.is_empty() {
        "load CR3 with the physical address of the directory, and not its linear one".into()
    } else {
        format!(
            "load CR3 with the directory's physical address: {directory:08x} is a linear one, of what lies at {physical:08x} if \
             the kernel is mapped from {:08x} on",
            directory & KERNEL_HALF
        )
    };
    Some((
        format!("CR3 is {directory:08x}{name}, where there is no RAM: nothing is mapped"),
        Some(advice),
    ))
}

/// The upper bits of a kernel's linear addresses, where it runs elsewhere than it was loaded.
const KERNEL_HALF: u32 = 0xf000_0000;

/// Gates lead to the physical addresses of their handlers, where no page is mapped: each page fault met the next.
pub(super) fn gates_without_code(state: &State, aftermath: &Aftermath<'_>) -> Option<Explained> {
    let half = state.instruction_address() & KERNEL_HALF;
    let idt = aftermath.probes.idt();
    let (vector, gate) = (0..=255u8).find_map(|vector| {
        let gate =
            idt.gate(vector).filter(|gate| gate.present && gate.offset & KERNEL_HALF < half)?;
        (aftermath.names)(gate.offset.wrapping_add(half))?;
        Some((vector, gate))
    })?;
    let mapped = Walk::of(aftermath.memory, state, gate.offset)
        .is_some_and(|walk| walk.denies(Reach { write: false, user: false }).is_none());
    let handler = gate.offset.wrapping_add(half);
    (state.paging() && !mapped).then(|| {
        Explained::because(format!(
            "gate {vector:#04x} leads to {:08x}, where no page is mapped: the physical address of {}",
            gate.offset,
            aftermath.place(handler)
        ))
        .advise("put the handler's linear address into the gate: paging is on when it is used")
    })
}
