//! A task switch to a TSS that the new task cannot go on by: its CR3 maps nothing of the kernel, or a segment is none
//! that its ring may use.

use super::explained::Explained;
use super::{Aftermath, descriptor, selector_fault};
use crate::entry::{Fault, Reach, TssWords, Walk};
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

/// The segment registers that come from a TSS, in the order in which they are checked, and what each has to be.
const SEGMENTS: [(&str, usize); 6] = [
    ("CS", TssWords::CS),
    ("SS", TssWords::SS),
    ("DS", TssWords::DS),
    ("ES", TssWords::ES),
    ("FS", TssWords::FS),
    ("GS", TssWords::GS),
];

/// #TS that is raised in the new task, by a segment that its TSS names (SDM vol. 3A, "Task switching").
pub(super) fn of_segment(fault: &Fault, aftermath: &Aftermath<'_>) -> Option<Explained> {
    let (state, code) = (&fault.after, fault.error_code()?);
    let linear = aftermath.linear(state);
    let words = TssWords::read(&linear, state.tr.base)?;
    // The new task has executed nothing yet. (QEMU's model pushes the EIP of the jump.)
    let jump = fault.instruction().filter(|one| selector_fault::far_target(one).is_some());
    if fault.vector != Vector::TS || (words.0[TssWords::EIP] != fault.eip() && jump.is_none()) {
        return None;
    }
    let (name, index) = SEGMENTS
        .into_iter()
        .find(|(_, index)| u32::from(words.selector(*index).0 & 0xfffc) == code & 0xfffc)?;
    let (selector, ring) = (words.selector(index), words.selector(TssWords::CS).rpl());
    let is = match linear.descriptor(state, selector) {
        _ if selector.is_null() => "that is the null selector".into(),
        Some(found) => descriptor::selector(selector, Some(found.0)),
        None => descriptor::selector(selector, None),
    };
    let wanted = match name {
        "CS" => "a code segment whose DPL is its RPL".to_owned(),
        "SS" => format!(
            "a data segment of ring {ring} that can be written, by a selector of RPL {ring}"
        ),
        _ => format!("a segment that ring {ring} may read"),
    };
    let explained = Explained::because(format!(
        "{name} in the TSS of {:04x}, at {:08x}, is {:04x}, and {is}; the new task is of ring {ring}, by its CS {:04x}",
        state.tr.selector,
        state.tr.base,
        selector.0,
        words.selector(TssWords::CS).0
    ));
    Some(explained.advise(format!("store {wanted} as {name} in that TSS")))
}
