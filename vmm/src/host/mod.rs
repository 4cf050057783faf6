//! What kind of KVM this is: found by looking, and by running small guests.
//!
//! A verdict is worth as much as the processor that gave it. [`Backend`] names it; the doctor
//! tests what it can do.

mod backend;
mod deviation;
pub mod doctor;

pub use backend::{Authority, Backend, Version};
pub use deviation::{DEVIATIONS, Deviation};
