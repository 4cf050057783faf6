//! What esp0 takes from itself before it runs somebody else's code.
//!
//! A guest that breaks out of its machine, by a bug of KVM's or of esp0's, finds itself in a process that has
//! nothing: its files are open, and no other can be; there is no socket, no program to start, no other process to
//! look into, no capability, and of KVM those requests only that a run makes.
//!
//! ```text
//!  files open, machine made
//!    │  withdraw   no new privileges, no capabilities, no files by name (Landlock, where the kernel has it)
//!    ▼
//!  the thread that reads what is typed
//!    │  filter     system calls of a run, for all threads (seccomp)
//!    ▼
//!  the guest runs
//!    │  filter     what a report takes: KVM is over
//!    ▼
//!  summary, verdict
//! ```
//! Cases of `conform` run in machines that were made before, on threads that were started before. The doctor and the
//! claims make machines while they run; /dev/kvm is open by then, so none of them opens a file either.
//!
//! There, with many threads, the C library looks at files about the system by itself: to open one for reading is an
//! error in those phases, and not the end.
//!
//! Each step can only take away, and none can be undone. A call that is not on the list ends the process at once, with a
//! sentence and status 2: it is a bug of esp0's, or worse, and no verdict of such a process is worth anything. (With all
//! signals blocked, as the C library has them while it starts a program, it ends by SIGSYS and without the sentence.)
//!
//! A list of what is forbidden was rejected, as each new kernel brings system calls that nobody has heard of.

mod calls;
mod violation;

pub use calls::Phase;

use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetStatus};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use thiserror::Error;

/// Something could not be given away.
#[derive(Debug, Error)]
#[error("the sandbox cannot be built: {what} ({reason}); --no-sandbox runs without one")]
pub struct SandboxError {
    what: &'static str,
    reason: String,
}

fn error<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> SandboxError {
    move |reason| SandboxError { what, reason: reason.to_string() }
}

/// Whether files are out of reach by name too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// Landlock refuses all of them.
    Withdrawn,
    /// This kernel has no Landlock; the filter of system calls stands alone.
    FilteredOnly,
}

/// Gives up privileges, capabilities and files by name, for this thread and those that it starts.
///
/// # Errors
/// [`SandboxError`] if the kernel refuses.
pub fn withdraw() -> Result<Files, SandboxError> {
    rustix::thread::set_no_new_privs(true).map_err(error("new privileges stay possible"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::clear_ambient_capability_set().map_err(error("capabilities stay"))?;
    rustix::thread::set_capabilities(None, none).map_err(error("capabilities stay"))?;
    let withdrawn = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V3))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(error("files stay within reach"))?;
    Ok(match withdrawn.ruleset {
        RulesetStatus::NotEnforced => Files::FilteredOnly,
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Files::Withdrawn,
    })
}

/// From now on all threads of this process make the system calls of `phase` only. Phases come in their order; a
/// later one takes more away.
///
/// # Errors
/// [`SandboxError`] if the kernel has no filters for system calls.
pub fn filter(phase: Phase) -> Result<(), SandboxError> {
    let filter = |reason: String| SandboxError { what: "system calls are not filtered", reason };
    violation::tell_of_violations().map_err(|error| filter(error.to_string()))?;
    let apply = |rules, otherwise, matched| {
        let rules = SeccompFilter::new(rules, otherwise, matched, TargetArch::x86_64);
        let program: BpfProgram =
            rules.and_then(TryInto::try_into).map_err(|error| filter(error.to_string()))?;
        seccompiler::apply_filter_all_threads(&program).map_err(|error| filter(error.to_string()))
    };
    if phase.has_threads() {
        let refused = calls::refused().map_err(|error| filter(error.to_string()))?;
        apply(refused, SeccompAction::Allow, SeccompAction::Errno(libc::EACCES as u32))?;
    }
    let left = calls::rules(phase).map_err(|error| filter(error.to_string()))?;
    apply(left, SeccompAction::Trap, SeccompAction::Allow)
}
