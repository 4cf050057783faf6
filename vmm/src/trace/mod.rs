//! Writes down what was seen and what the rules said. Sinks never influence what is checked.

mod colour;
mod console;
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
mod visible;
mod wrap;

pub use colour::Colour;
pub(crate) use explain::account_of;
pub use explain::{ExplainError, Line, explain_line};
pub use jsonl::{Header, JsonLines};
pub use line::{FindingText, event_name, task_name};
pub use picture::picture;
pub use registers::registers;
pub use report::{Frames, Lost, Report, Sink};
pub use summary::{Summary, Verdict};
pub(crate) use told::without_numbers;
pub use told::{FindingKind, Told};
pub use visible::{visible, visible_text};
