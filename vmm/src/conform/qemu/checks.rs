//! A check that is missing, comes at another time, or raises another vector. All that follows is different:
//! the whole mismatch belongs to the deviation.

use super::{SMAP, deviation};
use crate::conform::deviation::{CaseDeviation, Part};
use crate::conform::layout::*;
use crate::conform::start::Start;
use crate::conform::via::Via;
use ia32::{Branch, Eflags, Owner, Severity, Vector, Word};

/// Recognised by the check at which the model stops.
pub(super) const CHECKS: &[CaseDeviation] = &[
    deviation(
        "injected-exception-is-benign",
        "a fault in the delivery of an exception that was injected is handled in its place, whatever \
         the two are; the manual says double fault or shutdown",
        "virtual exception:8:a14a [40]=001b2080",
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
        "ring1 iret ss.limit=0",
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
        "virtual iret",
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
        "virtual divide [0]=0080ffff [4]=0001ee00",
        |seen, _| seen.refused(&[Branch::HandlerBeyondLimit]),
    ),
    deviation(
        "virtual-8086-enters-middle-ring",
        "a handler of ring 1 or 2 is entered from virtual-8086 mode; the manual says #GP(selector)",
        "virtual int:ff [7f8]=00622ff0",
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
        "ring3 int:0 [0]=00512000 [4]=0000ee00 [1058]=0000ffff [105c]=00cf3300",
        |seen, _| seen.refused(&[Branch::InnerStackNotPresent]),
    ),
    deviation(
        "absent-stack-is-np",
        "a stack segment that is not present raises #NP in an IRET or a task switch; the manual says #SS",
        "ring0 iret16 [9400]=00932001 [9408]=f4f4007b [107c]=00007300",
        |seen, _| seen.refused(&[Branch::ReturnSsNotPresent, Branch::TaskSsNotPresent]),
    ),
    deviation(
        "task-conforming-code-refused",
        "a new task's conforming code segment whose DPL is below its RPL raises #TS",
        "ring0 jump:30 [504c]=00000049 [5050]=00000059 [5048]=00000000 [5054]=00000000 [5058]=00000000 [505c]=00000000",
        |seen, _| {
            let cs = seen.expectation.outcome.state.cs();
            seen.takes(Branch::Switched) && cs.is_conforming() && cs.dpl() < cs.selector().rpl()
        },
    ),
    deviation(
        "task-debug-trap-ignored",
        "T in the new task's TSS raises no #DB",
        "ring0 call:a8 [5064]=00680001",
        |seen, _| seen.expectation.debug_trap().is_some(),
    ),
    deviation(
        "task-fault-mixes-eips",
        "a fault in the new task, where an instruction switched to it, pushes the low twelve bits of that \
         instruction's linear address in the new task's EIP",
        "ring0 jump:30 [504c]=00000080 [5020]=00010000",
        |seen, part| {
            let eip =
                part.byte_of(Owner::Pushed(Word::Eip)).or_else(|| part.byte_of(Owner::TssEip));
            let switched = seen.takes(Branch::TaskLoaded32) || seen.takes(Branch::TaskLoaded16);
            // The linear address within its page is what is kept of the instruction.
            let state = &seen.expectation.before;
            let (base, linear) = (state.cs().base, state.instruction_address());
            let mixed = |eip: u32| {
                let page = eip.wrapping_add(base) & !(PAGE - 1);
                (page | linear & (PAGE - 1)).wrapping_sub(base)
            };
            let mixes = |byte| {
                let (offset, word) = (seen.offset(&byte)?, seen.word(&byte)?);
                Some(byte.got == (mixed(word) >> (8 * offset)) as u8)
            };
            matches!(seen.case.via, Via::Iret(_) | Via::Jump(_) | Via::Call(_))
                && switched
                && seen.first_refused()
                && eip.and_then(mixes) == Some(true)
        },
    ),
    deviation(
        "task-eip-checked-before-error-code",
        "an EIP outside the new task's code segment raises #GP before the exception's error code is pushed; \
         the manual says after",
        "ring3 not-present [58]=003020b0 [5c]=0000e500 [504c]=00000080 [5020]=00010000",
        |seen, _| {
            let pushed = seen.takes(Branch::TaskErrorCode32) || seen.takes(Branch::TaskErrorCode16);
            // The push faults in the model, and EIP is not looked at.
            let beyond =
                seen.case.words.iter().any(|(at, eip)| *at == OTHER_TSS + 32 && *eip > 0xffff);
            let faults = seen
                .attempts()
                .any(|attempt| attempt.fault.is_some_and(|fault| fault.vector == Vector::PF));
            seen.refused(&[Branch::TaskBeyondLimit]) && pushed
                || seen.takes(Branch::GateTask) && beyond && faults
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
                && part
                    .field("EFLAGS")
                    .is_some_and(|difference| difference.expected ^ difference.got == Eflags::NT.0)
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
        "ring3 jump:a8 cr0=80010011 idtr.base=80000000 [e004]=00001065",
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
        "ring0 int:30 eflags=40000 cr0=80000011 cr4=200000",
        |seen, _| {
            let state = &seen.expectation.before;
            state.cr4 & SMAP != 0
                && seen.refused(&[Branch::PageSmap])
                && (state.eflags.contains(Eflags::AC)
                    || seen.expectation.outcome.state.eflags.contains(Eflags::AC))
        },
    ),
    deviation(
        "task16-keeps-virtual-8086",
        "a 16-bit task that is switched to from virtual-8086 mode runs with VM still set",
        "virtual exception:13:5358 [98]=0038ffff [9c]=0001e500",
        |seen, _| {
            (seen.expectation.before.virtual_8086() || seen.takes(Branch::TaskVirtual))
                && seen.takes(Branch::TaskLoaded16)
        },
    ),
    deviation(
        "virtual-iret-pops-as-supervisor",
        "IRET in virtual-8086 mode reads the stack with the supervisor's rights to pages",
        "virtual iret16 cr0=80000011 cr4=200000",
        |seen, _| {
            let state = &seen.expectation.before;
            state.virtual_8086()
                && matches!(seen.case.via, Via::Iret(_))
                && state.paging()
                && (state.cr4 & SMAP != 0
                    || seen
                        .attempts()
                        .next()
                        .and_then(|attempt| attempt.fault)
                        .is_some_and(|fault| fault.vector == Vector::PF))
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
        "ring1 iret [c408]=000f2bc7",
        |seen, _| {
            matches!(seen.case.via, Via::Iret(_))
                && !matches!(seen.case.start, Start::Ring0 | Start::Virtual8086)
                && seen.expectation.popped_eflags.contains(Eflags::VM)
        },
    ),
    deviation(
        "return-stack-rpl-checked-first",
        "IRET to an outer ring checks the RPL of the popped SS before it reads the descriptor, whose page fault \
         the manual has come first",
        "ring1 iret cr0=80000011 cr4=200000 [e000]=00000063 [e004]=00001063 [e00c]=00003063 [e024]=00009063 \
         [e030]=0000c063 [c404]=00000093 [c410]=00000026",
        |seen, _| {
            let state = &seen.expectation.before;
            let first = seen.attempts().next().and_then(|attempt| attempt.fault?.address);
            matches!(seen.case.via, Via::Iret(_))
                && seen.takes(Branch::ReturnOuter)
                && first.is_some_and(|address| {
                    address.wrapping_sub(state.gdtr.base) <= state.gdtr.limit.into()
                        || address.wrapping_sub(state.ldtr.base) <= state.ldtr.limit
                })
        },
    ),
];
