//! IDTR names no table of gates: an interrupt was taken, and no handler was entered.
//!
//! ```text
//!  what LIDT wants    limit limit base base base base           six bytes (SDM vol. 2A, "LGDT/LIDT")
//!  not packed         limit limit  ··   ··  base base base base the compiler aligns the base
//!  the table itself   offset  ..  sel  ..   0   type            the first gate
//! ```

use super::{Aftermath, Placed, fault_text, selector_fault};
use crate::check::{Finding, Objects, Subject};
use crate::instruction::valid_32;
use crate::machine::LinearMemory;
use crate::run::Ending;
use ia32::{Descriptor, DescriptorKind, Gate, GateKind, State, Vector};
use iced_x86::Mnemonic;

const RULE: &str = "no_table";

/// So much of memory is looked through for the six bytes, from where the kernel's file begins.
const FAR: u32 = 0x40_0000;
const PAGE: u32 = 0x1000;

/// The interrupt of `vector` found no gate.
pub(super) fn took(
    vector: Vector,
    irq: u8,
    aftermath: &Aftermath<'_>,
    objects: &Objects,
) -> Option<Finding> {
    let state = &aftermath.end.state;
    if !state.protected() || aftermath.gate(state, vector.0).is_some_and(|gate| gate.present) {
        return None;
    }
    let (base, limit) = (state.idtr.base, state.idtr.limit);
    let what = match aftermath.is_ram(state, base) {
        true => format!("IDTR names no table with a gate of vector {:#04x}", vector.0),
        false => format!("IDTR names no table: its base {base:08x} is outside RAM"),
    };
    let lidt = loader(aftermath, objects);
    let place =
        lidt.map_or_else(String::new, |at| format!("; LIDT stands at {}", aftermath.place(at)));
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        what,
        "the address of a table of gates",
        format!(
            "IDTR {base:08x}/{limit:04x}{place}; IRQ {irq} came as vector {:#04x}, and no handler was entered",
            vector.0
        ),
    );
    Some(match operand(aftermath, objects) {
        Some((at, operand)) => with(finding, at, &operand, aftermath),
        None => finding
            .advise("give LIDT the address of six bytes: the table's size less 1, and its address"),
    })
}

/// The cause of a shutdown, if it is that no gate could be found.
pub(super) fn explain(finding: Finding, aftermath: &Aftermath<'_>, objects: &Objects) -> Finding {
    let state = &aftermath.end.state;
    let is_there = |vector| aftermath.gate(state, vector).is_some_and(|gate| gate.present);
    if !state.protected() || (0..TRIED).any(is_there) {
        return finding;
    }
    match operand(aftermath, objects) {
        Some((at, operand)) => with(finding, at, &operand, aftermath),
        None => finding,
    }
}

/// With what LIDT was given.
fn with(finding: Finding, at: u32, operand: &Operand, aftermath: &Aftermath<'_>) -> Finding {
    let (base, limit) = (aftermath.end.state.idtr.base, aftermath.end.state.idtr.limit);
    let at = aftermath.place(at);
    match operand {
        Operand::Table => finding
            .because(format!(
                "LIDT was given the table itself, at {at}: {base:08x}/{limit:04x} are the first six bytes of a gate"
            ))
            .advise(
                "give LIDT the address of six bytes that hold the table's size less 1 and its address, not that of the table",
            ),
        Operand::NotPacked { base } => finding
            .because(format!(
                "at {at} lie the limit {limit:04x}, two bytes of padding, and {}: the struct is not packed, and LIDT reads \
                 the base right behind the limit",
                aftermath.place(*base)
            ))
            .advise(PACKED),
    }
}

/// The guest stands for ever at the load of a selector: the GDT lies outside RAM.
pub(super) fn gdt_nowhere(aftermath: &Aftermath<'_>, objects: &Objects) -> Option<Placed> {
    let state = &aftermath.end.state;
    let at = state.instruction_address();
    let is_stuck = matches!(aftermath.end.ending, Ending::TimedOut | Ending::NoProgress);
    if !is_stuck || !state.protected() || aftermath.is_ram(state, state.gdtr.base) {
        return None;
    }
    let code = aftermath.code(state, at);
    let instruction = valid_32(&code, at)?;
    let loads = instruction.op0_register().is_segment_register()
        || selector_fault::far_target(&instruction).is_some()
        || instruction.mnemonic() == Mnemonic::Ltr;
    let finding = Finding::new(
        RULE,
        Subject::Kernel,
        format!("the GDT cannot be read: GDTR's base {:08x} is outside RAM", state.gdtr.base),
        "the address of a table of descriptors",
        format!(
            "GDTR {:08x}/{:04x}, and `{}` needs a descriptor",
            state.gdtr.base,
            state.gdtr.limit,
            fault_text::text(&instruction)
        ),
    )
    .advise("give LGDT the address of six bytes: the table's size less 1, and its linear address")
    .about_instruction(at);
    let place = format!("the end, in ring {}, at {}", state.cpl(), aftermath.place(at));
    loads.then(|| (place, with_gdt(finding, state, aftermath, objects)))
}

