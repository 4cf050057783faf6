//! Conformance: is this processor, or this KVM, right?
//!
//! Random states of processor and memory meet one event, in KVM and in the model [`ia32`], and both
//! results are compared as a whole: registers with their hidden parts, memory byte for byte.
//!
//! ```text
//!  seed ─► generate ─► Case ─► world: memory, state ─┬─► model ─► expectation ─┐
//!                       ▲                            └─► lab: KVM, one exit ───┴─► mismatch
//!                       └──────── shrink ◄──────── unless it is a known deviation ◄─┘
//! ```
//! | file | what it holds |
//! | --- | --- |
//! | `layout` | tables, tasks and stacks before a case changes them |
//! | `start`, `field`, `via`, `case` | a case, and its text |
//! | `fit` | which cases can be run and judged |
//! | `generate`, `random`, `shrink` | drawing cases, and making them small |
//! | `world` | the case's memory, and what the model expects |
//! | `lab` | how a case runs, stops and is undone |
//! | `mismatch`, `deviation`, `qemu` | what differed, and what of it is known |
//! | `campaign`, `cost` | many cases; what one costs |

mod campaign;
mod case;
mod compare;
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

pub use campaign::{Found, Known, Plan, Refused, Summary, replay, run};
pub use case::{Case, NoCase, cases};
pub use cost::{Cost, cost};
pub use fit::Unfit;
pub use lab::Lab;
pub use mismatch::{ByteDifference, Mismatch};
