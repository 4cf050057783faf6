//! Conformance: is this processor, or this KVM, right?
//!
//! Random states of processor and memory meet one event, in KVM and in the model [`ia32`], and both
//! results are compared as a whole.

mod campaign;
mod case;
mod cost;
mod deviation;
mod field;
mod fit;
mod generate;
mod lab;
mod layout;
mod mismatch;
mod qemu;
mod random;
mod shrink;
mod start;
mod via;
mod world;

pub use campaign::{Found, Known, Plan, Summary, replay, run};
pub use case::{Case, NoCase, cases};
pub use cost::{Cost, cost};
pub use deviation::{CaseDeviation, deviations};
pub use fit::Unfit;
pub use lab::Lab;
pub use mismatch::{ByteDifference, Mismatch};
