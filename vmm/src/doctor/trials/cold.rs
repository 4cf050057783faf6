//! Entries that touch a page for the first time.
//!
//! KVM maps a page when it is first used. Where that is while an event is being delivered, the
//! delivery is broken off, and begun again by KVM from what the processor told it. A kernel must not
//! notice. The stack of a new task is such a page, and so is that of a double-fault task.

use super::super::start;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use super::{fault, injection, interrupt, task};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: "int n, new stack",
        shows: "the same where the kernel's stack was never used before",
        need: Need::Needed,
        run: |lab| interrupt::from_ring_3(lab).map(drop),
    },
    Trial {
        name: "#GP by hlt, new stack",
        shows: "the same where the kernel's stack was never used before",
        need: Need::Needed,
        run: |lab| fault::halt(lab).map(drop),
    },
    Trial {
        name: "interrupt, new stack",
        shows: "the same where the kernel's stack was never used before",
        need: Need::Needed,
        run: |lab| injection::inject(lab, &start::user(), false).map(drop),
    },
    Trial {
        name: "gate closed, new stack",
        shows: "EIP at the INT n, where the kernel's stack was never used before",
        need: Need::Exact(Some("restarted-int-pushes-next-eip")),
        run: |lab| {
            let (entry, after) = interrupt::refused(lab)?;
            entry.check(lab, &after).map_err(Wrong::measured)
        },
    },
    Trial {
        name: "#GP by task gate, new",
        shows: "its error code is there, where the new task's stack was never used before",
        need: Need::Exact(Some("restarted-task-gate-loses-error-code")),
        run: task::protection_fault,
    },
    Trial {
        name: "#DF by task gate, new",
        shows: "its error code is there, where the new task's stack was never used before",
        need: Need::Exact(Some("restarted-task-gate-loses-error-code")),
        run: task::double_fault,
    },
];
