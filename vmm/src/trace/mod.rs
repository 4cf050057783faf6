//! Writes down what was seen and what the rules said. Sinks never influence what is checked.

mod colour;
mod console;
mod exact;
mod explain;
mod jsonl;
mod line;
mod picture;
mod report;
mod summary;
mod visible;

pub use colour::Colour;
pub use explain::{ExplainError, Line, explain_line};
pub use jsonl::{Header, JsonLines};
pub use line::{FindingText, event_name, task_name};
pub use picture::picture;
pub use report::{Frames, Lost, Report, Sink};
pub use summary::{Summary, Verdict};
pub use visible::{visible, visible_text};
