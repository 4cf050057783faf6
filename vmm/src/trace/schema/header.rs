//! The first line of a trace.

use super::{FORMAT, VERSION};
use serde::{Deserialize, Serialize};

/// What was run, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderRecord {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`] of the schema.
    pub version: u32,
    /// Version of the esp0 that wrote it.
    pub esp0: String,
    /// Who executed the guest: `silicon`, `tcg` or `emulated`.
    pub authority: String,
    /// KVM module, version of the processor model, the processor's name.
    pub backend: String,
    /// `real` or `deterministic`.
    pub clock: String,
    /// The kernel's file, or the name of the guest that esp0 carries.
    pub kernel: String,
    /// Its command line.
    pub command_line: String,
    /// Bytes of RAM.
    pub memory: u64,
    /// The guest was run in exact mode.
    #[serde(default)]
    pub exact: bool,
}

impl HeaderRecord {
    /// A header of this version, with nothing known of what is run.
    pub fn new() -> Self {
        HeaderRecord {
            format: FORMAT.into(),
            version: VERSION,
            esp0: env!("CARGO_PKG_VERSION").into(),
            authority: String::new(),
            backend: String::new(),
            clock: String::new(),
            kernel: String::new(),
            command_line: String::new(),
            memory: 0,
            exact: false,
        }
    }
}

impl Default for HeaderRecord {
    fn default() -> Self {
        Self::new()
    }
}
