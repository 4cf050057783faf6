//! An entry or a return of a trace, explained by the model from the file alone.

use super::schema::{ExactRecord, Record};
use super::{ReadError, TraceReader};
use crate::entry::{Account, Exact};
use ia32::explain;
use std::fmt::Write as _;
use std::io::BufRead;
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
    /// The trace cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What the model needs is there, and does not fit together.
    #[error("line {line} is no line of an esp0 trace (its {field} cannot be read)")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        field: &'static str,
    },
    /// The trace has no such line.
    #[error("the trace has {0}")]
    Missing(String),
    /// The line has not what the model needs.
    #[error("#{0} has no state before and no memory in the trace: trace with --exact")]
    NotExact(u64),
}

/// Explains one line of a trace.
///
/// # Errors
/// [`ExplainError`] if it cannot be read, or has no such line with what the model needs.
pub fn explain_line<R: BufRead>(
    mut trace: TraceReader<R>,
    line: Line,
) -> Result<String, ExplainError> {
    let (mut last, mut returns) = (0, false);
    while let Some(record) = trace.next_record()? {
        let (exact, number) = match (&record, line) {
            (Record::Entry(entry), Line::Entry(number)) if entry.sequence == number => {
                (&entry.exact, number)
            }
            (Record::Returned(returned), Line::Return(number)) if returned.after == number => {
                (&returned.exact, number)
            }
            (Record::Entry(entry), _) => {
                last = entry.sequence;
                continue;
            }
            (Record::Return(returning), Line::Return(number)) => {
                returns |= returning.after == number;
                continue;
            }
            _ => continue,
        };
        let Some(exact) = exact else { return Err(ExplainError::NotExact(number)) };
        let exact = exact
            .to_exact()
            .map_err(|field| ExplainError::Malformed { line: trace.line(), field })?;
        return Ok(text_of(&exact));
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
pub(crate) fn account_of(exact: &ExactRecord) -> Option<String> {
    exact.to_exact().ok().map(|exact| text_of(&exact))
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
    use super::super::schema::{EntryRecord, HeaderRecord, samples};
    use super::*;

    fn entries(sequences: &[u64]) -> Vec<u8> {
        let header = Record::Header(HeaderRecord::new());
        let (entry, _) = samples::some_entry([1; 40], [0, 0], 1);
        let mut bytes = header.to_line();
        for sequence in sequences {
            let record = EntryRecord { sequence: *sequence, ..EntryRecord::new(&entry, 1) };
            bytes.extend(Record::Entry(Box::new(record)).to_line());
        }
        bytes
    }

    fn error(bytes: &[u8], line: Line) -> String {
        let reader = TraceReader::new(bytes).unwrap();
        explain_line(reader, line).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_explained_is_said() {
        let trace = entries(&[2, 3]);
        assert!(error(&trace, Line::Entry(3)).contains("trace with --exact"));
        assert_eq!(error(&trace, Line::Entry(9)), "the trace has no entry #9: the last is #3");
        assert_eq!(error(&trace, Line::Return(3)), "the trace has no return after #3");
        let broken = [&trace, &b"{\"type\":\"entry\",\"sequence\":4}\n"[..]].concat();
        assert!(error(&broken, Line::Entry(4)).starts_with("line 4 is no line of an esp0 trace"));
    }

    /// Each number of a record in turn as large as it can be, and all at once: whatever is made of it, nothing panics.
    #[test]
    fn addresses_of_all_ones_are_explained_or_refused() {
        let exact = samples::all().into_iter().find_map(|record| match record {
            Record::Entry(entry) if entry.exact.is_some() => Some(*entry),
            _ => None,
        });
        let mut entry = exact.expect("one of the samples is exact");
        entry.sequence = 1;
        let header = Record::Header(HeaderRecord::new()).to_line();
        let line = String::from_utf8(Record::Entry(Box::new(entry)).to_line()).unwrap();
        let explained = |line: &str| {
            let trace = [&header, line.as_bytes()].concat();
            explain_line(TraceReader::new(&trace[..]).unwrap(), Line::Entry(1)).is_ok()
        };
        assert!(explained(&line));
        // Hexadecimal texts, by where they stand.
        let is_number = |text: &str| {
            !text.is_empty()
                && text.len() <= 16
                && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let parts: Vec<&str> = line.split('"').collect();
        let numbers: Vec<usize> = (0..parts.len()).filter(|n| is_number(parts[*n])).collect();
        assert!(numbers.len() > 5, "{line}");
        let ones = |changed: &dyn Fn(usize) -> bool| {
            let part = |(n, part): (usize, &&str)| match changed(n) && is_number(part) {
                true => "f".repeat(part.len()),
                false => (*part).to_owned(),
            };
            parts.iter().enumerate().map(part).collect::<Vec<_>>().join("\"")
        };
        let understood =
            numbers.iter().filter(|number| explained(&ones(&|n| n == **number))).count();
        assert!(understood > 5, "{understood}");
        let _ = explained(&ones(&|_| true));
    }
}
