//! A function whose locals are so large that ESP has jumped over the page that guards its stack, into what lies below.

use super::Aftermath;
use super::explained::Explained;
use crate::check::History;
use crate::entry::Fault;
use crate::instruction::sequence;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

const PAGE: u32 = 4096;
/// So much of a function's beginning is looked at, in bytes.
const PROLOGUE: usize = 32;

/// Why ring 0 met a page that is not mapped: ESP had been moved over it, from the stack that the task has entered on.
pub(super) fn explain(
    fault: &Fault,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<Explained> {
    let function = history.objects().function_at(fault.address()).filter(|_| fault.ring == 0)?;
    let mut code = [0; PROLOGUE];
    let linear = aftermath.linear(&fault.after);
    let length = aftermath.probes.read_code(&linear, function.start, &mut code);
    let size = sequence(&code[..length], function.start).find_map(|(one, _)| taken(&one))?;
    let esp = fault.after.ss().base.wrapping_add(fault.stack_pointer());
    let came_from = esp.wrapping_add(size);
    let top = history.running_top().filter(|top| came_from < *top && size >= PAGE)?;
    // What lies between is a guard: the pages of one stack are all mapped.
    let pages = (esp & !(PAGE - 1)..came_from).step_by(PAGE as usize).skip(1);
    let guard = pages.rev().find(|page| linear.paging.translate(linear.memory, *page).is_none())?;
    let is_own = top - came_from < history.largest() && guard < came_from && esp < guard;
    let of_task = match history.owner(esp) {
        Some(task) if is_own => format!(" on the stack of task {}", task.0),
        _ => String::new(),
    };
    (came_from.wrapping_sub(guard) >= PAGE && is_own).then(|| {
        Explained::because(format!(
            "ESP {esp:08x} lies{of_task} below page {guard:08x}, which is not mapped and guards the stack that ends at \
             {top:08x}: {} takes {size} bytes of it at once, and ESP has jumped over that page; what is written below it \
             overwrites another stack",
            function.name
        ))
        .advise(format!(
            "make what {} keeps on the stack smaller or static, or the stacks larger; a guard page is met for certain only \
             by who touches each page on the way down (`-fstack-clash-protection`)",
            function.name
        ))
    })
}

/// How much `sub esp, n` takes.
fn taken(instruction: &Instruction) -> Option<u32> {
    let is_sub = instruction.mnemonic() == Mnemonic::Sub
        && instruction.op0_register() == Register::ESP
        && instruction.op1_kind() == OpKind::Immediate32;
    is_sub.then(|| instruction.immediate32())
}
