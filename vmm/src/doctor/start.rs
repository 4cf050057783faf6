//! The states in which the doctor's guests start.

use super::layout::{
    BUSY_TSS_ATTRIBUTES, GDT, GDT_LIMIT, IDT, IDT_LIMIT, KERNEL_CODE, KERNEL_CODE_ATTRIBUTES,
    KERNEL_CS, KERNEL_DATA_ATTRIBUTES, KERNEL_DS, KERNEL_ESP, PAGE_DIRECTORY, TSS, TSS_LIMIT,
    TSS_SELECTOR, USER_CODE, USER_CODE_ATTRIBUTES, USER_CS, USER_DATA_ATTRIBUTES, USER_DS,
    USER_ESP,
};
use ia32::{Eflags, General, Segment, State, TableRegister};

/// CR0.PG.
pub(super) const PAGING: u32 = 1 << 31;
/// CR0.PE and CR0.ET.
const PROTECTED: u32 = 0x11;

/// Ring 0, interrupts closed, at the kernel's code; paging off.
pub(super) fn kernel() -> State {
    at(
        flat(KERNEL_CS, KERNEL_CODE_ATTRIBUTES),
        flat(KERNEL_DS, KERNEL_DATA_ATTRIBUTES),
        KERNEL_CODE,
        KERNEL_ESP,
    )
}

/// Ring 3, interrupts open, at the user's code; paging off.
pub(super) fn user() -> State {
    let mut state = at(
        flat(USER_CS, USER_CODE_ATTRIBUTES),
        flat(USER_DS, USER_DATA_ATTRIBUTES),
        USER_CODE,
        USER_ESP,
    );
    // Some of the flags that arithmetic leaves, so that a word of zeroes is not mistaken for them.
    state.eflags = Eflags::FIXED | Eflags::IF | Eflags::CF | Eflags::SF;
    state
}

/// `state` with paging on.
pub(super) fn paged(mut state: State) -> State {
    state.cr0 |= PAGING;
    state
}

pub(super) fn flat(selector: u16, attributes: u16) -> Segment {
    Segment { selector, attributes, base: 0, limit: 0xffff_ffff }
}

fn at(code: Segment, data: Segment, eip: u32, esp: u32) -> State {
    State {
        general: General {
            eax: 0x1111_0000,
            ecx: 0x1111_0001,
            edx: 0x1111_0002,
            ebx: 0x1111_0003,
            esp,
            ebp: 0x1111_0005,
            esi: 0x1111_0006,
            edi: 0x1111_0007,
        },
        eip,
        eflags: Eflags::FIXED,
        segments: [data, code, data, data, data, data],
        tr: Segment {
            selector: TSS_SELECTOR,
            attributes: BUSY_TSS_ATTRIBUTES,
            base: TSS,
            limit: TSS_LIMIT,
        },
        ldtr: Segment { selector: 0, attributes: 0x0082, base: 0, limit: 0xffff },
        gdtr: TableRegister { base: GDT, limit: GDT_LIMIT },
        idtr: TableRegister { base: IDT, limit: IDT_LIMIT },
        cr0: PROTECTED,
        cr3: PAGE_DIRECTORY,
        ..State::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_that_of_the_selectors() {
        for (state, ring) in [(kernel(), 0), (user(), 3)] {
            assert_eq!(state.cpl(), ring);
            assert_eq!(state.cs().selector().rpl(), ring);
            assert_eq!(state.cs().dpl(), ring);
        }
        assert!(paged(kernel()).paging() && !kernel().paging());
    }
}
