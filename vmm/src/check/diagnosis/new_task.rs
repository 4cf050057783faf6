//! A task switch to a TSS whose CR3 maps nothing of the kernel.

use super::explained::Explained;
use super::{Aftermath, selector_fault};
use crate::entry::{Reach, Walk};
use crate::instruction::valid_32;
use ia32::{Descriptor, DescriptorKind, GateKind, Selector, State, Vector};

/// The TSS's CR3 and EIP, by offset.
const CR3: u32 = 0x1c;
const EIP: u32 = 0x20;

/// With paging on, CR3 comes from the TSS (SDM vol. 3A, "Task switching"); none if the task's code is mapped by it.
fn without_its_code(
    selector: Selector,
    state: &State,
    aftermath: &Aftermath<'_>,
) -> Option<Explained> {
    let linear = aftermath.linear(state);
    let descriptor: Descriptor = linear.descriptor(state, selector)?;
    if !state.paging() || !matches!(descriptor.kind(), DescriptorKind::Tss { wide: true, .. }) {
        return None;
    }
    let word = |offset| linear.read_u32(descriptor.base().wrapping_add(offset));
    let (cr3, eip) = (word(CR3)?, word(EIP)?);
    let then = State { cr3, ..*state };
    let reach = Reach { write: false, user: false };
    let walk = Walk::of(aftermath.memory, &then, eip)?;
    walk.denies(reach)?;
    let explained = Explained::because(format!(
        "the TSS of {:04x}, at {:08x}, has CR3 {cr3:08x}: with paging on the task runs by that directory, and {}",
        selector.0,
        descriptor.base(),
        walk.sentence(reach)
    ));
    Some(explained.advise("store the physical address of a page directory that maps the kernel in the TSS's CR3, at offset 0x1c"))
}

/// The same for the task that the far jump in `code` is to switch to.
pub(super) fn of_jump(code: &[u8], state: &State, aftermath: &Aftermath<'_>) -> Option<Explained> {
    let jump = valid_32(code, state.eip).filter(|one| selector_fault::far_target(one).is_some())?;
    without_its_code(Selector(jump.far_branch_selector()), state, aftermath)
}

/// The same for the task that a double fault is to switch to.
pub(super) fn of_double_fault(state: &State, aftermath: &Aftermath<'_>) -> Option<Explained> {
    let gate = aftermath.gate(state, Vector::DF.0)?;
    let is_task = gate.present && gate.kind == GateKind::Task;
    is_task.then(|| without_its_code(gate.selector, state, aftermath)).flatten()
}
