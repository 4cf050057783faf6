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
//! | `compare`, `batch` | what it left behind, and what cases do to memory that is not their own |
//! | `mismatch`, `deviation`, `recogniser`, `qemu` | what differed, and what of it is known |
//! | `campaign`, `summary`, `cost` | many cases; what came of them; what one costs |
//! | `results` | what came of them, as text: to be kept, gone on with and put together |

mod batch;
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
mod recogniser;
mod results;
mod shrink;
mod start;
mod summary;
mod via;
mod world;

pub use campaign::{CHUNK, Means, Plan, replay, replay_with, run, run_with};
pub use case::{Case, NoCase, cases};
pub use cost::{Cost, cost};
pub use fit::Unfit;
pub use lab::Lab;
pub use mismatch::{ByteDifference, CaseMismatch};
pub use results::{
    Conflict, Met, Mismatching, NotTaken, Results, ResultsHeader, ResultsRecord, Stored, merge,
};
pub use summary::{FoundMismatch, MetDeviation, Refused, Summary};
