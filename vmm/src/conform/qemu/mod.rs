//! How QEMU's CPU model, and kvm_amd on it, are known to differ from the manuals.
//!
//! Two kinds. In the first the processor does the same with other bits; a part of a mismatch belongs
//! to it if it is exactly those bits. In the second a check is missing or raises another vector, and
//! all that follows is different: these are recognised by the check at which the model stops, and the
//! whole mismatch is theirs.

mod bits;
mod checks;

use super::deviation::{Part, Recogniser, Seen};
use super::layout::{OTHER_TSS, TSS_16, TSS_16_LIMIT, TSS_LIMIT};
use ia32::{Branch, Owner, Word};

const SMAP: u32 = 1 << 21;

const fn recogniser(name: &'static str, matches: fn(&Seen<'_>, &Part) -> bool) -> Recogniser {
    Recogniser { name, matches }
}

/// All that there are.
pub(super) const RECOGNISERS: [&[Recogniser]; 2] = [bits::BITS, checks::CHECKS];

/// Offset in the word, bits that differ and the byte got, of a byte of a saved EFLAGS.
fn eflags_byte(seen: &Seen<'_>, part: &Part) -> Option<(u64, u8, u8)> {
    let byte =
        part.byte_of(Owner::Pushed(Word::Eflags)).or_else(|| part.byte_of(Owner::TssEflags))?;
    let bits = (byte.expected ^ byte.got) & !byte.undefined;
    Some((seen.offset(&byte)?, bits, byte.got))
}

/// A saved EFLAGS that differs in RF alone, which should have been `expected`.
fn rf(seen: &Seen<'_>, part: &Part, expected: bool) -> bool {
    // VIF and VIP have a deviation of their own, which may come on top.
    let others = if seen.takes(Branch::TaskLoaded32) { 0x18 } else { 0 };
    eflags_byte(seen, part).is_some_and(|(offset, bits, got)| {
        offset == 2 && bits & !others == 1 && (got & 1 == 0) == expected
    })
}

/// An address that a task switch uses: in the GDT, the old TSS, or a TSS that may be the new one.
fn in_task(seen: &Seen<'_>, address: u32) -> bool {
    let state = &seen.expectation.before;
    [
        (state.gdtr.base, u32::from(state.gdtr.limit)),
        (state.tr.base, TSS_LIMIT),
        (OTHER_TSS, TSS_LIMIT),
        (TSS_16, TSS_16_LIMIT),
    ]
    .iter()
    .any(|(base, limit)| address.wrapping_sub(*base) <= *limit)
        || seen.attempts().filter_map(|attempt| attempt.fault?.address).any(|expected| {
            // A TSS that the case has put elsewhere.
            let tasks = [Branch::GateTask, Branch::FarTss, Branch::FarGate, Branch::ReturnTask];
            expected.wrapping_sub(address) <= TSS_LIMIT
                && tasks.iter().any(|task| seen.takes(*task))
        })
}

/// Setting an accessed bit raises a page fault in the model.
fn accessed_bit_faults(seen: &Seen<'_>) -> bool {
    const WRITE: u32 = 2;
    let state = &seen.expectation.before;
    let tables =
        [(state.gdtr.base, u32::from(state.gdtr.limit)), (state.ldtr.base, state.ldtr.limit)];
    seen.takes(Branch::DescriptorAccessed)
        && seen.attempts().filter_map(|attempt| attempt.fault).any(|fault| {
            fault.error_code & WRITE != 0
                && fault.address.is_some_and(|address| {
                    tables.iter().any(|(base, limit)| address.wrapping_sub(*base) <= *limit)
                })
        })
}
