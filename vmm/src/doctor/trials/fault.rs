//! Faults of ring 3 (SDM vol. 3A, "Exception and interrupt reference").

use super::super::frame::{Entry, pushed};
use super::super::lab::Lab;
use super::super::layout::{ABSENT, KERNEL_STACK, USER_CODE};
use super::super::start;
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use ia32::{Eflags, State, Vector, Word};
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, dword_ptr, eax, ebx};

/// A name that [`super::super::examine`] asks for: who lets ring 3 halt executes it in software.
pub(in super::super) const HALT_IN_RING_3: &str = "#GP by hlt in ring 3";

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: HALT_IN_RING_3,
        shows: "six words, error code 0, EIP at the instruction",
        need: Need::Needed,
        run: |lab| halt(lab).map(drop),
    },
    Trial {
        name: "#UD in ring 3",
        shows: "five words, no error code, EIP at the instruction",
        need: Need::Needed,
        run: |lab| undefined(lab).map(drop),
    },
    Trial {
        name: "#PF in ring 3",
        shows: "error codes and CR2 of three accesses",
        need: Need::Needed,
        run: page_faults,
    },
    Trial {
        name: "RF of a fault",
        shows: "EFLAGS.RF is pushed as 1",
        need: Need::Exact(Some("fault-pushes-rf-0")),
        run: resume_flag,
    },
];

fn fault(
    lab: &mut Lab<'_>,
    before: State,
    (vector, error_code): (Vector, Option<u32>),
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<(Entry, State), Wrong> {
    lab.fill_stack();
    lab.code(USER_CODE, write)?;
    lab.start(&before)?;
    let after = lab.run_to(Stop::Entry(vector))?;
    let entry = Entry { before, vector, error_code };
    entry.check(lab, &after)?;
    Ok((entry, after))
}

pub(super) fn halt(lab: &mut Lab<'_>) -> Result<(Entry, State), Wrong> {
    fault(lab, start::user(), (Vector::GP, Some(0)), |a| a.hlt())
}

pub(super) fn undefined(lab: &mut Lab<'_>) -> Result<(Entry, State), Wrong> {
    fault(lab, start::user(), (Vector::UD, None), |a| a.ud2())
}

pub(super) fn page_faults(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    // Error code: bit 0 the page is present, bit 1 a write, bit 2 from ring 3
    // (SDM vol. 3A, "Page-fault error code").
    let user = start::paged(start::user());
    for (address, error_code, write) in
        [(ABSENT, 0b110, true), (ABSENT + 0xffc, 0b100, false), (KERNEL_STACK, 0b101, false)]
    {
        let (_, after) = fault(lab, user, (Vector::PF, Some(error_code)), |a| {
            if write { a.mov(dword_ptr(address), ebx) } else { a.mov(eax, dword_ptr(address)) }
        })?;
        Wrong::unless_equal("CR2", address, after.cr2)?;
    }
    Ok(())
}

fn resume_flag(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    for trial in [halt, undefined] {
        let (entry, after) = trial(lab)?;
        let eflags = pushed(lab, &entry, &after, Word::Eflags);
        Wrong::unless_equal(
            &format!("for {}, pushed EFLAGS", entry.vector),
            (entry.before.eflags | Eflags::RF).0,
            eflags,
        )
        .map_err(Wrong::measured)?;
    }
    Ok(())
}
