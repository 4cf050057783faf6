//! Ring 0 goes on, and its stack pointer leads to where there is no memory.

use super::{Aftermath, Diagnosis, Placed, lost};
use crate::check::{Finding, Retrace, Subject};
use crate::run::Ending;

/// How far from where it is now ESP may have been when it was loaded.
const NEAR: u32 = 0x1_0000;

/// Ring 0 has a stack in RAM, where a run ends at a time-out or in a halt.
///
/// What is pushed there is lost, and what is popped is nothing: no handler returns. Nothing is said of a kernel that was
/// never entered, and so may not need one yet.
pub(super) fn leads_nowhere(diagnosis: &Diagnosis, aftermath: &Aftermath<'_>) -> Option<Placed> {
    let state = &aftermath.end.state;
    let (last, ..) = diagnosis.last_entry?;
    let stands =
        matches!(aftermath.end.ending, Ending::TimedOut | Ending::Stopped | Ending::Halted);
    let at = state.stack_address();
    let nowhere = [at, at.wrapping_sub(4), at.wrapping_sub(64)]
        .into_iter()
        .all(|address| !aftermath.is_ram(state, address));
    if !stands || state.cpl() != 0 || !state.protected() || !nowhere {
        return None;
    }
    let esp = state.general.esp;
    let finding = Finding::new(
        lost::RULE,
        Subject::Kernel,
        format!("ring 0 runs with ESP {esp:08x}, where there is no RAM"),
        format!("a stack below {:08x}, or one that is mapped", aftermath.memory.size()),
        format!("ESP {esp:08x}"),
    )
    .because(match text(esp) {
        Some(text) => format!(
            "the bytes of ESP are text, {text:?}: what it was loaded from has been overwritten with a string"
        ),
        None => "what it was loaded from has been overwritten, or was never set".into(),
    })
    .about_instruction(state.instruction_address());
    let end = at.wrapping_add(NEAR);
    let way = Retrace::OntoStack { after_entry: last, end, size: 2 * NEAR };
    let place = format!("the end, in ring 0, at {}", aftermath.place(state.instruction_address()));
    Some((place, finding.retraced(way)))
}

/// The value as characters, if it could be some.
fn text(value: u32) -> Option<String> {
    // The low bytes are not what was loaded, since something was pushed and popped.
    let [_, _, high, higher] = value.to_le_bytes();
    let printable = [high, higher].iter().all(|byte| byte.is_ascii_graphic());
    printable.then(|| [high, higher].map(char::from).iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_pointer_that_was_a_string_is_told_by_its_upper_bytes() {
        assert_eq!(text(0x3031_3030), Some("10".into()));
        assert_eq!(text(0xffff_fff0), None);
        assert_eq!(text(0x0010_8000), None);
    }
}
