//! Writes down what was seen and what the rules said. Sinks never influence what is checked.

mod colour;
mod exact;
mod explain;
mod jsonl;
mod line;
mod names;
mod picture;
mod registers;
mod report;
mod summary;
mod told;
mod wrap;

pub use colour::Colour;
pub use explain::{ExplainError, Line, explain_line};
pub use jsonl::{Header, JsonLines};
pub use line::{FindingText, event_name, task_name};
pub use picture::picture;
pub use registers::registers;
pub use report::{Frames, Report};
pub use summary::{Summary, Verdict};
pub use told::{FindingKind, Told};
