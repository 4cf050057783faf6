//! What is known of the processor and the KVM below: all of it, and nothing else.
//!
//! A verdict is worth as much as the processor that gave it. [`Backend`] names it, [`processor()`] has what
//! the model must know of it, [`reported`] the form in which its KVM reports a state, and [`DEVIATIONS`] what
//! is known to be wrong with it. What it can do, [`crate::doctor`] tests.

mod authority;
mod backend;
mod deviation;
mod facts;
mod pace;
mod processor;
mod reported;

pub use authority::Authority;
pub use backend::{Backend, Version};
pub use deviation::{DEVIATIONS, Deviation};
pub use processor::processor;
pub(crate) use reported::granular;
pub use reported::reported;
