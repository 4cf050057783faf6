//! What an entry does to EFLAGS (SDM vol. 2A, "INT n": only TF, NT, RF, VM and, by the gate, IF
//! change).

use super::super::frame::{Entry, pushed};
use super::super::lab::Lab;
use super::super::layout::{SYSTEM_CALL, USER_CODE};
use super::super::start;
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use ia32::{Eflags, State, Vector, Word};

/// A name that [`super::super::examine`] asks for: who clears AC executes the entry in software.
pub(in super::super) const ALIGNMENT_FLAG: &str = "AC at entry";

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: ALIGNMENT_FLAG,
        shows: "pushed, and kept",
        need: Need::Exact(None),
        run: |lab| enter_with(lab, Eflags::AC),
    },
    Trial {
        name: "DF at entry",
        shows: "pushed, and kept",
        need: Need::Exact(None),
        run: |lab| enter_with(lab, Eflags::DF),
    },
    Trial {
        name: "NT at entry",
        shows: "pushed, then cleared",
        need: Need::Exact(None),
        run: |lab| enter_with(lab, Eflags::NT),
    },
    Trial {
        name: "TF at entry",
        shows: "pushed, then cleared; no #DB",
        need: Need::Exact(None),
        run: |lab| enter_with(lab, Eflags::TF),
    },
    Trial {
        name: "IOPL and ID at entry",
        shows: "pushed, and kept",
        need: Need::Exact(None),
        run: |lab| enter_with(lab, Eflags::IOPL | Eflags::ID),
    },
    Trial {
        name: "RF at entry",
        shows: "pushed as 0 by INT n",
        need: Need::Exact(Some("int-pushes-rf-1")),
        run: |lab| enter_with(lab, Eflags::RF),
    },
];

fn enter_with(lab: &mut Lab<'_>, flags: Eflags) -> Result<(), Wrong> {
    let next = lab.code(USER_CODE, |a| a.int(i32::from(SYSTEM_CALL)))?;
    let mut before = start::user();
    before.eflags = before.eflags | flags;
    lab.start(&before)?;
    let vector = Vector(SYSTEM_CALL);
    let after = lab.run_to(Stop::Entry(vector))?;
    let entry = Entry { before: State { eip: next, ..before }, vector, error_code: None };
    let got = pushed(lab, &entry, &after, Word::Eflags);
    // INT n clears RF before anything else (SDM vol. 3B, "Instruction-breakpoint exception condition").
    let expected = before.eflags.without(Eflags::RF);
    Wrong::unless_equal("pushed EFLAGS", expected.0, got).map_err(Wrong::measured)?;
    let cleared = Eflags::TF | Eflags::NT | Eflags::RF | Eflags::IF;
    Wrong::unless_equal("EFLAGS in the handler", before.eflags.without(cleared).0, after.eflags.0)
        .map_err(Wrong::measured)?;
    entry.check(lab, &after)
}
