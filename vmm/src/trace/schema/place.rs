//! Names of addresses.
//!
//! Symbols are an ornament: an address means the same without its name. They stand apart from the records that they
//! belong to, since a kernel is entered from the same few hundred places again and again.

use super::hex;
use serde::{Deserialize, Serialize};

/// The name of an address. It holds from here on, until another record names the same address for the same task
/// and use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRecord {
    /// Linear address.
    #[serde(with = "hex")]
    pub address: u32,
    /// What is named.
    #[serde(rename = "use")]
    pub used: PlaceUse,
    /// The task whose address it is, where tasks differ; 0 where no task is known.
    pub task: u32,
    /// The program, if it is not the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The symbol, demangled; empty where the address has no name any more.
    pub symbol: String,
    /// Bytes from its start.
    pub offset: u32,
    /// The source file's name without its folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// What a name is for. The same address may be the end of one thing and the start of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaceUse {
    /// The instruction that an entry interrupted, at the EIP that was pushed.
    Interrupted,
    /// The kernel's code: a handler's first instruction.
    Code,
    /// The end of a stack.
    Top,
}

impl PlaceRecord {
    /// The name and the offset, without the line: `writer: call::getpid+17`.
    pub fn short(&self) -> String {
        let program = self.program.as_deref().map_or(String::new(), |name| format!("{name}: "));
        format!("{program}{}+{}", self.symbol, self.offset)
    }
}

/// As [`crate::symbols::Place`]: `write+9 (user.c:41)`.
impl std::fmt::Display for PlaceRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.short())?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " ({file}:{line})"),
            _ => Ok(()),
        }
    }
}
