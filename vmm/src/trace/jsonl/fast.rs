//! The two hot lines, an entry and a return, without serde.
//!
//! A line is a copy of a template into which the digits are written: an entry of 26 numbers costs a few hundred
//! instructions. Counts are padded with spaces on the left, which JSON allows. Whatever has findings, notes, or what
//! exact mode needs goes the long way; a known deviation of the processor model, which every tick may show, does not.

use super::super::schema::OriginName;
use super::template::{Template, fill, hex8};
use crate::check::Judgement;
use crate::entry::{Entry, Frame, InnerStack, Return};
use ia32::Word;

/// The part of an entry that is always there. `~` stands for a hexadecimal digit, `%` for one of a
/// right-aligned decimal number.
const ENTRY: Template<26, { ENTRY_TEXT.len() }> = Template::new(ENTRY_TEXT);
const ENTRY_TEXT: &str = concat!(
    r#"{"type":"entry","sequence":%%%%%%%%,"time":%%%%%%%%%%,"task":%%%,"vector":"~~","#,
    r#""from_ring":%,"to_ring":%,"gate":"~~~~~~~~~~~~~~~~","eflags":"~~~~~~~~","ss":"~~~~","#,
    r#""esp":"~~~~~~~~","ss0":"~~~~","esp0":"~~~~~~~~","eax":"~~~~~~~~","ecx":"~~~~~~~~","#,
    r#""edx":"~~~~~~~~","ebx":"~~~~~~~~","ebp":"~~~~~~~~","esi":"~~~~~~~~","edi":"~~~~~~~~","#,
    r#""ds":"~~~~","es":"~~~~","fs":"~~~~","gs":"~~~~","tr":"~~~~","cr2":"~~~~~~~~","#,
    r#""cr3":"~~~~~~~~","frame":{"#,
);

/// The part of a return that is always there.
const RETURN: Template<5, { RETURN_TEXT.len() }> = Template::new(RETURN_TEXT);
const RETURN_TEXT: &str = concat!(
    r#"{"type":"return","after":%%%%%%%%,"time":%%%%%%%%%%,"task":%%%,"from_ring":%,"#,
    r#""to_ring":%,"frame":{"#,
);

/// The usual frame, of five words of four bytes.
const FIVE_WORDS: Template<6, { FIVE_WORDS_TEXT.len() }> = Template::new(FIVE_WORDS_TEXT);
const FIVE_WORDS_TEXT: &str = concat!(
    r#""address":"~~~~~~~~","ss":"~~~~~~~~","esp":"~~~~~~~~","eflags":"~~~~~~~~","#,
    r#""cs":"~~~~~~~~","eip":"~~~~~~~~"}"#,
);

/// The control registers that seldom change.
const CONTROL: Template<2, { CONTROL_TEXT.len() }> = Template::new(CONTROL_TEXT);
const CONTROL_TEXT: &str = r#","cr0":"~~~~~~~~","cr4":"~~~~~~~~""#;

/// What an entry from a stack segment of the LDT adds to it.
const LDT: Template<2, { LDT_TEXT.len() }> = Template::new(LDT_TEXT);
const LDT_TEXT: &str = r#","ldtr":"~~~~","linear_stack":"~~~~~~~~""#;

/// What is known of the code beside it.
const LDT_CODE: Template<1, { LDT_CODE_TEXT.len() }> = Template::new(LDT_CODE_TEXT);
const LDT_CODE_TEXT: &str = r#","linear_code":"~~~~~~~~""#;

/// Where an IRET is.
const AT: Template<1, { AT_TEXT.len() }> = Template::new(AT_TEXT);
const AT_TEXT: &str = r#","at":"~~~~~~~~""#;

/// What the state before an event adds to an entry.
const BEFORE: Template<5, { BEFORE_TEXT.len() }> = Template::new(BEFORE_TEXT);
const BEFORE_TEXT: &str =
    r#","before":{"cs":"~~~~","eip":"~~~~~~~~","eflags":"~~~~~~~~","ss":"~~~~","esp":"~~~~~~~~"}"#;

/// The hot line has all of it.
#[inline]
pub(super) fn takes_entry(entry: &Entry, judgement: &Judgement) -> bool {
    entry.exact.is_none() && takes_return(judgement)
}

/// The same of a return.
#[inline]
pub(super) fn takes_return(judgement: &Judgement) -> bool {
    judgement.findings.is_empty() && judgement.notes.is_empty()
}

