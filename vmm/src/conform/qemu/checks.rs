//! A check that is missing, comes at another time, or raises another vector. All that follows is different:
//! the whole mismatch belongs to the deviation.

use crate::conform::layout::*;
use crate::conform::recogniser::{Part, Recogniser, recogniser};
use crate::conform::start::Start;
use crate::conform::via::Via;
use ia32::{Branch, Eflags, Owner, Severity, Vector, Word};

/// CR4.SMAP.
const SMAP: u32 = 1 << 21;

/// Recognised by the check at which the model stops.
pub(super) const CHECKS: &[Recogniser] = &[
    recogniser("injected-exception-is-benign", |seen, _| {
        let Via::Exception(vector, _) = seen.case.via else { return false };
        let class = Severity::of(Vector(vector));
        seen.first_refused()
            && class != Severity::Benign
            && (seen.takes(Branch::ChainDoubleFault) || seen.takes(Branch::ChainShutdown))
    }),
    recogniser("stack-limit-unchecked", |seen, _| {
        seen.refused(&[
            Branch::InnerStackNoRoom,
            Branch::SameStackNoRoom,
            Branch::ReturnNoRoom,
            Branch::TaskErrorCodeNoRoom,
        ])
    }),
    recogniser("return-eip-unchecked", |seen, _| {
        seen.refused(&[
            Branch::ReturnBeyondLimit,
            Branch::ReturnWithinVirtualBeyondLimit,
            Branch::ReturnToVirtualBeyondLimit,
        ])
    }),
    recogniser("handler-eip-unchecked", |seen, _| seen.refused(&[Branch::HandlerBeyondLimit])),
    recogniser("virtual-8086-enters-middle-ring", |seen, _| {
        seen.refused(&[Branch::HandlerVirtualRing])
    }),
    recogniser("local-tss-is-ts", |seen, _| {
        seen.refused(&[Branch::FarTssLocal, Branch::TaskSelectorLocal])
    }),
    recogniser("absent-inner-stack-is-ts", |seen, _| seen.refused(&[Branch::InnerStackNotPresent])),
    recogniser("absent-stack-is-np", |seen, _| {
        seen.refused(&[Branch::ReturnSsNotPresent, Branch::TaskSsNotPresent])
    }),
    recogniser("task-conforming-code-refused", |seen, _| {
        let cs = seen.expectation.outcome.state.cs();
        seen.takes(Branch::Switched) && cs.is_conforming() && cs.dpl() < cs.selector().rpl()
    }),
    recogniser("task-debug-trap-ignored", |seen, _| seen.expectation.debug_trap().is_some()),
    recogniser("task-fault-mixes-eips", |seen, part| {
        let eip = part.byte_of(Owner::Pushed(Word::Eip)).or_else(|| part.byte_of(Owner::TssEip));
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
    }),
    recogniser("task-eip-checked-before-error-code", |seen, _| {
        let pushed = seen.takes(Branch::TaskErrorCode32) || seen.takes(Branch::TaskErrorCode16);
        // The push faults in the model, and EIP is not looked at.
        let beyond = seen.case.words.iter().any(|(at, eip)| *at == OTHER_TSS + 32 && *eip > 0xffff);
        let faults = seen
            .attempts()
            .any(|attempt| attempt.fault.is_some_and(|fault| fault.vector == Vector::PF));
        seen.refused(&[Branch::TaskBeyondLimit]) && pushed
            || seen.takes(Branch::GateTask) && beyond && faults
    }),
    recogniser("task-return-to-itself-keeps-nt", |seen, part| {
        let (old, new) = (&seen.expectation.before.tr, &seen.expectation.outcome.state.tr);
        seen.takes(Branch::ReturnTask)
            && (old.base ^ new.base) & (PAGE - 1) == 0
            && part
                .field("EFLAGS")
                .is_some_and(|difference| difference.expected ^ difference.got == Eflags::NT.0)
    }),
    recogniser("stack-address-not-wrapped", |seen, _| {
        let states = [&seen.expectation.before, &seen.expectation.last().state];
        states.iter().any(|state| state.ss().base.checked_add(state.stack_pointer()).is_none())
    }),
    recogniser("task-saved-before-busy-bits", |seen, part| {
        let gdtr = seen.expectation.before.gdtr;
        let faults = seen.attempts().filter_map(|attempt| attempt.fault).any(|fault| {
            fault.address.is_some_and(|address| {
                address.wrapping_sub(gdtr.base) <= gdtr.limit.into() && fault.error_code & 2 != 0
            })
        });
        let saved = matches!(part, Part::Byte(byte)
                if (TSS..=TSS + TSS_LIMIT).contains(&byte.address)
                    || (OTHER_TSS..TSS_16 + PAGE).contains(&byte.address));
        faults && saved
    }),
    recogniser("smap-heeds-ac-for-tables", |seen, _| {
        let state = &seen.expectation.before;
        state.cr4 & SMAP != 0
            && seen.refused(&[Branch::PageSmap])
            && (state.eflags.contains(Eflags::AC)
                || seen.expectation.outcome.state.eflags.contains(Eflags::AC))
    }),
    recogniser("task16-keeps-virtual-8086", |seen, _| {
        (seen.expectation.before.virtual_8086() || seen.takes(Branch::TaskVirtual))
            && seen.takes(Branch::TaskLoaded16)
    }),
    recogniser("virtual-iret-pops-as-supervisor", |seen, _| {
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
    }),
    recogniser("alignment-unchecked", |seen, _| {
        seen.refused(&[Branch::PushUnaligned, Branch::ReturnUnaligned])
    }),
    recogniser("iret-to-virtual-from-outer-ring", |seen, _| {
        matches!(seen.case.via, Via::Iret(_))
            && !matches!(seen.case.start, Start::Ring0 | Start::Virtual8086)
            && seen.expectation.popped_eflags.contains(Eflags::VM)
    }),
    recogniser("return-stack-rpl-checked-first", |seen, _| {
        let state = &seen.expectation.before;
        let first = seen.attempts().next().and_then(|attempt| attempt.fault?.address);
        matches!(seen.case.via, Via::Iret(_))
            && seen.takes(Branch::ReturnOuter)
            && first.is_some_and(|address| {
                address.wrapping_sub(state.gdtr.base) <= state.gdtr.limit.into()
                    || address.wrapping_sub(state.ldtr.base) <= state.ldtr.limit
            })
    }),
];