/// The cause of a shutdown, if it is that LGDT has read its base where a struct has padding.
pub(super) fn explain_gdt(
    finding: Finding,
    aftermath: &Aftermath<'_>,
    objects: &Objects,
) -> Finding {
    match &aftermath.end.last_event {
        Some(last) => with_gdt(finding, &last.before, aftermath, objects),
        None => finding,
    }
}

/// With what LGDT was given, where that is known.
fn with_gdt(
    finding: Finding,
    state: &State,
    aftermath: &Aftermath<'_>,
    objects: &Objects,
) -> Finding {
    let gdtr = state.gdtr;
    let linear = aftermath.linear(state);
    // Code and data of ring 0 are the first two.
    let has_segments = |table: u32| {
        [8, 16].into_iter().all(|offset| {
            let mut bytes = [0; 8];
            linear.read(table.wrapping_add(offset), &mut bytes).is_some()
                && matches!(
                    Descriptor(u64::from_le_bytes(bytes)).kind(),
                    DescriptorKind::Code { .. } | DescriptorKind::Data { .. }
                )
        })
    };
    if !state.protected() || gdtr.limit % 8 != 7 || has_segments(gdtr.base) {
        return finding;
    }
    let mut wanted = gdtr.limit.to_le_bytes().to_vec();
    wanted.extend(gdtr.base.to_le_bytes());
    let is_it = |at: u32| {
        linear
            .read_u32(at.wrapping_add(4))
            .filter(|base| has_segments(*base))
            .map(|base| (at, base))
    };
    let Some((at, base)) = places_of(&wanted, &linear, objects).find_map(is_it) else {
        return finding;
    };
    finding
        .because(format!(
            "GDTR names no table: its base is {:08x}; at {} lie the limit {:04x}, two bytes of padding, and {}: the struct is not \
             packed, and LGDT reads the base right behind the limit",
            gdtr.base,
            aftermath.place(at),
            gdtr.limit,
            aftermath.place(base)
        ))
        .advise(PACKED)
}

const PACKED: &str = "declare the struct with `__attribute__((packed))`";

/// Where these bytes lie in the kernel's memory.
fn places_of<'a>(
    wanted: &'a [u8],
    linear: &'a LinearMemory<'_>,
    objects: &Objects,
) -> impl Iterator<Item = u32> + 'a {
    let start = objects.lowest().unwrap_or(0x10_0000);
    let pages = (start & !(PAGE - 1)..start.saturating_add(FAR)).step_by(PAGE as usize);
    pages.flat_map(move |page| {
        let mut bytes = [0; PAGE as usize + 5];
        // The last page has none behind it.
        let there = linear.read(page, &mut bytes).is_some();
        let found = bytes.windows(6).enumerate().filter(|(_, six)| there && *six == wanted);
        found.map(|(index, _)| page + index as u32).collect::<Vec<_>>()
    })
}

/// A table has a gate of one of so many vectors.
const TRIED: u8 = 48;

/// What LIDT was given in place of its six bytes.
enum Operand {
    /// The table itself.
    Table,
    /// A struct with padding before the base, which is this.
    NotPacked { base: u32 },
}

/// Where the bytes stand that LIDT has loaded, and what they are.
fn operand(aftermath: &Aftermath<'_>, objects: &Objects) -> Option<(u32, Operand)> {
    let state = &aftermath.end.state;
    let linear = aftermath.linear(state);
    let [l0, l1] = state.idtr.limit.to_le_bytes();
    let [b0, b1, b2, b3] = state.idtr.base.to_le_bytes();
    // A table of no gates is loaded by those who want a reset.
    if state.idtr.base == 0 {
        return None;
    }
    let whole = state.idtr.limit % 8 == 7;
    let wanted = [l0, l1, b0, b1, b2, b3];
    let gate = |at: u32| {
        let mut bytes = [0; 8];
        linear.read(at, &mut bytes)?;
        let gate = Gate::decode(u64::from_le_bytes(bytes)).ok()?;
        let leads =
            gate.present && gate.kind != GateKind::Task && gate.selector.0 == state.cs().selector;
        (leads && aftermath.is_ram(state, gate.offset)).then_some(())
    };
    let has_gate = |table: u32| {
        (0..u32::from(TRIED)).any(|vector| gate(table.wrapping_add(vector * 8)).is_some())
    };
    places_of(&wanted, &linear, objects).find_map(|at| {
        if gate(at).is_some() && gate(at.wrapping_add(8)).is_some() {
            return Some((at, Operand::Table));
        }
        let base = linear.read_u32(at.wrapping_add(4)).filter(|base| whole && has_gate(*base))?;
        Some((at, Operand::NotPacked { base }))
    })
}

/// Where the one LIDT stands that the kernel's entry point leads to.
fn loader(aftermath: &Aftermath<'_>, objects: &Objects) -> Option<u32> {
    let start = objects.lowest()?;
    let is_one = |at: &u32| {
        objects.loaded(*at, 2) == Some(&[0x0f, 0x01])
            && aftermath.probes.site_at(*at).is_some_and(|site| site.loads_idt)
    };
    let mut found = (start..start.saturating_add(FAR)).filter(is_one);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}
