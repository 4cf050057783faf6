//! A GDT or an IDT in the frame of a function that has returned: what was called since has overwritten it.

use super::Aftermath;
use super::explained::Explained;
use crate::check::Finding;
use ia32::State;

/// Farther below, an array that holds the stack may hold other things as well.
const NEAR: u32 = 512;

/// Adds to `finding`, about a descriptor or a gate, that its table lies on the stack below ESP, `state` being that in front
/// of the fault.
pub(super) fn add_to(finding: Finding, state: &State, aftermath: &Aftermath<'_>) -> Finding {
    let tables = [("GDT", "LGDT", state.gdtr.base), ("IDT", "LIDT", state.idtr.base)];
    let local = tables.into_iter().find(|(.., base)| is_below(*base, state, aftermath));
    let Some((table, load, base)) = local else { return finding };
    let before = finding.reason.as_ref().map_or(String::new(), |reason| format!("{reason}; "));
    Explained::because(format!(
        "{before}the {table} lies on the stack, at {base:08x}, below ESP {:08x}: it was in the frame of a function that has \
         returned, and what is pushed there overwrites it",
        state.stack_address()
    ))
    .advise(format!(
        "make the array that {load} is given a static one: the processor reads the table as long as it is loaded"
    ))
    .add_to(finding)
}

/// `base` lies a little below ESP, and no symbol begins between the two.
fn is_below(base: u32, state: &State, aftermath: &Aftermath<'_>) -> bool {
    let esp = state.stack_address();
    let symbol = |address: u32| {
        let name = (aftermath.names)(address)?;
        name.split_once('+').map(|(symbol, _)| symbol.to_owned())
    };
    (1..=NEAR).contains(&esp.wrapping_sub(base))
        && symbol(base).is_some_and(|own| symbol(esp.wrapping_sub(1)) == Some(own))
}
