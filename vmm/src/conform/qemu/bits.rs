//! The processor does the same with other bits: a part of a mismatch belongs to a deviation if it is exactly
//! those.

use crate::conform::layout::*;
use crate::conform::recogniser::{Part, Recogniser, Seen, recogniser};
use crate::conform::via::Via;
use ia32::{Branch, Difference, Eflags, Owner, Vector, Word};

/// The processor does the same with other bits.
pub(super) const BITS: &[Recogniser] = &[
    recogniser("error-code-without-ext", |_, part| {
        part.byte_of(Owner::Pushed(Word::ErrorCode))
            .is_some_and(|byte| byte.expected ^ byte.got == 1 && byte.got & 1 == 0)
    }),
    recogniser("external-pushes-rf-1", |seen, part| {
        matches!(seen.case.via, Via::Interrupt(_) | Via::Nmi) && rf(seen, part, false)
    }),
    recogniser("int-pushes-rf-1", |seen, part| {
        matches!(seen.case.via, Via::Int(_) | Via::Int3 | Via::Into | Via::Icebp)
            && seen.expectation.before.eflags.contains(Eflags::RF)
            && rf(seen, part, false)
    }),
    recogniser("task-switch-saves-rf-0", |seen, part| {
        part.byte_of(Owner::TssEflags).is_some() && rf(seen, part, true)
    }),
    recogniser("descriptor-not-marked-accessed", |seen, part| {
        let bit = match part {
            Part::Byte(byte) => match byte.owner {
                Some(Owner::Accessed(_)) => byte.expected ^ byte.got == 1 && byte.got & 1 == 0,
                // Nor does the page of the table become dirty.
                Some(Owner::PageTable | Owner::PageDirectory) => {
                    seen.takes(Branch::DescriptorAccessed)
                        && byte.expected ^ byte.got == 0x40
                        && byte.got & 0x40 == 0
                }
                _ => false,
            },
            Part::Field(Difference {
                field: "CS attributes" | "SS attributes",
                expected,
                got,
                ..
            }) => expected ^ got == 1 && got & 1 == 0,
            _ => false,
        };
        bit || accessed_bit_faults(seen)
    }),
    recogniser("vif-and-vip-kept", |seen, part| {
        const BOTH: u32 = 0x18_0000;
        (seen.takes(Branch::TaskLoaded32) || seen.takes(Branch::ReturnPopped32))
            && (part.field("EFLAGS").is_some_and(|difference| {
                (difference.expected ^ difference.got) & !difference.undefined & !BOTH == 0
            }) || eflags_byte(seen, part)
                .is_some_and(|(offset, bits, _)| offset == 2 && bits & !0x18 == 0))
    }),
    recogniser("iret-to-virtual-keeps-rf", |seen, part| {
        seen.takes(Branch::ReturnToVirtual)
            && part
                .field("EFLAGS")
                .is_some_and(|difference| difference.expected ^ difference.got == Eflags::RF.0)
    }),
    recogniser("shadow-survives-exception", |seen, part| {
        seen.expectation.before.interrupt_shadow != 0
            && part.field("interrupt shadow").is_some_and(|difference| difference.expected == 0)
    }),
    recogniser("gate16-offset-of-32-bits", |seen, _| {
        (seen.takes(Branch::GateInterrupt16) || seen.takes(Branch::GateTrap16))
            && seen.case.words.iter().any(|(at, word)| {
                *at < GDT && at % 8 == 4 && word >> 16 != 0 && matches!(word >> 8 & 0x1f, 6 | 7)
            })
    }),
    recogniser("popped-rf-lost", |seen, part| {
        [Branch::ReturnPopped32, Branch::ReturnTask, Branch::FarTss, Branch::FarGate]
            .iter()
            .any(|branch| seen.takes(*branch))
            && seen.expectation.before.eflags.contains(Eflags::RF)
            && part.field("EFLAGS").is_some_and(|difference| {
                let bits = difference.expected ^ difference.got;
                difference.expected & bits & Eflags::RF.0 != 0 && bits & !0x19_0000 == 0
            })
    }),
    recogniser("iret-keeps-null-selector", |seen, part| {
        seen.takes(Branch::ReturnOuter)
            && part
                .field("FS")
                .or_else(|| part.field("GS"))
                .is_some_and(|difference| difference.expected == 0 && difference.got <= 3)
    }),
    recogniser("task-switch-probes-whole-tss", |seen, part| {
        let switches = || {
            seen.attempts().any(|attempt| {
                attempt.fault.is_some_and(|fault| {
                    fault.vector == Vector::PF
                        && fault.address.is_some_and(|address| in_task(seen, address))
                })
            })
        };
        let error_code = || {
            part.byte_of(Owner::Pushed(Word::ErrorCode))
                .is_some_and(|byte| (byte.expected ^ byte.got) & !3 == 0)
        };
        let marks = || {
            matches!(part, Part::Byte(byte)
                    if (DIRECTORY..TABLE + PAGE).contains(&byte.address)
                        && byte.got & !byte.expected & !0x60 == 0
                        && byte.expected & !byte.got == 0)
        };
        let address = || part.field("CR2").is_some_and(|difference| in_task(seen, difference.got));
        (address() || error_code() || marks()) && switches()
    }),
    // kvm_amd.
    recogniser("refused-nmi-blocks-nmis", |seen, part| {
        seen.case.via == Via::Nmi
            && seen.first_refused()
            && part.field("NMI blocking").is_some_and(|difference| difference.got == 1)
    }),
    recogniser("refused-iret-unblocks-nmis", |seen, part| {
        matches!(seen.case.via, Via::Iret(_))
            && seen.first_refused()
            && part.field("NMI blocking").is_some_and(|difference| difference.got == 0)
    }),
    recogniser("iret-to-its-own-eip-keeps-nmis-blocked", |seen, part| {
        let eip = seen.expectation.last().state.eip;
        matches!(seen.case.via, Via::Iret(_))
            && eip == seen.expectation.before.eip
            && part.field("NMI blocking").is_some_and(|difference| difference.got == 1)
    }),
    recogniser("refused-icebp-pushes-next-eip", |seen, part| {
        let eip = part.byte_of(Owner::Pushed(Word::Eip)).or_else(|| part.byte_of(Owner::TssEip));
        seen.case.via == Via::Icebp
            && seen.first_refused()
            && eip.is_some_and(|byte| byte.got == byte.expected.wrapping_add(1))
    }),
];

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
