//! A vector beyond the IDT's limit: what LIDT was given instead of a table.

use super::Aftermath;
use super::explained::Explained;
use ia32::{Gate, State};

/// Why the IDT ends before `vector`; none if it does not, or nothing more can be said.
pub(super) fn explain(vector: u8, state: &State, aftermath: &Aftermath<'_>) -> Option<Explained> {
    let (idtr, gdtr) = (state.idtr, state.gdtr);
    if u32::from(idtr.limit) >= u32::from(vector) * 8 + 7 {
        return None;
    }
    if idtr == gdtr {
        return Some(
            Explained::because(format!(
                "IDTR is what GDTR is, {:08x} with limit {:04x}: LIDT has loaded the GDT's address",
                idtr.base, idtr.limit
            ))
            .advise(
                "fill in LIDT's six bytes before it: an `asm` that takes their address needs them as an operand \
                 (\"m\"(idtr)), or the clobber \"memory\", for the compiler to store them first",
            ),
        );
    }
    if idtr.base == 0 && !aftermath.probes.idt().is_loaded() {
        return Some(
            Explained::because(format!(
                "no IDT has been loaded: IDTR is {:08x} with limit {:04x}, as the boot loader left it",
                idtr.base, idtr.limit
            ))
            .advise("load an IDT (LIDT) before interrupts are opened (STI), and before anything can fault"),
        );
    }
    let mut bytes = [0; 8];
    let at = idtr.base.wrapping_add(u32::from(vector) * 8);
    aftermath.linear(state).read(at, &mut bytes)?;
    let gate = Gate::decode(u64::from_le_bytes(bytes)).ok()?;
    let is_kernels = gate.selector.0 & !7 == state.cs().selector & !7
        || (aftermath.names)(gate.offset).is_some();
    (gate.present && is_kernels).then(|| {
        Explained::because(format!(
            "the gate stands at {at:08x}, and the limit in IDTR, {:04x}, ends the table before it",
            idtr.limit
        ))
        .advise("give LIDT the table's size in bytes less 1 as limit: 07ff for 256 gates")
    })
}
