//! esp0 boots a 32-bit x86 kernel on KVM and checks, from outside, every entry into ring 0.
//!
//! A kernel's own tests use [`guest::Guest`]: boot, run to an entry, a text or an address, look and change, go
//! back, and assert that nothing is wrong. They want no default features:
//! ```toml
//! [dev-dependencies]
//! esp0 = { path = "…/esp0/vmm", default-features = false }
//! ```
//! and, where the machine has no KVM on hardware, one line in `.cargo/config.toml`, which runs tests in a
//! KVM that esp0 brings along (`scripts/setup` fetches what it needs):
//! ```toml
//! target.x86_64-unknown-linux-gnu.runner = ["…/esp0/scripts/kvm-host", "--"]
//! ```

#[cfg(feature = "program")]
pub mod attestation;
pub mod boot;
pub mod check;
#[cfg(feature = "program")]
pub mod claims;
pub mod conform;
pub mod devices;
pub mod doctor;
pub mod entry;
#[cfg(feature = "program")]
pub mod gdb;
pub mod guest;
#[cfg(feature = "program")]
pub mod guests;
pub mod host;
pub mod instruction;
pub mod machine;
pub mod probe;
pub mod recording;
pub mod report;
pub mod retrace;
pub mod run;
#[cfg(feature = "program")]
pub mod sandbox;
pub mod symbols;
pub mod timeline;
pub mod trace;

pub use ia32;
