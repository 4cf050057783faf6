//! EIP leads nowhere: where there is no RAM, or where nothing is mapped and no fault can be delivered.

use super::{Aftermath, Placed};
use crate::check::{Finding, Subject};
use crate::entry::{Reach, Walk};
use crate::run::Ending;
use ia32::State;

const RULE: &str = "lost";

/// Execution goes on where there is code.
pub(super) fn leads_nowhere(aftermath: &Aftermath<'_>) -> Option<Placed> {
    let state = &aftermath.end.state;
    let at = state.instruction_address();
    let place = format!("the end, in ring {}, at {}", state.cpl(), aftermath.place(at));
    match aftermath.end.ending {
        Ending::NoProgress => Some((place, unmapped(aftermath, state))),
        // KVM has to emulate what it cannot fetch from RAM, and gives up.
        Ending::InternalError { suberror: 1, .. } if !aftermath.is_ram(state, at) => {
            Some((place, outside_ram(aftermath, state)))
        }
        _ => None,
    }
}

fn unmapped(aftermath: &Aftermath<'_>, state: &State) -> Finding {
    let at = state.instruction_address();
    let reach = Reach { user: state.cpl() == 3, write: false };
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        "the guest makes no progress: its next instruction cannot be fetched, nor can a page fault be \
         delivered",
        format!("page {:08x} mapped, as the code that runs", at & !0xfff),
        format!("EIP {at:08x}, CR2 {:08x}, CR3 {:08x}", state.cr2, state.cr3),
    );
    let walk = Walk::of(aftermath.memory, state, at);
    let words = walk.map_or_else(String::new, |walk| walk.sentence(reach));
    let behind = behind_paging(aftermath, state);
    let who = if behind { "the instruction behind MOV CR0" } else { "the next instruction" };
    finding.because(format!("{who} is not mapped; {words}")).advise(
        "look at how the entry is made: bits 31:12 of it are the physical address of the table, not \
         shifted, and the low bits are flags",
    )
}

/// MOV CR0 stands right before: paging has just been turned on.
fn behind_paging(aftermath: &Aftermath<'_>, state: &State) -> bool {
    let mut off = *state;
    off.cr0 &= !(1 << 31);
    let code = aftermath.code(&off, state.instruction_address().wrapping_sub(3));
    matches!(code[..], [0x0f, 0x22, modrm, ..] if modrm >> 3 & 7 == 0)
}

fn outside_ram(aftermath: &Aftermath<'_>, state: &State) -> Finding {
    let at = state.instruction_address();
    let leads: Vec<u8> = (0..=255)
        .filter(|vector| {
            aftermath
                .gate(state, *vector)
                .is_some_and(|gate| gate.present && gate.offset == state.eip)
        })
        .collect();
    let taken = aftermath.end.last_event.as_ref().and_then(|last| last.interrupt);
    let vector = match taken {
        Some(vector) if leads.contains(&vector.0) => Some(vector.0),
        _ => leads.first().copied(),
    };
    let Some(vector) = vector else {
        return Finding::new(
            RULE,
            Subject::Kernel,
            format!("ring {} runs at {at:08x}, where there is no RAM", state.cpl()),
            format!(
                "an address below {:08x}, or one that is mapped there",
                aftermath.memory.size()
            ),
            format!("EIP {at:08x}"),
        )
        .because("a pointer to a function, or a return address, was overwritten or never set");
    };
    let swapped = state.eip.rotate_left(16);
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!("gate {vector:#04x} leads to {at:08x}, outside RAM"),
        "the address of a handler",
        format!(
            "offset {:04x} in bits 63:48 of the gate, {:04x} in bits 15:0",
            state.eip >> 16,
            state.eip & 0xffff
        ),
    );
    match (aftermath.names)(swapped) {
        Some(name) if aftermath.is_ram(state, swapped) => finding
            .because(format!("with the halves exchanged it is {swapped:08x} ({name})"))
            .advise(
                "put the handler's bits 15:0 into the gate's first word, and 31:16 into its last",
            ),
        _ if aftermath.is_ram(state, swapped) && swapped >= 0x1000 => finding
            .because(format!("with the halves exchanged it is {swapped:08x}, which is in RAM")),
        _ => finding,
    }
}
