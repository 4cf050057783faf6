//! esp0 boots a 32-bit x86 kernel on KVM and checks, from outside, every entry into ring 0.

pub mod boot;
pub mod check;
pub mod claims;
pub mod conform;
pub mod devices;
pub mod entry;
pub mod guest;
pub mod guests;
pub mod host;
pub mod machine;
pub mod probe;
pub mod run;
pub mod sandbox;
pub mod symbols;
pub mod trace;
pub mod writer;
