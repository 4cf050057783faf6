//! The state in which a boot protocol enters a kernel.

use crate::boot::{EntryState, StartMode};
use ia32::{Eflags, General, Segment, State, TableRegister};

/// The state that the image asks for.
pub fn entry_state(entry: &EntryState) -> State {
    match entry.start {
        StartMode::ProtectedMode => flat_protected_mode(entry),
        StartMode::RealMode { cs, ip } => real_mode(entry, cs, ip),
    }
}

/// Real mode at `cs`:`ip`: all other segments 0, no stack, interrupts closed, the interrupt table
/// at 0, where nothing is (SDM vol. 3A, "First instruction executed" and "Real-address mode").
pub fn real_mode(entry: &EntryState, cs: u16, ip: u16) -> State {
    let segment = |selector: u16, attributes| Segment {
        selector,
        attributes,
        base: u32::from(selector) << 4,
        limit: 0xffff,
    };
    let data = segment(0, 0x0093);
    State {
        eip: ip.into(),
        segments: [data, segment(cs, 0x009b), data, data, data, data],
        gdtr: TableRegister { base: 0, limit: 0xffff },
        idtr: TableRegister { base: 0, limit: 0x03ff },
        // ET.
        cr0: 0x10,
        ..flat_protected_mode(&EntryState { esp: 0, ..*entry })
    }
}

/// 32-bit protected mode with flat segments, paging off, interrupts closed, and the selectors and GDT of the
/// loader that is followed (Multiboot Specification 0.6.96, section 3.2).
pub fn flat_protected_mode(entry: &EntryState) -> State {
    let flat = |selector, attributes| Segment { selector, attributes, base: 0, limit: 0xffff_ffff };
    let (code, data) = entry.loader.selectors();
    let data = flat(data, 0xc093);
    let (offset, limit) = entry.loader.gdt_offset_and_limit();
    State {
        general: General {
            eax: entry.eax,
            ebx: entry.ebx,
            esi: entry.esi,
            esp: entry.esp,
            ..General::default()
        },
        eip: entry.eip,
        eflags: Eflags::FIXED,
        segments: [data, flat(code, 0xc09b), data, data, data, data],
        // The processor wants a TSS in TR, if only that of its own reset.
        tr: Segment { selector: 0, attributes: 0x008b, base: 0, limit: 0xffff },
        ldtr: Segment { selector: 0, attributes: 0x0082, base: 0, limit: 0xffff },
        gdtr: entry
            .gdt
            .map_or(TableRegister::default(), |base| TableRegister { base: base + offset, limit }),
        // PE and ET.
        cr0: 0x11,
        ..State::default()
    }
}
