//! The registers at the end of a run, with what their addresses are.

use crate::symbols::{SeenCode, Symbols};
use ia32::State;
use std::fmt::Write;

/// A table of the registers; a name where one is an address of something known.
///
/// ```text
///   CS:EIP 0008:00100123 dispatch+19 (kernel.c:17)  SS 0010  DS 0010  ES 0010  ring 0
/// ```
pub fn registers(state: &State, symbols: &Symbols) -> String {
    let general = &state.general;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "  EAX {:08x}  EBX {:08x}  ECX {:08x}  EDX {:08x}\n  ESI {:08x}  EDI {:08x}  \
         EBP {:08x}  ESP {:08x}",
        general.eax,
        general.ebx,
        general.ecx,
        general.edx,
        general.esi,
        general.edi,
        general.ebp,
        general.esp,
    );
    const PAGING: u32 = 1 << 31;
    let place = if state.cr0 & PAGING == 0 {
        symbols.describe_physical(state.eip)
    } else {
        symbols.describe_code(state.eip, SeenCode::default())
    };
    let _ = writeln!(
        text,
        "  CS:EIP {:04x}:{:08x}{}  SS {:04x}  DS {:04x}  ES {:04x}  ring {}\n  \
         EFLAGS {:08x} ({})\n  CR0 {:08x}  CR2 {:08x}  CR3 {:08x}  CR4 {:08x}",
        state.cs().selector,
        state.eip,
        place.map_or(String::new(), |place| format!(" {place}")),
        state.ss().selector,
        state.segments[3].selector,
        state.segments[0].selector,
        state.cpl(),
        state.eflags.0,
        state.eflags,
        state.cr0,
        state.cr2,
        state.cr3,
        state.cr4,
    );
    let _ = writeln!(
        text,
        "  TR {:04x} base {:08x}  IDTR {:08x}/{:04x}  GDTR {:08x}/{:04x}",
        state.tr.selector,
        state.tr.base,
        state.idtr.base,
        state.idtr.limit,
        state.gdtr.base,
        state.gdtr.limit,
    );
    let what = [
        ("ESP", general.esp, true),
        ("EBP", general.ebp, true),
        ("CR2", state.cr2, false),
        ("TR", state.tr.base, false),
        ("IDTR", state.idtr.base, false),
        ("GDTR", state.gdtr.base, false),
    ];
    let named: Vec<String> = what
        .into_iter()
        .filter_map(|(name, address, is_stack)| {
            let place =
                if is_stack { symbols.describe_top(address) } else { symbols.describe(address) };
            Some(format!("{name} = {}", place.filter(|_| address != 0)?.short()))
        })
        .collect();
    if !named.is_empty() {
        let _ = writeln!(text, "  {}", named.join("  "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_symbols_the_table_has_numbers_only() {
        let state = State { eip: 0x10_0123, ..State::default() };
        let text = registers(&state, &Symbols::none());
        assert!(text.contains("CS:EIP 0000:00100123  SS 0000"), "{text}");
        assert!(!text.contains(" = "), "{text}");
    }
}
