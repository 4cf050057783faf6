//! What is said of kernel stacks, claim by claim, and what a run shows of it.
//!
//! A claim is a sentence, the scenarios that exercise it, a judge and a twin. The judge is a function
//! over a [`Observation`], which was made from outside; it does not know which kernel ran, nor whether
//! it is the twin. In the twin the claim is false on purpose, and the judge has to find it *refuted*:
//! a judge that cannot is no evidence.
//!
//! ```text
//!  scenario ─► run ─► observation ─► judge ─► proved, refuted or open, and the evidence
//!                        ▲
//!         twin: another kernel, or one word altered here
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `scenario`, `session` | the guests that are run; running them, and asking the judges |
//! | `observation`, `collector` | what is kept of a run; how it is read |
//! | `stacks`, `steps`, `kernel_pages` | what was written to kernel stacks; what the kernel did, instruction by instruction; which pages are its own |
//! | `twins` | the kernels of which a claim is false |
//! | `hardware`, `returning`, `switching`, `suspended`, `memory`, `linux` | the judges |
//! | `words` | what they have in common |
//! | `table` | the claims as text and as JSON |

mod collector;
mod hardware;
mod kernel_pages;
mod linux;
mod list;
mod memory;
mod observation;
mod returning;
mod scenario;
mod session;
mod stacks;
mod steps;
mod suspended;
mod switching;
mod table;
mod twins;
mod words;

pub use collector::Collector;
pub use list::CLAIMS;
pub use observation::{Happening, Moment, Observation, Sight};
pub(crate) use scenario::STRANGER;
pub use scenario::{Ends, PointerCall, SCENARIOS, Scenario, scenario};
pub use session::{Observations, SessionError, Testbed, judge, run};
pub use table::{ClaimsRow, ClaimsTable};
pub use twins::{NoTwin, Twins};

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The evidence is there.
    Proved,
    /// The evidence speaks against it.
    Refuted,
    /// It was not exercised.
    Open,
}

impl Status {
    /// The word that tables use.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Proved => "proved",
            Status::Refuted => "refuted",
            Status::Open => "open",
        }
    }
}

/// Why a claim is not proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The evidence speaks against it.
    Refuted(String),
    /// It was not exercised, or not so that it could be seen.
    Open(String),
}

/// What a judge says: the evidence for the claim, or why there is none.
pub type Proof = Result<String, Doubt>;

/// Refutes, unless `holds`.
fn that(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Doubt> {
    if holds { Ok(()) } else { Err(Doubt::Refuted(otherwise())) }
}

/// Leaves the claim open, unless it was `exercised`.
fn given(exercised: bool, otherwise: impl FnOnce() -> String) -> Result<(), Doubt> {
    if exercised { Ok(()) } else { Err(Doubt::Open(otherwise())) }
}

/// The claim is open: this is missing.
fn missing(what: &str) -> impl FnOnce() -> Doubt {
    let what = what.to_owned();
    move || Doubt::Open(what)
}

/// What a claim is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The processor.
    Hardware,
    /// Every kernel with a stack per task.
    Kernel,
    /// Linux 0.12.
    Linux,
}

impl Topic {
    /// The heading of its part of the table.
    pub const fn title(self) -> &'static str {
        match self {
            Topic::Hardware => "The hardware",
            Topic::Kernel => "Every kernel with a stack per task",
            Topic::Linux => "Linux 0.12",
        }
    }
}

/// How a claim is made false.
#[derive(Clone, Copy, Debug)]
pub enum Twin {
    /// In these scenarios a kernel that does otherwise takes the guest's place: by its name, one of [`Twins`],
    /// or what `plant=NAME` makes of the guest `broken`.
    Kernels(&'static [(&'static str, &'static str)]),
    /// No guest can make a processor do otherwise, or none that runs on: one thing in the observation
    /// is altered, and the output says so.
    Altered {
        /// What is altered.
        what: &'static str,
        /// Alters it; false if there was nothing to alter.
        alter: fn(&mut Observation) -> bool,
    },
}

/// Something that is said of kernel stacks.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Its short name: H1.
    pub id: &'static str,
    /// What is said.
    pub sentence: &'static str,
    /// What it is about.
    pub subject: Topic,
    /// The names of the scenarios that exercise it, one for each kernel.
    pub scenarios: &'static [&'static str],
    /// Decides.
    pub judge: fn(&Observation) -> Proof,
    /// How it is made false.
    pub twin: Twin,
}

/// The claim of that name, however it is written.
pub fn claim(id: &str) -> Option<&'static Claim> {
    CLAIMS.iter().find(|claim| claim.id.eq_ignore_ascii_case(id))
}
