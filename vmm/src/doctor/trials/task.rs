//! Hardware task switches (SDM vol. 3A, "Task management").
//!
//! Some KVMs emulate them: what is seen here is then KVM's doing, not the processor's.

use super::super::lab::Lab;
use super::super::layout::{
    ABSENT, BUSY_TSS_ATTRIBUTES, CLOSED, ESP0, FILL, FREE_TSS_ATTRIBUTES, GDT, IDT, KERNEL_CODE,
    PORT, SECOND_TSS, SECOND_TSS_SELECTOR, SYSTEM_CALL, TASK_CODE, TASK_ESP, TASK_GATE, TSS,
    TSS_SELECTOR, Tss, USER_CODE, task_gate,
};
use super::super::start;
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use crate::machine::Exit;
use ia32::{Descriptor, Eflags, Selector, State, Vector};
use iced_x86::code_asm::al;

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: "task switch by jmp",
        shows: "the old task is saved, the new one loaded, the busy bits change places",
        need: Need::Useful,
        run: by_jump,
    },
    Trial {
        name: "task gate",
        shows: "a nested task, and IRET back",
        need: Need::Useful,
        run: by_gate,
    },
    Trial {
        name: "#GP through a task gate",
        shows: "its error code is on the new task's stack",
        need: Need::Exact(None),
        run: protection_fault,
    },
    Trial {
        name: "#DF through a task gate",
        shows: "error code 0 is on the new task's stack",
        need: Need::Exact(None),
        run: double_fault,
    },
    Trial {
        name: "#DF by task gate, ring 0",
        shows: "the same where the stack in use is not mapped",
        need: Need::Exact(None),
        run: double_fault_in_ring_0,
    },
];

fn new_task_stops(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    lab.write(TASK_ESP - 16, &[FILL; 16]);
    lab.code(TASK_CODE, |a| {
        a.out(u32::from(PORT), al)?;
        a.iretd()
    })?;
    Ok(())
}

/// The new task has been entered, with `nested` as told; the stack pointer is left to the caller.
fn check_new_task(lab: &Lab<'_>, state: &State, nested: bool) -> Result<(), Wrong> {
    let tss = Tss::second();
    Wrong::unless_equal("TR", SECOND_TSS_SELECTOR.into(), state.tr.selector.into())?;
    Wrong::unless_equal("EAX", tss.0[Tss::EAX], state.general.eax)?;
    Wrong::unless_equal("EDI", tss.0[Tss::EAX + 7], state.general.edi)?;
    Wrong::unless_equal("NT", nested.into(), state.eflags.contains(Eflags::NT).into())?;
    const TASK_SWITCHED: u32 = 1 << 3;
    Wrong::unless_equal("CR0.TS", TASK_SWITCHED, state.cr0 & TASK_SWITCHED)?;
    if nested {
        let backlink = lab.tss(SECOND_TSS).0[Tss::BACKLINK] & 0xffff;
        Wrong::unless_equal("backlink", TSS_SELECTOR.into(), backlink)?;
    }
    check_busy(lab, SECOND_TSS_SELECTOR, true)?;
    check_busy(lab, TSS_SELECTOR, nested)
}

fn check_busy(lab: &Lab<'_>, selector: u16, busy: bool) -> Result<(), Wrong> {
    let at = GDT + Selector(selector).offset();
    let (low, high) = (u64::from(lab.word(at)), u64::from(lab.word(at + 4)));
    let expected = if busy { BUSY_TSS_ATTRIBUTES } else { FREE_TSS_ATTRIBUTES };
    Wrong::unless_equal(
        &format!("attributes of the TSS {selector:04x}"),
        expected.into(),
        Descriptor(high << 32 | low).attributes().into(),
    )
}

