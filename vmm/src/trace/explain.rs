//! An entry or a return of a trace, explained by the model from the file alone.

use super::exact::from_json;
use super::jsonl::VERSION;
use crate::entry::{Account, Exact};
use ia32::explain;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read as _};
use thiserror::Error;

/// Which line of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The entry with this number.
    Entry(u64),
    /// What the first return after the entry with this number did.
    Return(u64),
}

/// Why nothing can be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The file cannot be read.
    #[error("the trace cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is no trace.
    #[error("line {line} is no line of an esp0 trace ({reason})")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The trace has no such line.
    #[error("the trace has {0}")]
    Missing(String),
    /// The line has not what the model needs.
    #[error("#{0} has no state before and no memory in the trace: trace with --exact")]
    NotExact(u64),
}

/// Longer than any line of a trace.
const LONGEST: usize = 16 << 20;

/// Explains one line of the trace that `input` reads.
///
/// # Errors
/// [`ExplainError`] if it cannot be read, is no trace, or has no such line with what the model
/// needs.
pub fn explain_line(mut input: impl BufRead, line: Line) -> Result<String, ExplainError> {
    let (mut last, mut returns) = (0, false);
    for index in 0.. {
        let malformed = |reason: String| ExplainError::Malformed { line: index + 1, reason };
        let mut text = Vec::new();
        if (&mut input).take(LONGEST as u64 + 1).read_until(b'\n', &mut text)? == 0 {
            break;
        }
        if text.len() > LONGEST {
            return Err(malformed(format!("it is longer than {} MiB", LONGEST >> 20)));
        }
        let value: Value =
            serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if index == 0 {
            if value["format"].as_str() != Some("esp0-trace") {
                return Err(malformed("it has no header".into()));
            }
            if value["version"].as_u64() != Some(VERSION.into()) {
                let version = &value["version"];
                return Err(malformed(format!(
                    "its version is {version}, and this esp0 reads version {VERSION}"
                )));
            }
        }
        let (found, number) = match (value["type"].as_str(), line) {
            (Some("entry"), Line::Entry(number)) => (value["sequence"] == number, number),
            (Some("returned"), Line::Return(number)) => (value["after"] == number, number),
            _ => (false, 0),
        };
        if let (Some("return"), Line::Return(number)) = (value["type"].as_str(), line) {
            returns |= value["after"] == number;
        }
        if let Some(sequence) = value["sequence"].as_u64() {
            last = sequence;
        }
        if found {
            let exact = &value["exact"];
            if exact.is_null() {
                return Err(ExplainError::NotExact(number));
            }
            let exact = from_json(exact)
                .map_err(|field| malformed(format!("its {field} cannot be read")))?;
            return Ok(text_of(&exact));
        }
    }
    Err(ExplainError::Missing(match line {
        Line::Entry(number) => format!("no entry #{number}: the last is #{last}"),
        Line::Return(number) if returns => {
            format!("no account of the return after #{number}: trace with --exact")
        }
        Line::Return(number) => format!("no return after #{number}"),
    }))
}

/// The model's account of an entry or a return of exact mode, as the trace has it; none if it cannot be read.
pub(crate) fn account_of(exact: &Value) -> Option<String> {
    from_json(exact).ok().map(|exact| text_of(&exact))
}

/// The model's account, and what was seen beside it.
fn text_of(exact: &Exact) -> String {
    let Account { outcome, complete } = exact.account();
    let mut text = explain(&exact.before, &outcome).to_string();
    if !complete {
        text.push_str("        (memory that the model reads is not in the trace)\n");
    }
    text.push_str("\nmemory that changed (physical addresses)\n");
    for run in exact.changed.chunk_by(|one, next| {
        let owner = |address| outcome.writes.expect(address, 0).owner;
        one.address.checked_add(1) == Some(next.address)
            && owner(one.address) == owner(next.address)
    }) {
        let Some(first) = run.first() else { continue };
        let bytes = |value: fn(&crate::machine::ChangedByte) -> u8| {
            let bytes: Vec<String> =
                run.iter().map(|byte| format!("{:02x}", value(byte))).collect();
            bytes.join(" ")
        };
        let owner = outcome.writes.expect(first.address, first.before).owner;
        let owner = owner.map_or("nothing that the model writes".into(), |one| one.to_string());
        let _ = writeln!(
            text,
            "        {:08x}  {} → {}  {owner}",
            first.address,
            bytes(|byte| byte.before),
            bytes(|byte| byte.after),
        );
    }
    if exact.changed.is_empty() {
        text.push_str("        none\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"type":"header","format":"esp0-trace","version":1}"#;

    fn error(text: &str, line: Line) -> String {
        explain_line(text.as_bytes(), line).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_explained_is_said() {
        let entry = format!("{HEADER}\n{{\"type\":\"entry\",\"sequence\":3}}\n");
        assert!(error(&entry, Line::Entry(3)).contains("trace with --exact"));
        assert_eq!(error(&entry, Line::Entry(9)), "the trace has no entry #9: the last is #3");
        assert_eq!(error(&entry, Line::Return(3)), "the trace has no return after #3");
        assert!(error("ELF\n", Line::Entry(1)).starts_with("line 1 is no line of an esp0 trace"));
        assert!(error("{}\n", Line::Entry(1)).contains("it has no header"));
        let later = HEADER.replace("\"version\":1", "\"version\":99");
        assert!(error(&later, Line::Entry(1)).contains("its version is 99, and this esp0 reads"));
        let endless = " ".repeat(LONGEST + 2);
        assert!(error(&endless, Line::Entry(1)).contains("it is longer than 16 MiB"));
        let broken = format!("{HEADER}\n{{\"type\":\"entry\",\"sequence\":3,\"exact\":{{}}}}\n");
        assert!(error(&broken, Line::Entry(3)).contains("line 2"));
    }
}
