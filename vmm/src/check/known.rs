//! How the known deviations show in a run.

use super::rules::task_gate::LOST;
use super::{Aspect, Finding, Mismatch, WordDifference};
use crate::entry::{Entry, Kind};
use crate::host::{Backend, Deviation};
use ia32::{Eflags, Owner, Word};

/// How a deviation is recognised.
struct Recogniser {
    name: &'static str,
    /// Whether a finding of an entry is this deviation and nothing else.
    entry: fn(&Entry, &Finding) -> bool,
    /// Whether a difference from the model, of an entry or a return, is this deviation and nothing
    /// else.
    model: fn(&Mismatch) -> bool,
    /// Whether a difference from the model, the first, is but a consequence of this deviation, which the second
    /// is.
    follows: fn(&Mismatch, &Mismatch) -> bool,
}

const NOTHING: fn(&Mismatch, &Mismatch) -> bool = |_, _| false;

/// The deviations that a backend is known to have and that can show in a run.
#[derive(Clone, Debug)]
pub(super) struct KnownDeviations(Vec<(&'static Deviation, &'static Recogniser)>);

impl KnownDeviations {
    pub(super) fn of(backend: &Backend) -> Self {
        let all = RECOGNISERS.iter();
        KnownDeviations(Deviation::recognised(backend, all, |recogniser| recogniser.name))
    }

    /// The deviation that a finding is or follows from, of `entry` if it is one of an entry. `all` are the
    /// findings of the same event.
    pub(super) fn find(
        &self,
        entry: Option<&Entry>,
        finding: &Finding,
        all: &[Finding],
    ) -> Option<&'static Deviation> {
        let follows = |recogniser: &Recogniser, mismatch: &Mismatch| {
            all.iter()
                .filter_map(|other| other.mismatch.as_ref())
                .any(|cause| (recogniser.model)(cause) && (recogniser.follows)(mismatch, cause))
        };
        let is = |recogniser: &Recogniser| {
            entry.is_some_and(|entry| (recogniser.entry)(entry, finding))
                || finding.mismatch.as_ref().is_some_and(|mismatch| {
                    (recogniser.model)(mismatch) || follows(recogniser, mismatch)
                })
        };
        // A switch by a task gate has a rule of its own for what this deviation is about.
        let is = |recogniser: &Recogniser| {
            is(recogniser)
                || finding.rule == LOST && recogniser.name == "restarted-task-gate-loses-error-code"
        };
        self.0.iter().find(|(_, recogniser)| is(recogniser)).map(|(deviation, _)| *deviation)
    }
}

impl std::fmt::Debug for Recogniser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        name: "restarted-task-gate-loses-error-code",
        entry: |_, _| false,
        model: |_| false,
        follows: NOTHING,
    },
    Recogniser {
        name: "fault-pushes-rf-0",
        entry: |entry, finding| {
            entry.kind == Kind::Fault && only_rf_differs(finding.difference, true)
        },
        model: |_| false,
        follows: NOTHING,
    },
    Recogniser {
        name: "external-pushes-rf-1",
        entry: |entry, finding| {
            matches!(entry.kind, Kind::External | Kind::Nmi)
                && only_rf_differs(finding.difference, false)
        },
        model: |_| false,
        follows: NOTHING,
    },
    Recogniser {
        name: "int-pushes-rf-1",
        entry: |entry, finding| {
            entry.kind == Kind::Software && only_rf_differs(finding.difference, false)
        },
        model: |_| false,
        follows: NOTHING,
    },
    Recogniser {
        name: "restarted-int-pushes-next-eip",
        entry: |entry, finding| {
            let eip = Aspect::Written(Owner::Pushed(Word::Eip));
            let word = finding.difference.filter(|difference| difference.word == Word::Eip);
            let mismatch = finding.mismatch.filter(|mismatch| mismatch.aspect == eip);
            let pushed = word
                .map(|difference| (difference.expected, difference.got))
                .or(mismatch.map(|mismatch| (mismatch.expected, mismatch.got)));
            let length = match entry.code.behind {
                Some([0xcd, _]) => 2,
                Some([_, 0xcc | 0xce]) => 1,
                _ => return false,
            };
            entry.kind == Kind::Fault
                && pushed.is_some_and(|(expected, got)| got == expected.wrapping_add(length))
        },
        model: |_| false,
        follows: NOTHING,
    },
    Recogniser {
        name: "descriptor-not-marked-accessed",
        entry: |_, _| false,
        model: |mismatch| {
            let unmarked = mismatch.expected ^ mismatch.got == 1 && mismatch.expected & 1 == 1;
            unmarked
                && matches!(
                    mismatch.aspect,
                    Aspect::Written(Owner::Accessed(_))
                        | Aspect::Register("CS attributes" | "SS attributes")
                )
        },
        // Its byte was not written, and so its page did not become dirty.
        follows: |mismatch, cause| {
            const DIRTY: u32 = 1 << 6;
            let page = |one: &Mismatch| one.linear.map(|linear| linear >> 12);
            matches!(mismatch.aspect, Aspect::Written(Owner::PageTable | Owner::PageDirectory))
                && matches!(cause.aspect, Aspect::Written(Owner::Accessed(_)))
                && mismatch.expected ^ mismatch.got == DIRTY
                && mismatch.expected & DIRTY != 0
                && mismatch.linear.is_some()
                && page(mismatch) == page(cause)
        },
    },
    Recogniser {
        name: "iret-to-virtual-keeps-rf",
        entry: |_, _| false,
        model: |mismatch| {
            let expected = Eflags(mismatch.expected);
            mismatch.aspect == Aspect::Register("EFLAGS")
                && expected.contains(Eflags::VM | Eflags::RF)
                && mismatch.expected ^ mismatch.got == Eflags::RF.0
        },
        follows: NOTHING,
    },
];

/// The pushed EFLAGS differ in RF alone, which should have been `expected`.
fn only_rf_differs(difference: Option<WordDifference>, expected: bool) -> bool {
    difference.is_some_and(|difference| {
        difference.word == Word::Eflags
            && difference.expected ^ difference.got == Eflags::RF.0
            && Eflags(difference.expected).contains(Eflags::RF) == expected
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recogniser_belongs_to_a_deviation_of_the_table() {
        for recogniser in RECOGNISERS {
            assert!(Deviation::named(recogniser.name).is_some(), "{}", recogniser.name);
        }
    }
}
