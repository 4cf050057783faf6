//! A stack that is full: neither the fault nor the double fault finds room for its words.

use super::Aftermath;
use crate::check::History;
use crate::entry::{Reach, Walk};
use ia32::State;

/// The instruction has pushed beyond the end of its stack.
pub(super) fn overflow(
    state: &State,
    code: u32,
    aftermath: &Aftermath<'_>,
    history: &History,
) -> Option<(String, Option<String>)> {
    let address = state.cr2;
    let esp = state.stack_address();
    let reach = Reach::of_error_code(code);
    let walk = Walk::of(aftermath.memory, state, address)?;
    walk.denies(reach)?;
    // In ring 0, a little below ESP or at it, at the end of a page that is mapped.
    let near = address <= esp && esp - address <= 4096 || address.wrapping_sub(esp) < 64;
    let end = (address & 0xffff_f000).wrapping_add(0x1000);
    let above = Walk::of(aftermath.memory, state, end)?;
    let edge = above.denies(Reach { write: true, user: false }).is_none();
    if state.cpl() != 0 || !near || !edge {
        return None;
    }
    let (owner, size) = match history.owner(end) {
        Some(task) => {
            let top = history.stacks().iter().find(|stack| stack.task == task)?.top;
            // Nothing of it is there.
            if top <= end {
                return None;
            }
            (
                format!("the kernel stack of task {}", task.0),
                format!(" ({} bytes below ESP0 {top:08x})", top.wrapping_sub(end)),
            )
        }
        None => ("the kernel's stack".to_owned(), String::new()),
    };
    Some((
        format!(
            "{owner} is full down to {end:08x}{size}: ESP is {:08x}, and below it {}; neither #PF nor #DF \
             finds room for its frame",
            state.general.esp,
            walk.sentence(reach)
        ),
        Some(
            "give the stack more room or recurse less; a task gate for #DF, with a stack of its own, \
             makes an overflow tell of itself"
                .into(),
        ),
    ))
}
