//! How QEMU's CPU model, and kvm_amd on it, are known to differ from the manuals.
//!
//! Two kinds. In the first the processor does the same with other bits; a part of a mismatch belongs
//! to it if it is exactly those bits. In the second a check is missing or raises another vector, and
//! all that follows is different: these are recognised by the check at which the model stops, and the
//! whole mismatch is theirs.

use super::deviation::{CaseDeviation, Part, Seen};
use super::layout::{GDT, OTHER_TSS, PAGE, TABLE, TSS, TSS_16, TSS_16_LIMIT, TSS_LIMIT};
use super::start::Start;
use super::via::Via;
use crate::host::{Authority, Version};
use ia32::{Branch, Eflags, Owner, Severity, Vector, Word};

const ALWAYS: Version = Version { major: 0, minor: 0 };
const SMAP: u32 = 1 << 21;
const TEN: &str = "measured with QEMU 10.0";

const fn deviation(
    name: &'static str,
    description: &'static str,
    case: &'static str,
    matches: fn(&Seen<'_>, &Part) -> bool,
) -> CaseDeviation {
    CaseDeviation {
        name,
        description,
        authority: Authority::Tcg,
        since: ALWAYS,
        until: None,
        case,
        evidence: TEN,
        matches,
    }
}

/// All that are known.
pub(super) const DEVIATIONS: &[CaseDeviation] = &[
    // Other bits.
    deviation(
        "error-code-without-ext",
        "EXT is 0 in the error code of a fault that arises while an exception or an external event is \
         delivered; the manual says 1",
        "virtual icebp [8]=001f2010",
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
        "ring3 no-math [38]=0038fffe [3c]=0000e500",
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
        "ring3 jump:30 eflags=80000 [1034]=0000e900",
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
        "",
        |seen, part| {
            seen.takes(Branch::ReturnToVirtual)
                && part.field("EFLAGS").is_some_and(|difference| {
                    difference.expected ^ difference.got == Eflags::RF.0
                })
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
        "",
        |seen, _| {
            (seen.takes(Branch::GateInterrupt16) || seen.takes(Branch::GateTrap16))
                && seen.case.words.iter().any(|(at, word)| {
                    *at < GDT && at % 8 == 4 && word >> 16 != 0 && matches!(word >> 8 & 0x1f, 6 | 7)
                })
        },
    ),
    deviation(
        "iret-loses-rf",
        "IRET does not load EFLAGS.RF if RF was set before it",
        "ring1 iret eflags=10000 esp=9800 [9804]=00000062 [9808]=001912c6 [9810]=0000006a",
        |seen, part| {
            (seen.takes(Branch::ReturnPopped32) || seen.takes(Branch::ReturnTask))
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
                && part.field("FS").or_else(|| part.field("GS")).is_some_and(|difference| {
                    difference.expected == 0 && difference.got <= 3
                })
        },
    ),
    deviation(
        "task-switch-probes-whole-tss",
        "the page fault of a task switch names the first byte of the TSS or of the descriptor's half that          will be used, and a write if there will be one; the manual names the access",
        "ring0 call:30 cr0=80010011 [e004]=00001065",
        |seen, part| {
            let switches = || {
                seen.attempts().any(|attempt| {
                    attempt.fault.is_some_and(|fault| {
                        fault.vector == Vector::PF && fault.address.is_some_and(|address| in_task(seen, address))
                    })
                })
            };
            let error_code = || {
                part.byte_of(Owner::Pushed(Word::ErrorCode))
                    .is_some_and(|byte| (byte.expected ^ byte.got) & !3 == 0)
            };
            let marks = || {
                matches!(part, Part::Byte(byte)
                    if (TABLE..TABLE + PAGE).contains(&byte.address)
                        && byte.got & !byte.expected & !0x60 == 0
                        && byte.expected & !byte.got == 0)
            };
            let address = || {
                part.field("CR2").is_some_and(|difference| in_task(seen, difference.got))
            };
            (address() || error_code() || marks()) && switches()
        },
    ),
    // kvm_amd.
    deviation(
        "refused-nmi-blocks-nmis",
        "kvm_amd blocks NMIs when it injects one, though its delivery faults and no NMI handler runs",
        "ring3 nmi [10]=00c32020",
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
        "virtual icebp [8]=001f2010",
        |seen, part| {
            let eip = part
                .byte_of(Owner::Pushed(Word::Eip))
                .or_else(|| part.byte_of(Owner::TssEip));
            seen.case.via == Via::Icebp
                && seen.first_refused()
                && eip.is_some_and(|byte| byte.got == byte.expected.wrapping_add(1))
        },
    ),
    // Checks that are missing or raise something else.
    deviation(
        "injected-exception-is-benign",
        "a fault in the delivery of an exception that was injected is handled in its place, whatever \
         the two are; the manual says double fault or shutdown",
        "ring2 exception:0:793e [0]=00932000",
        |seen, _| {
            let Via::Exception(vector, _) = seen.case.via else { return false };
            let class = Severity::of(Vector(vector));
            seen.first_refused()
                && class != Severity::Benign
                && (seen.takes(Branch::ChainDoubleFault) || seen.takes(Branch::ChainShutdown))
        },
    ),
    deviation(
        "stack-limit-unchecked",
        "whether the words of a frame lie within the stack segment is not checked",
        "ring3 iret [1010]=000097f0 [1014]=00409300",
        |seen, _| {
            seen.refused(&[
                Branch::InnerStackNoRoom,
                Branch::SameStackNoRoom,
                Branch::ReturnNoRoom,
                Branch::TaskErrorCodeNoRoom,
            ])
        },
    ),
    deviation(
        "return-eip-unchecked",
        "whether the EIP that IRET pops lies within its segment is not checked by the IRET",
        "ring3 iret idtr.limit=60 [b804]=0000008b",
        |seen, _| {
            seen.refused(&[
                Branch::ReturnBeyondLimit,
                Branch::ReturnWithinVirtualBeyondLimit,
                Branch::ReturnToVirtualBeyondLimit,
            ])
        },
    ),
    deviation(
        "handler-eip-unchecked",
        "whether a gate's EIP lies within its segment is not checked by the delivery",
        "",
        |seen, _| seen.refused(&[Branch::HandlerBeyondLimit]),
    ),
    deviation(
        "virtual-8086-enters-middle-ring",
        "a handler of ring 1 or 2 is entered from virtual-8086 mode; the manual says #GP(selector)",
        "virtual nmi [10]=00622020 [14]=0000ef00",
        |seen, _| seen.refused(&[Branch::HandlerVirtualRing]),
    ),
    deviation(
        "local-tss-is-ts",
        "a TSS selector that names the LDT raises #TS; the manual says #GP, unless by IRET",
        "ring0 jump:2c",
        |seen, _| seen.refused(&[Branch::FarTssLocal, Branch::TaskSelectorLocal]),
    ),
    deviation(
        "absent-inner-stack-is-ts",
        "an inner ring's stack segment that is not present raises #TS; the manual says #SS",
        "",
        |seen, _| seen.refused(&[Branch::InnerStackNotPresent]),
    ),
    deviation(
        "absent-stack-is-np",
        "a stack segment that is not present raises #NP in an IRET or a task switch; the manual says #SS",
        "",
        |seen, _| seen.refused(&[Branch::ReturnSsNotPresent, Branch::TaskSsNotPresent]),
    ),
    deviation(
        "task-conforming-code-refused",
        "a new task's conforming code segment whose DPL is below its RPL raises #TS",
        "",
        |seen, _| {
            let cs = seen.expectation.outcome.state.cs();
            seen.takes(Branch::Switched) && cs.is_conforming() && cs.dpl() < cs.selector().rpl()
        },
    ),
    deviation(
        "task-debug-trap-ignored",
        "T in the new task's TSS raises no #DB",
        "",
        |seen, _| seen.expectation.debug_trap.is_some(),
    ),
    deviation(
        "task-fault-mixes-eips",
        "a fault in the new task, where an instruction switched to it, pushes the low twelve bits of that \
         instruction's EIP in the new task's",
        "ring0 jump:30 [504c]=00000080 [5020]=00010000",
        |seen, part| {
            let eip = part
                .byte_of(Owner::Pushed(Word::Eip))
                .or_else(|| part.byte_of(Owner::TssEip));
            let switched = seen.takes(Branch::TaskLoaded32) || seen.takes(Branch::TaskLoaded16);
            matches!(seen.case.via, Via::Iret(_) | Via::Jump(_) | Via::Call(_))
                && switched
                && seen.first_refused()
                && eip.is_some_and(|byte| seen.offset(&byte).is_some_and(|offset| offset < 2))
        },
    ),
    deviation(
        "task-eip-checked-before-error-code",
        "an EIP outside the new task's code segment raises #GP before the exception's error code is pushed; \
         the manual says after",
        "ring3 not-present [58]=003020b0 [5c]=0000e500 [504c]=00000080 [5020]=00010000",
        |seen, _| {
            seen.refused(&[Branch::TaskBeyondLimit])
                && (seen.takes(Branch::TaskErrorCode32) || seen.takes(Branch::TaskErrorCode16))
        },
    ),
    deviation(
        "task-return-to-itself-keeps-nt",
        "IRET with NT that returns to the task it leaves keeps NT; the manual says it is cleared in what is \
         saved, and that is loaded again",
        "ring1 iret eflags=4000 [3000]=00000028",
        |seen, part| {
            let (old, new) = (&seen.expectation.before.tr, &seen.expectation.outcome.state.tr);
            seen.takes(Branch::ReturnTask)
                && (old.base ^ new.base) & (PAGE - 1) == 0
                && part.field("EFLAGS").is_some_and(|difference| {
                    difference.expected ^ difference.got == Eflags::NT.0
                })
        },
    ),
    deviation(
        "stack-address-not-wrapped",
        "the address of a stack word is not cut to 32 bits where the segment's base and the offset exceed \
         them",
        "ring3 int:ff [1010]=ff00ffff [1014]=ffcf93ff",
        |seen, _| {
            let states = [&seen.expectation.before, &seen.expectation.last().state];
            states.iter().any(|state| state.ss().base.checked_add(state.stack_pointer()).is_none())
        },
    ),
    deviation(
        "task-saved-before-busy-bits",
        "a task switch that cannot write the TSS descriptor's busy bit has saved the old task by then",
        "ring3 jump:30 cr0=80010011 [e004]=00001065 [1034]=0000e900",
        |seen, part| {
            let gdtr = seen.expectation.before.gdtr;
            let faults = seen.attempts().filter_map(|attempt| attempt.fault).any(|fault| {
                fault.address.is_some_and(|address| {
                    address.wrapping_sub(gdtr.base) <= gdtr.limit.into()
                        && fault.error_code & 2 != 0
                })
            });
            let saved = matches!(part, Part::Byte(byte)
                if (TSS..=TSS + TSS_LIMIT).contains(&byte.address)
                    || (OTHER_TSS..TSS_16 + PAGE).contains(&byte.address));
            faults && saved
        },
    ),
    deviation(
        "smap-heeds-ac-for-tables",
        "EFLAGS.AC lets the processor's own accesses to tables and TSSs pass SMAP in rings 0 to 2; the manual \
         says they never do",
        "ring0 int:30 eflags=40000 cr0=80000001 cr4=200000",
        |seen, _| {
            let state = &seen.expectation.before;
            state.cr4 & SMAP != 0
                && seen.refused(&[Branch::PageSmap])
                && state.eflags.contains(Eflags::AC)
        },
    ),
    deviation(
        "task16-keeps-virtual-8086",
        "a 16-bit task that is switched to from virtual-8086 mode runs with VM still set",
        "virtual divide [0]=00382000 [4]=0000e500",
        |seen, _| {
            seen.expectation.before.virtual_8086() && seen.takes(Branch::TaskLoaded16)
        },
    ),
    deviation(
        "virtual-iret-pops-as-supervisor",
        "IRET in virtual-8086 mode reads the stack with the supervisor's rights to pages",
        "virtual iret cr0=80000011 cr4=200000 [e000]=00000063 [e004]=00001063 [e00c]=00003063 \
         [e024]=00009063 [b800]=00002001",
        |seen, _| {
            let state = &seen.expectation.before;
            state.virtual_8086()
                && matches!(seen.case.via, Via::Iret(_))
                && state.paging()
                && (state.cr4 & SMAP != 0
                    || seen.attempts().next().and_then(|attempt| attempt.fault).is_some_and(
                        |fault| fault.vector == Vector::PF,
                    ))
        },
    ),
    deviation(
        "alignment-unchecked",
        "words that an event pushes or an IRET pops in ring 3 are not checked for alignment",
        "ring3 iret cr0=40011 eflags=40000 esp=9002 [9004]=00930000",
        |seen, _| seen.refused(&[Branch::PushUnaligned, Branch::ReturnUnaligned]),
    ),
    deviation(
        "iret-to-virtual-from-outer-ring",
        "IRET with VM in the popped EFLAGS goes to virtual-8086 mode from any ring; the manual says from \
         ring 0 only",
        "",
        |seen, _| {
            matches!(seen.case.via, Via::Iret(_))
                && !matches!(seen.case.start, Start::Ring0 | Start::Virtual8086)
                && seen.expectation.popped_eflags.contains(Eflags::VM)
        },
    ),
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
    eflags_byte(seen, part)
        .is_some_and(|(offset, bits, got)| offset == 2 && bits == 1 && (got & 1 == 0) == expected)
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
            expected.wrapping_sub(address) <= TSS_LIMIT && tasks.iter().any(|task| seen.takes(*task))
        })
}

/// Setting an accessed bit raises a page fault in the model.
fn accessed_bit_faults(seen: &Seen<'_>) -> bool {
    const WRITE: u32 = 2;
    let state = &seen.expectation.before;
    let tables = [
        (state.gdtr.base, u32::from(state.gdtr.limit)),
        (state.ldtr.base, state.ldtr.limit),
    ];
    seen.takes(Branch::DescriptorAccessed)
        && seen.attempts().filter_map(|attempt| attempt.fault).any(|fault| {
            fault.error_code & WRITE != 0
                && fault.address.is_some_and(|address| {
                    tables.iter().any(|(base, limit)| address.wrapping_sub(*base) <= *limit)
                })
        })
}