/// Appends the line of an entry; CR0 and CR4 where they are new.
#[inline]
pub(super) fn entry(
    line: &mut Vec<u8>,
    entry: &Entry,
    judgement: &Judgement,
    control: Option<(u32, u32)>,
) {
    let after = &entry.after;
    let general = &after.general;
    let [es, _, _, ds, fs, gs] = after.segments.each_ref().map(|one| u64::from(one.selector));
    let stack = entry.inner_stack.unwrap_or(InnerStack { ss: 0, esp: 0 });
    let (start, task) = (line.len(), judgement.task.map_or(0, |task| u64::from(task.0)));
    fill!(
        line,
        ENTRY,
        [
            entry.sequence,
            entry.time,
            task,
            u64::from(entry.vector.0),
            u64::from(entry.origin.ring),
            u64::from(after.cpl()),
            entry.gate.encode(),
            u64::from(after.eflags.0),
            u64::from(after.ss().selector),
            u64::from(general.esp),
            u64::from(stack.ss),
            u64::from(stack.esp),
            u64::from(general.eax),
            u64::from(general.ecx),
            u64::from(general.edx),
            u64::from(general.ebx),
            u64::from(general.ebp),
            u64::from(general.esi),
            u64::from(general.edi),
            ds,
            es,
            fs,
            gs,
            u64::from(after.tr.selector),
            u64::from(after.cr2),
            u64::from(after.cr3)
        ]
    );
    if entry.sequence >= WIDEST[0] || entry.time >= WIDEST[1] || task >= WIDEST[2] {
        let values = [("sequence", entry.sequence), ("time", entry.time), ("task", task)];
        widen(line, start, &values);
    }
    words(line, &entry.frame);
    if let Some((cr0, cr4)) = control {
        fill!(line, CONTROL, [u64::from(cr0), u64::from(cr4)]);
    }
    text(line, ",\"kind\":\"");
    text(line, entry.kind.name());
    text(line, "\",\"origin\":\"");
    text(line, OriginName::from(entry.origin).name());
    text(line, "\"");
    if let Some(stack) = entry.ldt_stack {
        fill!(line, LDT, [u64::from(after.ldtr.selector), u64::from(stack)]);
        if let Some(code) = entry.code.linear {
            fill!(line, LDT_CODE, [u64::from(code)]);
        }
    }
    if let Some(before) = &entry.before {
        fill!(
            line,
            BEFORE,
            [
                u64::from(before.cs().selector),
                u64::from(before.eip),
                u64::from(before.eflags.0),
                u64::from(before.ss().selector),
                u64::from(before.general.esp)
            ]
        );
    }
    judged(line, judgement);
}

/// Appends the line of a return.
#[inline]
pub(super) fn leave(line: &mut Vec<u8>, returning: &Return, judgement: &Judgement) {
    let state = &returning.state;
    let (start, task) = (line.len(), judgement.task.map_or(0, |task| u64::from(task.0)));
    fill!(
        line,
        RETURN,
        [
            returning.after_sequence,
            returning.time,
            task,
            u64::from(state.cpl()),
            u64::from(returning.ring())
        ]
    );
    if returning.after_sequence >= WIDEST[0] || returning.time >= WIDEST[1] || task >= WIDEST[2] {
        let values =
            [("after", returning.after_sequence), ("time", returning.time), ("task", task)];
        widen(line, start, &values);
    }
    words(line, &returning.frame);
    fill!(line, AT, [u64::from(state.eip)]);
    judged(line, judgement);
}

/// The verdict, which is right, and the end of the line.
#[inline]
fn judged(line: &mut Vec<u8>, judgement: &Judgement) {
    text(line, ",\"verdict\":\"ok\"");
    if !judgement.deviations.is_empty() {
        text(line, ",\"deviations\":[");
        for (index, deviation) in judgement.deviations.iter().enumerate() {
            // Names of deviations are words with hyphens.
            text(line, if index == 0 { "\"" } else { ",\"" });
            text(line, deviation.name);
            text(line, "\"");
        }
        text(line, "]");
    }
    text(line, "}\n");
}

/// The first sequence number, time and task that the templates have no room for.
const WIDEST: [u64; 3] = [100_000_000, 10_000_000_000, 1_000];

