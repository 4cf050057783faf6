//! Single-stepping.

use super::super::frame::{Entry, pushed};
use super::super::lab::Lab;
use super::super::layout::{
    KERNEL_CODE, KERNEL_ESP, SYSTEM_CALL, USER_CODE, USER_CS, USER_DS, USER_ESP, handler,
};
use super::super::start;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use ia32::{Eflags, State, Vector, Word};
use iced_x86::code_asm::eax;

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: "single step",
        shows: "one instruction, in either ring",
        need: Need::Needed,
        run: plain,
    },
    Trial {
        name: "single step over iret",
        shows: "lands at the user's instruction",
        need: Need::Needed,
        run: over_iret,
    },
    Trial {
        name: "frame under stepping",
        shows: "TF stays out of the pushed EFLAGS",
        need: Need::Hopeless("KVM steps with TF: esp0 judges no frame that was pushed so"),
        run: frame,
    },
];

fn plain(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    for before in [start::kernel(), start::user()] {
        let second = lab.code(before.eip, |a| a.inc(eax))?;
        let third = lab.code(second, |a| a.inc(eax))?;
        lab.start(&before)?;
        for (count, eip) in [(1, second), (2, third)] {
            let after = lab.step_to(eip)?;
            Wrong::unless_equal("EAX", before.general.eax + count, after.general.eax)?;
            Wrong::unless(
                !after.eflags.contains(Eflags::TF),
                "EFLAGS without TF",
                after.eflags.to_string(),
            )?;
        }
    }
    Ok(())
}

fn over_iret(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    lab.code(KERNEL_CODE, |a| a.iretd())?;
    lab.code(USER_CODE, |a| a.inc(eax))?;
    let user = start::user();
    lab.write_words(
        KERNEL_ESP,
        &[USER_CODE, USER_CS.into(), user.eflags.0, USER_ESP, USER_DS.into()],
    );
    let before = start::kernel();
    lab.start(&before)?;
    let after = lab.step_to(USER_CODE)?;
    Wrong::unless_equal("EAX", before.general.eax, after.general.eax)?;
    Wrong::unless_equal("ESP", USER_ESP, after.general.esp)?;
    Wrong::unless_equal("EFLAGS", user.eflags.0, after.eflags.0)
}

fn frame(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let next = lab.code(USER_CODE, |a| a.int(i32::from(SYSTEM_CALL)))?;
    let before = start::user();
    let vector = Vector(SYSTEM_CALL);
    lab.start(&before)?;
    lab.step()?;
    let after = lab.state();
    Wrong::unless(
        after.cpl() == 0,
        format!("the handler at {:08x}", handler(SYSTEM_CALL)),
        format!("ring {} at {:08x}", after.cpl(), after.eip),
    )?;
    let entry = Entry { before: State { eip: next, ..before }, vector, error_code: None };
    let eflags = pushed(lab, &entry, &after, Word::Eflags);
    Wrong::unless_equal("pushed EFLAGS", before.eflags.0, eflags).map_err(Wrong::measured)
}
