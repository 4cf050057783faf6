//! Holds two traces against each other, and explains where they part.
//!
//! They are aligned by their structure: which events came in which order, with which vector and rings, and what the
//! rules said; and by what no build of a kernel changes (`kept`): selectors, the system's flags, error codes, what kind of
//! gate it was, deviations of the processor. Time and addresses are no part of it, so two builds of a kernel, or one kernel
//! on two processors can be compared. With [`Aspects::values`] addresses and registers count too, which holds for the
//! same kernel on the same clock only.
//!
//! ```text
//!  one    … int 80   iret   ext 20   iret   int 80 …
//!  other  … int 80   iret   #PF      iret   ext 20   iret   int 80 …
//!                           ▲ the first divergence       ▲ where they go on alike
//! ```
//! What a divergence led to is often said only later, by a finding at the run's end: those that one has and the other has not
//! are told as well.

mod drawn;
mod explain;
mod found;
mod kept;
mod same;
mod side;
mod table;

use super::schema::HeaderRecord;
use super::{ReadError, TraceReader};
use explain::explain;
use found::Found;
use side::Side;
use std::fmt::Write as _;
use std::io::BufRead;
use table::difference;

/// How far behind a divergence it is looked for a place from which both go on alike.
const AHEAD: usize = 200;

/// What is compared beside the order of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aspects {
    /// All words of frames, registers, tasks, and the console.
    pub values: bool,
    /// External interrupts are passed over, and the returns from them: they come when a timer says so.
    pub without_interrupts: bool,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceDifference {
    /// Events that are the same in both.
    pub same: u64,
    /// Where they part, in words; none if they do not.
    pub divergence: Option<String>,
    /// Who executed each, where that is not the same: what was compared says less then, or more.
    pub authorities: Option<String>,
}

