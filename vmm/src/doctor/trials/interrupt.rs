//! INT n (SDM vol. 2A, "INT n/INTO/INT3/INT1").

use super::super::frame::{Entry, pushed};
use super::super::lab::Lab;
use super::super::layout::{CLOSED, EXTERNAL, KERNEL_CODE, SYSTEM_CALL, USER_CODE};
use super::super::start;
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use ia32::{Eflags, State, Vector, Word};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: "int n, ring 3 to 0",
        shows: "five words below SS0:ESP0, exact; nothing beside them changes",
        need: Need::Needed,
        run: |lab| from_ring_3(lab).map(drop),
    },
    Trial {
        name: "int n, ring 0",
        shows: "three words, no change of stack",
        need: Need::Needed,
        run: from_ring_0,
    },
    Trial {
        name: "int n, gate closed",
        shows: "#GP with 8n+2 where the gate is not open to ring 3",
        need: Need::Needed,
        run: through_a_closed_gate,
    },
    Trial {
        name: "RF of int n",
        shows: "EFLAGS.RF is pushed as 0",
        need: Need::Exact(None),
        run: resume_flag,
    },
    Trial {
        name: "upper halves",
        shows: "CS and SS are pushed with zeroes above",
        need: Need::Exact(None),
        run: upper_halves,
    },
];

pub(super) fn from_ring_3(lab: &mut Lab<'_>) -> Result<(Entry, State), Wrong> {
    let next = lab.code(USER_CODE, |a| a.int(i32::from(SYSTEM_CALL)))?;
    let before = start::user();
    lab.start(&before)?;
    let vector = Vector(SYSTEM_CALL);
    let after = lab.run_to(Stop::Entry(vector))?;
    let entry = Entry { before: State { eip: next, ..before }, vector, error_code: None };
    entry.check(lab, &after)?;
    Ok((entry, after))
}

fn from_ring_0(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let next = lab.code(KERNEL_CODE, |a| a.int(i32::from(EXTERNAL)))?;
    let mut before = start::kernel();
    before.eflags = before.eflags | Eflags::IF | Eflags::ZF;
    lab.start(&before)?;
    let vector = Vector(EXTERNAL);
    let after = lab.run_to(Stop::Entry(vector))?;
    Entry { before: State { eip: next, ..before }, vector, error_code: None }.check(lab, &after)
}

fn through_a_closed_gate(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let (entry, after) = refused(lab)?;
    entry.check(lab, &after)
}

/// INT n through a gate that is closed to ring 3, and the entry that has to come of it.
pub(super) fn refused(lab: &mut Lab<'_>) -> Result<(Entry, State), Wrong> {
    lab.code(USER_CODE, |a| a.int(i32::from(CLOSED)))?;
    let before = start::user();
    lab.start(&before)?;
    let after = lab.run_to(Stop::Entry(Vector::GP))?;
    let error_code = Some(u32::from(CLOSED) * 8 + 2);
    Ok((Entry { before, vector: Vector::GP, error_code }, after))
}

fn resume_flag(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let (entry, after) = from_ring_3(lab)?;
    let eflags = pushed(lab, &entry, &after, Word::Eflags);
    Wrong::unless_equal("pushed EFLAGS", entry.before.eflags.0, eflags).map_err(Wrong::measured)
}

fn upper_halves(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let (entry, after) = from_ring_3(lab)?;
    for (word, segment) in [(Word::Cs, entry.before.cs()), (Word::Ss, entry.before.ss())] {
        let got = pushed(lab, &entry, &after, word);
        Wrong::unless_equal(&format!("pushed {}", word.name()), u32::from(segment.selector), got)
            .map_err(Wrong::measured)?;
    }
    Ok(())
}
