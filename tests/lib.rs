//! What the tests on KVM share.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `host` | what the KVM below can do, found out once |
//! | `experiment` | a guest, and how it is to be run |
//! | `seen` | all that was seen while it ran, and the questions that tests ask of it |
//! | `words` | the two frames that a failing test prints: expected and pushed |
//! | `kernels` | kernels and programs of a few instructions, made here from bytes |
//! | `compiled` | kernels in C, built by this machine's compiler |
//! | `measured` | what a benchmark of one of those begins and ends with |
//! | `binary` | the program `esp0` itself, as a user starts it |

pub mod binary;
pub mod compiled;
pub mod experiment;
pub mod host;
pub mod kernels;
mod measured;
pub mod seen;
mod staged;
pub mod words;

pub use binary::{Output, esp0};
pub use compiled::{case, compiled, compiled_to_debug, mended, stripped};
pub use experiment::Experiment;
pub use host::host;
pub use measured::measured;
pub use seen::{Event, Seen};