/// Writes numbers that are too wide for their gaps in place of what stands there, in the line that
/// begins at `start`.
#[cold]
fn widen(line: &mut Vec<u8>, start: usize, values: &[(&str, u64)]) {
    for (name, value) in values {
        let field = format!("\"{name}\":");
        let found = line[start..].windows(field.len()).position(|at| at == field.as_bytes());
        let Some(at) = found.map(|at| start + at + field.len()) else { continue };
        let end = line[at..].iter().position(|byte| *byte == b',').map_or(at, |end| at + end);
        line.splice(at..end, value.to_string().into_bytes());
    }
}

/// The words by name, from the highest address to the lowest: in the order in which they were
/// pushed.
#[inline]
fn words(line: &mut Vec<u8>, frame: &Frame) {
    if let ([eip, cs, eflags, esp, ss], true, 4) =
        (frame.values(), frame.complete(), frame.shape.word_size)
        && !frame.shape.error_code
    {
        fill!(
            line,
            FIVE_WORDS,
            [
                u64::from(frame.address),
                u64::from(*ss),
                u64::from(*esp),
                u64::from(*eflags),
                u64::from(*cs),
                u64::from(*eip)
            ]
        );
        return;
    }
    text(line, "\"address\":\"");
    line.extend_from_slice(&hex8(frame.address));
    line.push(b'"');
    if frame.shape.word_size == 2 {
        text(line, ",\"word_size\":2");
    }
    for (word, value) in frame.words().rev() {
        text(
            line,
            match word {
                Word::ErrorCode => ",\"error_code\":",
                Word::Eip => ",\"eip\":",
                Word::Cs => ",\"cs\":",
                Word::Eflags => ",\"eflags\":",
                Word::Esp => ",\"esp\":",
                Word::Ss => ",\"ss\":",
                Word::Es => ",\"es\":",
                Word::Ds => ",\"ds\":",
                Word::Fs => ",\"fs\":",
                Word::Gs => ",\"gs\":",
            },
        );
        match value {
            Some(value) => {
                let mut quoted = [b'"'; 10];
                quoted[1..9].copy_from_slice(&hex8(value));
                line.extend_from_slice(&quoted);
            }
            None => text(line, "null"),
        }
    }
    text(line, "}");
}

#[inline(always)]
fn text(line: &mut Vec<u8>, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::schema::samples::{some_entry, some_return};
    use crate::trace::schema::{EntryRecord, Record, ReturnRecord};
    use proptest::prelude::*;
    use serde_json::Value;

    fn value(line: &[u8]) -> Value {
        serde_json::from_slice(line).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(line));
        })
    }

    /// The hot line and the one that serde writes are the same JSON, and the hot one is read as the record.
    fn assert_same(hot: &[u8], record: Record) {
        assert!(hot.ends_with(b"}\n"));
        assert_eq!(value(hot), value(&record.to_line()));
        assert_eq!(Record::from_line(hot).unwrap(), Some(record));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_hot_entry_is_what_serde_writes(words: [u32; 40], counts: [u64; 2], task in 0u32..2000) {
            let (entry, judgement) = some_entry(words, counts, task);
            prop_assert!(takes_entry(&entry, &judgement));
            for control in [None, Some((entry.after.cr0, entry.after.cr4))] {
                let mut line = Vec::new();
                super::entry(&mut line, &entry, &judgement, control);
                let mut record = EntryRecord::new(&entry, task);
                (record.cr0, record.cr4) = control.unzip();
                record.deviations =
                    judgement.deviations.iter().map(|deviation| deviation.name.into()).collect();
                assert_same(&line, Record::Entry(Box::new(record)));
            }
        }

        #[test]
        fn a_hot_return_is_what_serde_writes(words: [u32; 40], counts: [u64; 2], task in 0u32..2000) {
            let (returning, judgement) = some_return(words, counts, task);
            let mut line = Vec::new();
            leave(&mut line, &returning, &judgement);
            let mut record = ReturnRecord::new(&returning, task);
            record.deviations =
                judgement.deviations.iter().map(|deviation| deviation.name.into()).collect();
            assert_same(&line, Record::Return(Box::new(record)));
        }

        #[test]
        fn a_number_too_wide_for_its_gap_is_written_whole(value: u64, other: u64) {
            let mut line = b"before\"time\":0,".to_vec();
            let start = line.len();
            line.extend_from_slice(b"{\"time\":  12345678,\"task\":  1,");
            widen(&mut line, start, &[("time", value), ("task", other)]);
            let text = String::from_utf8(line).unwrap();
            prop_assert_eq!(
                text,
                format!("before\"time\":0,{{\"time\":{value},\"task\":{other},")
            );
        }
    }
}
