//! Where a trace goes.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// A file, as it is or compressed.
pub enum Output {
    /// Lines as they are.
    Plain(File),
    /// Compressed by Zstandard.
    #[cfg(feature = "program")]
    Zstandard(Box<zstd::Encoder<'static, File>>),
    /// Compressed, and complete.
    Ended,
}

impl Output {
    /// Into `file`, whose name tells whether it is compressed.
    ///
    /// # Errors
    /// If compression was asked for and cannot be set up.
    pub fn by_name(file: File, name: &Path) -> io::Result<Self> {
        if !is_compressed(name) {
            return Ok(Output::Plain(file));
        }
        #[cfg(feature = "program")]
        return Ok(Output::Zstandard(Box::new(zstd::Encoder::new(file, LEVEL)?)));
        #[cfg(not(feature = "program"))]
        Err(io::Error::other("this esp0 was built without Zstandard"))
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Output::Plain(file) => file.write_all(bytes),
            #[cfg(feature = "program")]
            Output::Zstandard(encoder) => encoder.write_all(bytes),
            Output::Ended => Ok(()),
        }
    }

    /// Nothing more is written.
    ///
    /// # Errors
    /// If what is left cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(self, Output::Ended) {
            #[cfg(feature = "program")]
            Output::Zstandard(encoder) => encoder.finish().map(drop),
            other => {
                *self = other;
                Ok(())
            }
        }
    }
}

/// As fast as it gets: traces are alike line by line, and any level shrinks them to a twentieth.
#[cfg(feature = "program")]
const LEVEL: i32 = 1;

/// The name is that of a compressed trace.
pub(crate) fn is_compressed(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zst"))
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Output::Plain(_) => "Plain",
            #[cfg(feature = "program")]
            Output::Zstandard(_) => "Zstandard",
            Output::Ended => "Ended",
        })
    }
}
