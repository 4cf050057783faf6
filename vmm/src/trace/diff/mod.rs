//! Holds two traces against each other, and explains where they part.
//!
//! They are aligned by their structure: which events came in which order, with which vector and rings, and what the
//! rules said. Time and addresses are no part of it, so two builds of a kernel, two kernels that are to do the same,
//! or one kernel on two processors can be compared. With [`Aspects::values`] the pushed words and registers count
//! too, which holds for the same kernel on the same clock only.
//!
//! ```text
//!  one    … int 80   iret   ext 20   iret   int 80 …
//!  other  … int 80   iret   #PF      iret   ext 20   iret   int 80 …
//!                           ▲ the first divergence       ▲ where they go on alike
//! ```

mod explain;
mod same;
mod side;
mod table;

use super::{ReadError, TraceReader};
use explain::explain;
use side::Side;
use std::fmt::Write as _;
use std::io::BufRead;
use table::difference;

/// How far behind a divergence it is looked for a place from which both go on alike.
const AHEAD: usize = 200;

/// What is compared beside the order of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aspects {
    /// Words of frames, registers, tasks, and the console.
    pub values: bool,
    /// External interrupts are passed over, and the returns from them: they come when a timer says so.
    pub without_interrupts: bool,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Events that are the same in both.
    pub same: u64,
    /// Where they part, in words; none if they do not.
    pub divergence: Option<String>,
}

/// Compares two traces, called by these names.
///
/// # Errors
/// [`ReadError`] and which one, if a line cannot be read.
pub fn diff<A: BufRead, B: BufRead>(
    mut traces: (TraceReader<A>, TraceReader<B>),
    names: [&str; 2],
    aspects: Aspects,
) -> Result<Difference, (usize, ReadError)> {
    let (mut one, mut other) = (Side::default(), Side::default());
    let mut same = 0;
    loop {
        one.fill(&mut traces.0, aspects, 1).map_err(|error| (0, error))?;
        other.fill(&mut traces.1, aspects, 1).map_err(|error| (1, error))?;
        let (next, others) = (one.ahead.front(), other.ahead.front());
        let (next, others) = match (next, others) {
            (None, None) => return Ok(Difference { same, divergence: None }),
            pair => pair,
        };
        let differs = difference(next, others, aspects);
        if differs.is_empty() {
            same += u64::from(next.is_some_and(|event| event.record.kind() != "end"));
            one.pass();
            other.pass();
            continue;
        }
        one.fill(&mut traces.0, aspects, AHEAD).map_err(|error| (0, error))?;
        other.fill(&mut traces.1, aspects, AHEAD).map_err(|error| (1, error))?;
        let headers = [traces.0.header(), traces.1.header()];
        let mut text = String::new();
        for (name, header) in names.iter().zip(headers) {
            let _ = writeln!(
                text,
                "{name}: {} on {}: {}",
                header.kernel, header.authority, header.backend
            );
        }
        text.push_str(&explain(names, [&one, &other], &differs, same, aspects));
        return Ok(Difference { same, divergence: Some(text) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Kind;
    use crate::trace::schema::{
        EndRecord, EntryRecord, HeaderRecord, Record, ReturnRecord, samples,
    };

    /// A trace of entries by these vectors, each with its return.
    fn trace(vectors: &[u8], eax: u32) -> Vec<u8> {
        let mut bytes = Record::Header(HeaderRecord::new()).to_line();
        for (sequence, vector) in (1..).zip(vectors) {
            let mut words = [1; 40];
            words[20] = 0x50;
            let (entry, _) = samples::some_entry(words, [sequence, 10 * sequence], 1);
            let kind = if *vector == 0x20 { Kind::External } else { Kind::Software };
            let record = EntryRecord { vector: *vector, kind, eax, ..EntryRecord::new(&entry, 1) };
            bytes.extend(Record::Entry(Box::new(record)).to_line());
            let (returning, _) = samples::some_return(words, [sequence, 10 * sequence + 1], 1);
            bytes.extend(Record::Return(Box::new(ReturnRecord::new(&returning, 1))).to_line());
        }
        let end = EndRecord { findings: Vec::new(), ..samples::end() };
        bytes.extend(Record::End(Box::new(end)).to_line());
        bytes
    }

    fn compared(one: &[u8], other: &[u8], aspects: Aspects) -> Difference {
        let traces = (TraceReader::new(one).unwrap(), TraceReader::new(other).unwrap());
        diff(traces, ["one", "other"], aspects).unwrap()
    }

    const STRUCTURE: Aspects = Aspects { values: false, without_interrupts: false };
    const VALUES: Aspects = Aspects { values: true, without_interrupts: false };

    #[test]
    fn a_trace_does_not_differ_from_itself() {
        let one = trace(&[0x80, 0x20, 0x80], 1);
        for aspects in [STRUCTURE, VALUES] {
            assert_eq!(compared(&one, &one, aspects), Difference { same: 6, divergence: None });
        }
    }

    #[test]
    fn registers_count_where_values_are_asked_for() {
        let (one, other) = (trace(&[0x80, 0x80], 1), trace(&[0x80, 0x80], 2));
        assert_eq!(compared(&one, &other, STRUCTURE).divergence, None);
        let text = compared(&one, &other, VALUES).divergence.unwrap();
        assert!(text.contains("EAX differs"), "{text}");
        assert!(text.contains("> EAX           00000001"), "{text}");
    }

    #[test]
    fn what_only_one_has_is_named_and_where_they_go_on() {
        let one = trace(&[0x80, 0x80, 0x20, 0x80, 0x80, 0x81, 0x80, 0x80], 1);
        let other = trace(&[0x80, 0x80, 0x80, 0x80, 0x81, 0x80, 0x80], 1);
        let difference = compared(&one, &other, STRUCTURE);
        assert_eq!(difference.same, 4);
        let text = difference.divergence.unwrap();
        for part in [
            "line 6 of one and line 6 of other: event differs",
            "right before it, in both: IRET",
            "> event         external 0x20",
            "only in one: 2 events: #3 external 0x20",
            "they go on alike from line 8 and line 6",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        let without = Aspects { without_interrupts: true, ..STRUCTURE };
        assert_eq!(compared(&one, &other, without).divergence, None);
    }

    #[test]
    fn a_trace_that_was_cut_off_differs_from_the_whole_one() {
        let one = trace(&[0x80, 0x80], 1);
        let cut = &one[..one.len() - 2];
        let text = compared(&one, cut, STRUCTURE).divergence.unwrap();
        assert!(text.contains("the end of other, which was cut off"), "{text}");
        assert!(text.contains("nothing: the trace ends here"), "{text}");
    }
}
