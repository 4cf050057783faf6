//! External interrupts at a boundary that the VMM chooses.

use super::super::frame::{Entry, pushed};
use super::super::lab::Lab;
use super::super::layout::{EXTERNAL, KERNEL_CODE, USER_CODE};
use super::super::start;
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use crate::machine::Exit;
use ia32::{Eflags, State, Vector, Word};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: "interrupt, ring 3 to 0",
        shows: "KVM_INTERRUPT enters at this very boundary; the words are the state before",
        need: Need::Needed,
        run: |lab| inject(lab, &start::user(), false).map(drop),
    },
    Trial {
        name: "interrupt, ring 0",
        shows: "the same with three words",
        need: Need::Needed,
        run: |lab| {
            let before = start::kernel();
            let before = State { eflags: before.eflags | Eflags::IF | Eflags::PF, ..before };
            inject(lab, &before, false).map(drop)
        },
    },
    Trial {
        name: "interrupt window",
        shows: "an exit as soon as IF is set and the shadow of STI has passed",
        need: Need::Needed,
        run: window,
    },
    Trial {
        name: "interrupts held off",
        shows: "a shadow set from outside holds the window shut for one instruction",
        // For the deterministic clock.
        need: Need::Useful,
        run: held_off,
    },
    Trial {
        name: "NMI",
        shows: "enters at this very boundary, with IF closed too",
        need: Need::Useful,
        run: |lab| {
            let before = start::user();
            let before = State { eflags: before.eflags.without(Eflags::IF), ..before };
            inject(lab, &before, true).map(drop)
        },
    },
    Trial {
        name: "RF of an interrupt",
        shows: "EFLAGS.RF is pushed as it was, 0",
        need: Need::Exact(Some("external-pushes-rf-1")),
        run: |lab| resume_flag(lab, false),
    },
    Trial {
        name: "RF of an NMI",
        shows: "EFLAGS.RF is pushed as it was, 0",
        need: Need::Exact(Some("external-pushes-rf-1")),
        run: |lab| resume_flag(lab, true),
    },
];

fn no_ops(lab: &mut Lab<'_>, address: u32) -> Result<(), Wrong> {
    lab.code(address, |a| {
        for _ in 0..16 {
            a.nop()?;
        }
        a.ud2()
    })?;
    Ok(())
}

pub(super) fn inject(
    lab: &mut Lab<'_>,
    before: &State,
    nmi: bool,
) -> Result<(Entry, State), Wrong> {
    no_ops(lab, before.eip)?;
    lab.start(before)?;
    lab.settle()?;
    let vector = if nmi {
        lab.machine.vcpu.inject_nmi()?;
        Vector::NMI
    } else {
        let ready = lab.machine.vcpu.ready_for_interrupt()?;
        Wrong::unless(ready, "KVM ready for an interrupt where IF is set", "not ready")?;
        lab.machine.vcpu.inject(EXTERNAL)?;
        Vector(EXTERNAL)
    };
    let after = lab.run_to(Stop::Entry(vector))?;
    let entry = Entry { before: *before, vector, error_code: None };
    entry.check(lab, &after)?;
    Ok((entry, after))
}

fn window(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let open = lab.code(KERNEL_CODE, |a| {
        a.nop()?;
        a.sti()?;
        a.nop()
    })?;
    no_ops(lab, open)?;
    lab.start(&start::kernel())?;
    lab.machine.vcpu.request_interrupt_window(true);
    let state = lab.run_to(Stop::Exit(Exit::InterruptWindow))?;
    Wrong::unless_equal("the window to open at", open, state.eip)?;
    let ready = lab.machine.vcpu.ready_for_interrupt()?;
    Wrong::unless(ready, "KVM ready for an interrupt in the window", "not ready")
}

fn held_off(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    no_ops(lab, USER_CODE)?;
    lab.start(&start::user())?;
    lab.machine.vcpu.hold_interrupts_for_one_instruction();
    lab.settle()?;
    let ready = lab.machine.vcpu.ready_for_interrupt()?;
    Wrong::unless(!ready, "KVM not ready for an interrupt in the shadow", "ready")?;
    lab.machine.vcpu.request_interrupt_window(true);
    let state = lab.run_to(Stop::Exit(Exit::InterruptWindow))?;
    Wrong::unless_equal("the window to open at", USER_CODE + 1, state.eip)
}

fn resume_flag(lab: &mut Lab<'_>, nmi: bool) -> Result<(), Wrong> {
    let (entry, after) = inject(lab, &start::user(), nmi)?;
    let eflags = pushed(lab, &entry, &after, Word::Eflags);
    Wrong::unless_equal("pushed EFLAGS", entry.before.eflags.0, eflags).map_err(Wrong::measured)
}
