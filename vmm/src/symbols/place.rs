//! What is at an address, in words.

use std::fmt;
use std::sync::Arc;

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The file's name without its folders.
    pub file: Arc<str>,
    /// Its whole path, as the compiler was given it.
    pub path: Option<Arc<str>>,
    /// The line, from 1.
    pub number: u32,
}

/// A function or an object, and how far into it an address lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The program that it belongs to; none for the kernel, or where several say the same.
    pub file: Option<Arc<str>>,
    /// The symbol's name, demangled.
    pub symbol: Arc<str>,
    /// Bytes from its start; its size for the end of an object.
    pub offset: u32,
    /// The line, if the file tells.
    pub line: Option<SourceLine>,
    /// It is code, not an object.
    pub is_code: bool,
}

impl Place {
    /// Another file has the same there.
    pub(super) fn says_the_same(&self, other: &Place) -> bool {
        (&self.symbol, self.offset, &self.line) == (&other.symbol, other.offset, &other.line)
    }

    /// The name and the offset without the line: `write+9`.
    pub fn short(&self) -> String {
        let program = self.file.as_deref().map_or(String::new(), |name| format!("{name}: "));
        format!("{program}{}+{}", self.symbol, self.offset)
    }
}

/// `write+9 (user.c:41)`, `compute: main+3 (compute.rs:9)`, `kstack+4096`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())?;
        match &self.line {
            Some(line) => write!(f, " ({}:{})", line.file, line.number),
            None => Ok(()),
        }
    }
}