/// The first task was saved as it was in `before`.
fn check_old_task(lab: &Lab<'_>, before: &State) -> Result<(), Wrong> {
    let tss = lab.tss(TSS);
    for (name, index, expected) in [
        ("EIP", Tss::EIP, before.eip),
        ("EFLAGS", Tss::EFLAGS, before.eflags.0),
        ("EAX", Tss::EAX, before.general.eax),
        ("ESP", Tss::ESP, before.general.esp),
        ("CS", Tss::CS, before.cs().selector.into()),
        ("ESP0", Tss::ESP0, ESP0),
    ] {
        // Whether a fault saves RF is not the subject.
        let mask = if index == Tss::EFLAGS { !Eflags::RF.0 } else { !0 };
        Wrong::unless_equal(
            &format!("{name} in the old TSS"),
            expected & mask,
            tss.0[index] & mask,
        )?;
    }
    Ok(())
}

fn by_jump(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    new_task_stops(lab)?;
    let next = lab.code(KERNEL_CODE, |a| a.jmp_far(SECOND_TSS_SELECTOR, 0))?;
    let before = start::kernel();
    lab.start(&before)?;
    let after = lab.run_to(Stop::Marker(TASK_CODE))?;
    check_new_task(lab, &after, false)?;
    Wrong::unless_equal("ESP", TASK_ESP, after.general.esp)?;
    check_old_task(lab, &State { eip: next, ..before })
}

fn by_gate(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    new_task_stops(lab)?;
    let next = lab.code(KERNEL_CODE, |a| a.int(i32::from(TASK_GATE)))?;
    lab.code(next, |a| a.hlt())?;
    let before = start::kernel();
    lab.start(&before)?;
    let after = lab.run_to(Stop::Marker(TASK_CODE))?;
    check_new_task(lab, &after, true)?;
    Wrong::unless_equal("ESP", TASK_ESP, after.general.esp)?;
    check_old_task(lab, &State { eip: next, ..before })?;
    let back = lab.run_to(Stop::Exit(Exit::Halt))?;
    Wrong::unless_equal("EIP", next + 1, back.eip)?;
    Wrong::unless_equal("TR", TSS_SELECTOR.into(), back.tr.selector.into())?;
    Wrong::unless(
        back.general == before.general,
        format!("general registers {:08x?}", before.general),
        format!("{:08x?}", back.general),
    )
}

/// A fault of ring 3 in `before` arrives through a task gate with `error_code`.
fn fault(lab: &mut Lab<'_>, before: &State, vector: Vector, error_code: u32) -> Result<(), Wrong> {
    new_task_stops(lab)?;
    lab.write(IDT + u32::from(vector.0) * 8, &task_gate().encode().to_le_bytes());
    lab.start(before)?;
    let after = lab.run_to(Stop::Marker(TASK_CODE))?;
    check_new_task(lab, &after, true)?;
    let stack = format!("ESP {:08x}", after.general.esp);
    Wrong::unless(
        after.general.esp == TASK_ESP - 4,
        format!("ESP {:08x}, with the error code", TASK_ESP - 4),
        if after.general.esp == TASK_ESP { format!("{stack}, without one") } else { stack },
    )
    .map_err(Wrong::measured)?;
    Wrong::unless_equal("error code", error_code, lab.word(TASK_ESP - 4))
        .map_err(Wrong::measured)?;
    let saved = lab.tss(TSS).0[Tss::CS];
    Wrong::unless_equal("CS in the old TSS", before.cs().selector.into(), saved)
}

pub(super) fn protection_fault(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    lab.code(USER_CODE, |a| a.int(i32::from(CLOSED)))?;
    fault(lab, &start::user(), Vector::GP, u32::from(CLOSED) * 8 + 2)
}

/// A kernel stack that is not mapped: #PF while the frame is pushed, and again for that #PF.
pub(super) fn double_fault(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    lab.code(USER_CODE, |a| a.int(i32::from(SYSTEM_CALL)))?;
    lab.write_words(TSS + 4 * Tss::ESP0 as u32, &[ABSENT + 0x800]);
    fault(lab, &start::paged(start::user()), Vector::DF, 0)
}

/// The same without a change of ring: the stack in use is not mapped.
fn double_fault_in_ring_0(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    lab.code(KERNEL_CODE, |a| a.int(i32::from(SYSTEM_CALL)))?;
    let mut before = start::paged(start::kernel());
    before.general.esp = ABSENT + 0x800;
    fault(lab, &before, Vector::DF, 0)
}
