//! The state in which a boot protocol enters a kernel.

use crate::boot::EntryState;
use ia32::{Eflags, General, Segment, State};

/// 32-bit protected mode with flat segments, paging off, interrupts closed, no tables loaded
/// (Multiboot Specification 0.6.96, section 3.2).
pub fn flat_protected_mode(entry: &EntryState) -> State {
    let flat = |selector, attributes| Segment { selector, attributes, base: 0, limit: 0xffff_ffff };
    let data = flat(0x10, 0xc093);
    State {
        general: General { eax: entry.eax, ebx: entry.ebx, ..General::default() },
        eip: entry.eip,
        eflags: Eflags::FIXED,
        segments: [data, flat(0x08, 0xc09b), data, data, data, data],
        // The processor wants a TSS in TR, if only that of its own reset.
        tr: Segment { selector: 0, attributes: 0x008b, base: 0, limit: 0xffff },
        ldtr: Segment { selector: 0, attributes: 0x0082, base: 0, limit: 0xffff },
        // PE and ET.
        cr0: 0x11,
        ..State::default()
    }
}
