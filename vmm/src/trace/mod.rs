//! Writes down what was seen and what the rules said, and reads it again.
//!
//! ```text
//!  Judged ──► Report ─┬─► Terminal      lines, drawings, findings, summary
//!             (sink)  ├─► JsonLines     the trace
//!                     └─► raw console
//!  a trace ──► TraceReader ──► show (the same Terminal), stats, diff, Perfetto, explain, report page
//! ```
//! The records in [`schema`] are the one form of what is told: lines and drawings are made of them, live and out of a
//! file. Sinks never influence what is checked.

mod cause_text;
mod colour;
mod console;
mod described;
mod diff;
mod explain;
mod finding_text;
mod frame_names;
mod jsonl;
mod layout;
mod line;
mod names;
mod perfetto;
mod picture;
mod places;
mod reader;
mod registers;
mod report;
pub mod schema;
mod screen;
mod show;
mod stats;
mod summary;
mod terminal;
mod told;
mod visible;
mod wrap;

pub use cause_text::cause_text;
pub use colour::Colour;
pub use diff::{Aspects, TraceDifference, diff};
pub(crate) use explain::account_of;
pub use explain::{ExplainError, Line, explain_line};
pub use finding_text::FindingText;
pub use frame_names::FrameNames;
pub use jsonl::{JsonLines, Output as TraceOutput};
pub(crate) use layout::vocabulary;
pub use line::{event_name, task_name};
pub use perfetto::{ConvertError, to_perfetto};
pub use picture::picture;
pub use places::KnownPlaces;
pub use reader::{ReadError, TraceReader};
#[cfg(feature = "program")]
pub(crate) use registers::now as registers_now;
pub(crate) use registers::registers;
#[cfg(feature = "program")]
pub(crate) use report::LastEntries;
pub use report::{Lost, LostOutput, Report};
pub use screen::screen;
pub use show::{Shown, show};
pub use stats::{Stats, stats};
pub(crate) use summary::summary;
pub use summary::{ending_in_words, verdict_line};
pub use terminal::{Frames, Style};
pub(crate) use told::without_numbers;
pub use told::{FindingKind, Told};
pub use visible::{visible, visible_text};