/// Compares two traces, called by these names.
///
/// # Errors
/// [`ReadError`] and which one, if a line cannot be read.
pub fn diff<A: BufRead, B: BufRead>(
    mut traces: (TraceReader<A>, TraceReader<B>),
    names: [&str; 2],
    aspects: Aspects,
) -> Result<TraceDifference, (usize, ReadError)> {
    let (mut one, mut other) = (Side::default(), Side::default());
    let mut same = 0;
    let authorities = {
        let [one, other] = [traces.0.header(), traces.1.header()];
        (one.authority != other.authority)
            .then(|| format!("the authorities differ: {} and {}", one.authority, other.authority))
    };
    loop {
        one.fill(&mut traces.0, aspects, 1).map_err(|error| (0, error))?;
        other.fill(&mut traces.1, aspects, 1).map_err(|error| (1, error))?;
        let (next, others) = (one.ahead.front(), other.ahead.front());
        let (next, others) = match (next, others) {
            (None, None) => return Ok(TraceDifference { same, divergence: None, authorities }),
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
        text.push_str(&explain(names, [&one, &other], &differs, same, aspects, clocks(headers)));
        let found = [Found::of(&one, &mut traces.0), Found::of(&other, &mut traces.1)];
        text.push_str(&found::of_one_alone(names, &found));
        return Ok(TraceDifference { same, divergence: Some(text), authorities });
    }
}

/// The clocks of both traces; none where interrupts come at the same place in both.
fn clocks([one, other]: [&HeaderRecord; 2]) -> Option<String> {
    let is_fixed = one.clock == other.clock && one.clock != "real";
    (!is_fixed).then(|| match one.clock == other.clock {
        true => one.clock.clone(),
        false => format!("{} and {}", one.clock, other.clock),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Kind;
    use crate::trace::schema::{
        EndRecord, EntryRecord, FindingRecord, HeaderRecord, Record, ReturnRecord, samples,
    };
    use ia32::Word;

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

    fn compared(one: &[u8], other: &[u8], aspects: Aspects) -> TraceDifference {
        let traces = (TraceReader::new(one).unwrap(), TraceReader::new(other).unwrap());
        diff(traces, ["one", "other"], aspects).unwrap()
    }

    const STRUCTURE: Aspects = Aspects { values: false, without_interrupts: false };
    const VALUES: Aspects = Aspects { values: true, without_interrupts: false };

    #[test]
    fn a_trace_does_not_differ_from_itself() {
        let one = trace(&[0x80, 0x20, 0x80], 1);
        for aspects in [STRUCTURE, VALUES] {
            let expected = TraceDifference { same: 6, divergence: None, authorities: None };
            assert_eq!(compared(&one, &one, aspects), expected);
        }
    }

    #[test]
    fn traces_that_part_at_an_interrupt_are_told_whose_doing_that_is() {
        let part = |clock: &str| {
            let header = HeaderRecord { clock: clock.into(), ..HeaderRecord::new() };
            let header = Record::Header(header).to_line();
            let [one, other] =
                [(&[0x80, 0x20][..], 1), (&[0x80, 0x80], 2)].map(|(vectors, eax)| {
                    let all = trace(vectors, eax);
                    let rest = all.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
                    [&header[..], &all[rest..]].concat()
                });
            compared(&one, &other, STRUCTURE).divergence.unwrap()
        };
        let text = part("real");
        assert!(text.contains("is the clock's doing (real): --without-interrupts"), "{text}");
        assert!(text.contains("> is where they part"), "{text}");
        assert!(!part("deterministic").contains("the clock's doing"));
    }

    #[test]
    fn registers_count_where_values_are_asked_for() {
        let (one, other) = (trace(&[0x80, 0x80], 1), trace(&[0x80, 0x80], 2));
        assert_eq!(compared(&one, &other, STRUCTURE).divergence, None);
        let text = compared(&one, &other, VALUES).divergence.unwrap();
        assert!(text.contains("EAX differs"), "{text}");
        assert!(text.contains("> EAX           00000001"), "{text}");
    }

    fn records(bytes: &[u8]) -> Vec<Record> {
        let mut reader = TraceReader::new(bytes).unwrap();
        std::iter::from_fn(|| reader.next_record().unwrap()).collect()
    }

    /// The trace with its first entry changed.
    fn with_entry(change: impl Fn(&mut EntryRecord)) -> Vec<u8> {
        let mut records = records(&trace(&[0x80, 0x80], 1));
        let mut bytes = Record::Header(HeaderRecord::new()).to_line();
        let mut first = true;
        for record in &mut records {
            if let Record::Entry(entry) = record
                && std::mem::take(&mut first)
            {
                change(entry);
            }
            bytes.extend(record.to_line());
        }
        bytes
    }

    fn set(frame: &mut crate::trace::schema::FrameRecord, word: Word, change: fn(u32) -> u32) {
        for (_, value) in frame.words.iter_mut().filter(|(one, _)| *one == word) {
            *value = value.map(change);
        }
    }

    #[test]
    fn two_processors_that_differ_in_rf_alone_differ_and_both_frames_are_drawn() {
        let one = trace(&[0x80, 0x80], 1);
        let other = with_entry(|entry| set(&mut entry.frame, Word::Eflags, |old| old ^ 0x1_0000));
        let text = compared(&one, &other, STRUCTURE).divergence.unwrap();
        assert!(text.contains("EFLAGS differs in RF: "), "{text}");
        assert!(!text.contains("only in"), "both have it: {text}");
        assert!(text.contains("they go on alike from line 3 and line 3"), "{text}");
        assert!(text.contains("> EFLAGS "), "{text}");
        assert_eq!(text.matches("┌──").count(), 2, "{text}");
        assert!(text.contains("\none:\n") && text.contains("\nother:\n"), "{text}");
    }

    #[test]
    fn what_no_build_changes_counts_and_addresses_do_not() {
        let one = trace(&[0x80, 0x80], 1);
        type Change = fn(&mut EntryRecord);
        let counts: [(&str, Change); 6] = [
            ("CS", |entry| set(&mut entry.frame, Word::Cs, |old| old | 0xffff_0000)),
            ("SS", |entry| set(&mut entry.frame, Word::Ss, |old| old ^ 8)),
            ("EFLAGS", |entry| set(&mut entry.frame, Word::Eflags, |old| old ^ 0x200)),
            ("gate", |entry| entry.gate ^= 1 << 40),
            ("SS, SS0", |entry| entry.ss0 ^= 8),
            ("EFLAGS after", |entry| entry.eflags ^= 0x100),
        ];
        for (name, change) in counts {
            let text = compared(&one, &with_entry(change), STRUCTURE).divergence.unwrap();
            assert!(text.contains(&format!(": {name} differs\n")), "{name}: {text}");
        }
        let moved = with_entry(|entry| {
            set(&mut entry.frame, Word::Eip, |old| old + 64);
            set(&mut entry.frame, Word::Esp, |old| old + 64);
            set(&mut entry.frame, Word::Eflags, |old| old ^ 0x41);
            entry.frame.address += 4096;
            entry.esp0 += 4096;
            entry.eax += 1;
        });
        assert_eq!(compared(&one, &moved, STRUCTURE).divergence, None);
        assert!(compared(&one, &moved, VALUES).divergence.is_some());
    }

    #[test]
    fn that_another_authority_has_executed_it_is_told_even_if_all_is_the_same() {
        let one = trace(&[0x80], 1);
        let text = String::from_utf8(one.clone()).unwrap();
        let header = HeaderRecord::new();
        let authority = |name: &str| format!("\"authority\":\"{name}\"");
        let other = text.replacen(&authority(&header.authority), &authority("silicon"), 1);
        let difference = compared(&one, other.as_bytes(), STRUCTURE);
        assert_eq!(difference.divergence, None);
        assert!(difference.authorities.unwrap().contains("silicon"));
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
    fn what_was_found_later_and_in_one_alone_is_told() {
        let ending = |bytes: &[u8], sentence: &str| {
            let mut out = Record::Header(HeaderRecord::new()).to_line();
            for mut record in records(bytes) {
                if let Record::End(end) = &mut record {
                    let finding = samples::end().findings.into_iter().next().unwrap();
                    let finding = FindingRecord { sentence: sentence.into(), ..finding };
                    end.findings = vec![finding];
                }
                out.extend(record.to_line());
            }
            out
        };
        let one = ending(&trace(&[0x80, 0x80], 1), "the kernel stopped itself after #3");
        let other = ending(&trace(&[0x80, 0x0d], 1), "the kernel stopped itself after #4");
        let text = compared(&one, &other, STRUCTURE).divergence.unwrap();
        assert!(!text.contains("found in"), "but for a number it is in both: {text}");
        let other = ending(&trace(&[0x80, 0x0d], 1), "the gate has DPL 0");
        let text = compared(&one, &other, STRUCTURE).divergence.unwrap();
        for part in ["found in one only:", "found in other only:", "the gate has DPL 0", "rule "] {
            assert!(text.contains(part), "no {part} in {text}");
        }
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
