//! What is known to be wrong with the processor models below us, by name.
//!
//! A deviation is matched by backend, version, and the exact difference. It is never masked away:
//! each match is counted and shown in the summary, and `esp0 doctor` measures each anew.

use super::{Aspect, Difference, Finding, Mismatch};
use crate::entry::{Entry, Kind};
use crate::host::{Authority, Backend, Version};
use ia32::{Eflags, Owner, Word};

/// A known deviation.
#[derive(Debug)]
pub struct Deviation {
    /// Short name, as the summary shows it.
    pub name: &'static str,
    /// What the manual says and what happens instead.
    pub description: &'static str,
    /// The processor model that has it.
    pub authority: Authority,
    /// First version of the model that is known to have it.
    pub since: Version,
    /// First version that is known not to have it; none if none is known.
    pub until: Option<Version>,
    /// How it was found.
    pub evidence: &'static str,
    /// Whether a finding of an entry is this deviation and nothing else.
    pub entry: fn(&Entry, &Finding) -> bool,
    /// Whether a difference from the model, of an entry or a return, is this deviation and nothing
    /// else.
    pub model: fn(&Mismatch) -> bool,
}

impl Deviation {
    /// Whether `backend` is known to have it.
    pub fn applies_to(&self, backend: &Backend) -> bool {
        self.authority == backend.authority
            && backend.version.is_some_and(|version| {
                version >= self.since && self.until.is_none_or(|until| version < until)
            })
    }
}

/// All known deviations.
pub const DEVIATIONS: [Deviation; 6] = [
    Deviation {
        name: "fault-pushes-rf-0",
        description: "EFLAGS.RF is pushed as 0 for a fault; the manual says 1",
        authority: Authority::Tcg,
        since: Version { major: 0, minor: 0 },
        until: Some(Version { major: 10, minor: 0 }),
        evidence: "measured with QEMU 7.2: every fault; not with QEMU 10.0",
        entry: |entry, finding| {
            entry.kind == Kind::Fault && only_rf_differs(finding.difference, true)
        },
        model: |_| false,
    },
    Deviation {
        name: "external-pushes-rf-1",
        description: "EFLAGS.RF is pushed as 1 for an external interrupt; the manual says 0 unless a \
                      repeated string instruction is interrupted",
        authority: Authority::Tcg,
        since: Version { major: 8, minor: 0 },
        until: None,
        evidence: "measured with QEMU 10.0: every injected interrupt; not with QEMU 7.2",
        entry: |entry, finding| {
            matches!(entry.kind, Kind::External | Kind::Nmi)
                && only_rf_differs(finding.difference, false)
        },
        model: |_| false,
    },
    Deviation {
        name: "int-pushes-rf-1",
        description: "INT n pushes EFLAGS.RF as 1 right after a return that popped it as 1; the \
                      manual says 0",
        authority: Authority::Tcg,
        since: Version { major: 0, minor: 0 },
        until: None,
        evidence: "measured with QEMU 7.2 and 10.0: each INT n that is the next instruction",
        entry: |entry, finding| {
            entry.kind == Kind::Software && only_rf_differs(finding.difference, false)
        },
        model: |_| false,
    },
    Deviation {
        name: "restarted-int-pushes-next-eip",
        description: "INT n that is refused pushes the EIP behind it, if KVM had to map the page of \
                      the stack meanwhile; the manual says the EIP of the INT n",
        authority: Authority::Tcg,
        since: Version { major: 0, minor: 0 },
        until: None,
        evidence: "measured with QEMU 7.2 and 10.0: each #GP by a closed gate on a stack that was \
                   never used before; never on one that was",
        entry: |entry, finding| {
            entry.kind == Kind::Fault
                && entry.code.behind.is_some_and(|[first, _]| first == 0xcd)
                && finding.difference.is_some_and(|difference| {
                    difference.word == Word::Eip
                        && difference.got == difference.expected.wrapping_add(2)
                })
        },
        model: |_| false,
    },
    Deviation {
        name: "restarted-task-gate-loses-error-code",
        description: "an exception that arises from another event's delivery comes through a task \
                      gate without its error code, if KVM had to map the page of the new task's \
                      stack meanwhile",
        authority: Authority::Tcg,
        since: Version { major: 0, minor: 0 },
        until: None,
        evidence: "measured with QEMU 7.2 and 10.0: each #GP and #DF on a stack that was never used \
                   before; never on one that was",
        // Entries through task gates are not caught: the doctor measures it.
        entry: |_, _| false,
        model: |_| false,
    },
    Deviation {
        name: "descriptor-not-marked-accessed",
        description: "an event and a return load CS and SS without setting the accessed bit of the \
                      descriptor; the manual says that it is set whenever a segment register is \
                      loaded",
        authority: Authority::Tcg,
        since: Version { major: 6, minor: 0 },
        until: None,
        evidence: "measured with QEMU 10.0: each entry and return whose code segment's descriptor \
                   was not accessed before; the source of QEMU 6.0 is the same there \
                   (target/i386/tcg/seg_helper.c, do_interrupt_protected)",
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
    },
];

/// The pushed EFLAGS differ in RF alone, which should have been `expected`.
fn only_rf_differs(difference: Option<Difference>, expected: bool) -> bool {
    difference.is_some_and(|difference| {
        difference.word == Word::Eflags
            && difference.expected ^ difference.got == Eflags::RF.0
            && Eflags(difference.expected).contains(Eflags::RF) == expected
    })
}
