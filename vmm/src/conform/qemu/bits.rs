//! The processor does the same with other bits: a part of a mismatch belongs to a deviation if it is exactly
//! those.

use super::{accessed_bit_faults, deviation, eflags_byte, in_task, rf};
use crate::conform::deviation::{CaseDeviation, Part};
use crate::conform::layout::*;
use crate::conform::via::Via;
use ia32::{Branch, Eflags, Owner, Vector, Word};

/// The processor does the same with other bits.
pub(super) const BITS: &[CaseDeviation] = &[
    deviation(
        "error-code-without-ext",
        "EXT is 0 in the error code of a fault that arises while an exception or an external event is \
         delivered; the manual says 1",
        "ring3 exception:5:23cc [28]=00002050",
        |_, part| {
            part.byte_of(Owner::Pushed(Word::ErrorCode))
                .is_some_and(|byte| byte.expected ^ byte.got == 1 && byte.got & 1 == 0)
        },
    ),
    deviation(
        "external-pushes-rf-1",
        "EFLAGS.RF is pushed as 1 for an external interrupt or an NMI; the manual says as it is",
        "ring3 interrupt:20",
        |seen, part| matches!(seen.case.via, Via::Interrupt(_) | Via::Nmi) && rf(seen, part, false),
    ),
    deviation(
        "int-pushes-rf-1",
        "INT n, INT3, INTO and INT1 push an EFLAGS.RF that is set; the manual says 0",
        "ring3 int:80 eflags=10202",
        |seen, part| {
            matches!(seen.case.via, Via::Int(_) | Via::Int3 | Via::Into | Via::Icebp)
                && seen.expectation.before.eflags.contains(Eflags::RF)
                && rf(seen, part, false)
        },
    ),
    deviation(
        "task-switch-saves-rf-0",
        "a fault that switches tasks saves EFLAGS.RF as it is in the old TSS; the manual says 1",
        "ring1 int3 [68]=00380000 [6c]=00008500",
        |seen, part| part.byte_of(Owner::TssEflags).is_some() && rf(seen, part, true),
    ),
    deviation(
        "accessed-bit-not-set",
        "the accessed bit of a code or stack segment that an event, an IRET or a task switch loads is \
         not set in its descriptor",
        "ring1 divide [0]=003c2000",
        |seen, part| {
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
                _ => false,
            };
            bit || accessed_bit_faults(seen)
        },
    ),
    deviation(
        "vif-and-vip-kept",
        "VIF and VIP stay as they are when EFLAGS is loaded by IRET in ring 0 or from a TSS",
        "ring1 call:30 [1034]=0000a900 [5024]=00340613",
        |seen, part| {
            const BOTH: u32 = 0x18_0000;
            (seen.takes(Branch::TaskLoaded32) || seen.takes(Branch::ReturnPopped32))
                && (part.field("EFLAGS").is_some_and(|difference| {
                    (difference.expected ^ difference.got) & !difference.undefined & !BOTH == 0
                }) || eflags_byte(seen, part)
                    .is_some_and(|(offset, bits, _)| offset == 2 && bits & !0x18 == 0))
        },
    ),
    deviation(
        "iret-to-virtual-keeps-rf",
        "IRET to virtual-8086 mode does not load EFLAGS.RF",
        "ring0 iret [9400]=0000ffff [9408]=000f2f93",
        |seen, part| {
            seen.takes(Branch::ReturnToVirtual)
                && part
                    .field("EFLAGS")
                    .is_some_and(|difference| difference.expected ^ difference.got == Eflags::RF.0)
        },
    ),
    deviation(
        "shadow-survives-exception",
        "the shadow of STI or MOV SS is still cast on a handler's first instruction, if the \
         instruction behind it raised an exception",
        "ring3 iret shadow=1",
        |seen, part| {
            seen.expectation.before.interrupt_shadow != 0
                && part.field("interrupt shadow").is_some_and(|difference| difference.expected == 0)
        },
    ),
    deviation(
        "gate16-offset-of-32-bits",
        "a 16-bit gate's reserved upper half is taken for EIP's",
        "ring2 int:80 [404]=0001c600",
        |seen, _| {
            (seen.takes(Branch::GateInterrupt16) || seen.takes(Branch::GateTrap16))
                && seen.case.words.iter().any(|(at, word)| {
                    *at < GDT && at % 8 == 4 && word >> 16 != 0 && matches!(word >> 8 & 0x1f, 6 | 7)
                })
        },
    ),
    deviation(
        "popped-rf-lost",
        "an IRET or a switch of tasks by an instruction does not load EFLAGS.RF if RF was set before it",
        "ring1 iret eflags=10000 esp=9800 [9804]=00000062 [9808]=001912c6 [9810]=0000006a",
        |seen, part| {
            [Branch::ReturnPopped32, Branch::ReturnTask, Branch::FarTss, Branch::FarGate]
                .iter()
                .any(|branch| seen.takes(*branch))
                && seen.expectation.before.eflags.contains(Eflags::RF)
                && part.field("EFLAGS").is_some_and(|difference| {
                    let bits = difference.expected ^ difference.got;
                    difference.expected & bits & Eflags::RF.0 != 0 && bits & !0x19_0000 == 0
                })
        },
    ),
    deviation(
        "iret-keeps-null-selector",
        "IRET to an outer ring leaves a null selector in FS or GS as it is; the manual says 0",
        "ring1 iret16 gs=2 [c400]=00622000 [c408]=f4f4006a",
        |seen, part| {
            seen.takes(Branch::ReturnOuter)
                && part
                    .field("FS")
                    .or_else(|| part.field("GS"))
                    .is_some_and(|difference| difference.expected == 0 && difference.got <= 3)
        },
    ),
    deviation(
        "task-switch-probes-whole-tss",
        "the page fault of a task switch names the first byte of the TSS or of the descriptor's half that will be used, and a write if there will be one; the manual names the access",
        "ring0 call:30 cr0=80010011 [e004]=00001065",
        |seen, part| {
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
            let address =
                || part.field("CR2").is_some_and(|difference| in_task(seen, difference.got));
            (address() || error_code() || marks()) && switches()
        },
    ),
    // kvm_amd.
    deviation(
        "refused-nmi-blocks-nmis",
        "kvm_amd blocks NMIs when it injects one, though its delivery faults and no NMI handler runs",
        "virtual nmi idtr.limit=60 [10]=008b2020",
        |seen, part| {
            seen.case.via == Via::Nmi
                && seen.first_refused()
                && part.field("NMI blocking").is_some_and(|difference| difference.got == 1)
        },
    ),
    deviation(
        "refused-iret-unblocks-nmis",
        "kvm_amd opens NMIs as soon as EIP has left an IRET, though the IRET faulted",
        "ring3 iret16 nmi-blocked=1",
        |seen, part| {
            matches!(seen.case.via, Via::Iret(_))
                && seen.first_refused()
                && part.field("NMI blocking").is_some_and(|difference| difference.got == 0)
        },
    ),
    deviation(
        "iret-to-its-own-eip-keeps-nmis-blocked",
        "kvm_amd takes an IRET that leads to its own EIP for one that has not been executed, and keeps NMIs \
         blocked",
        "ring2 iret eip=fffe nmi-blocked=1 [c400]=0000fffe [c404]=00000093 [c410]=000000a3",
        |seen, part| {
            let eip = seen.expectation.last().state.eip;
            matches!(seen.case.via, Via::Iret(_))
                && eip == seen.expectation.before.eip
                && part.field("NMI blocking").is_some_and(|difference| difference.got == 1)
        },
    ),
    deviation(
        "refused-icebp-pushes-next-eip",
        "kvm_amd intercepts the #DB of INT1 and injects it anew behind the instruction, so that a fault \
         of its delivery pushes the EIP behind it",
        "ring3 icebp cr0=80000011 [e02c]=0000b061 [8]=00482010",
        |seen, part| {
            let eip =
                part.byte_of(Owner::Pushed(Word::Eip)).or_else(|| part.byte_of(Owner::TssEip));
            seen.case.via == Via::Icebp
                && seen.first_refused()
                && eip.is_some_and(|byte| byte.got == byte.expected.wrapping_add(1))
        },
    ),
];
