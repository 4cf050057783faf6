//! The report page: a run as one file that a browser opens from disk.
//!
//! A page is made from a trace and from nothing else, by `esp0 run --report` as by `esp0 trace report`. A run
//! that writes one keeps a trace of its own for it, with a second kind of line between the others:
//! [`Recorder`] looks at stacks and code while the guest stands still. The code that findings are about is in
//! every trace: [`CodeReader`].
//! ```text
//!  run ─► trace ─┬─► Data: stops in columns, causes ─► JSON ─┐
//!    └─► detail ─┘                                           ├─► one HTML file
//!                              assets: page, style, scripts ─┘
//! ```
//! What a guest prints, and what its symbols are called, is the guest's to choose, and whoever opens the page
//! is somebody else. So all of it is data: JSON without a `<`, which the script puts into the document as
//! text. The page's policy lets run the one script whose hash it names, takes no other style, and reaches no
//! network.

mod code;
mod columns;
mod data;
mod events;
mod findings;
mod html;
mod naming;
mod place;
mod readable;
mod record;
mod recorder;
mod source;
mod stacks;
#[cfg(test)]
mod tests;

pub use place::{CodeReader, Standing, most_telling};
pub use record::ReportError;
pub use recorder::Recorder;
pub use source::Sources;

use crate::trace::TraceReader;
use data::Data;
use std::io::{self, BufRead, Write};

/// A trace that has been read, ready to become a page.
#[derive(Debug)]
pub struct Page(Data);

/// Reads a trace.
///
/// # Errors
/// [`ReportError`] if it cannot be read, or is too long.
pub fn read<R: BufRead>(trace: TraceReader<R>) -> Result<Page, ReportError> {
    Data::read(trace).map(Page)
}

impl Page {
    /// Adds claims and what guests showed of them: what `esp0 claims --json` writes.
    ///
    /// # Errors
    /// [`ReportError::NoClaims`] if it is something else.
    pub fn with_claims(mut self, claims: serde_json::Value) -> Result<Self, ReportError> {
        if claims["format"] != "esp0-claims" || !claims["claims"].is_array() {
            return Err(ReportError::NoClaims);
        }
        self.0.claims(claims);
        Ok(self)
    }

    /// Writes the page.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        html::write(&self.0, out)
    }
}
