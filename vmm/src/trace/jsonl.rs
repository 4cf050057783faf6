//! The trace as JSON Lines: a header, then an object an entry, a return, a task switch by hardware, and
//! a stack that was loaded in real mode or right behind it, and one for the end.
//!
//! Every number of the machine is a string of lower-case hexadecimal digits of fixed width: 8 for a
//! register or an address, 4 for a selector, 2 for a vector. Counts are plain numbers. Nothing in it
//! depends on wall-clock time, so two runs on the deterministic clock give the same bytes. The schema
//! is in the README.
//!
//! The encoder is our own: serde_json costs several times what a stop at a probe does. A line is a
//! copy of a template into which the digits are written.

use super::exact::to_json;
use crate::check::{Finding, Judgement};
use crate::entry::{
    Entry, Exact, Frame, InnerStack, OriginSource, Return, Returned, TaskSwitch, TssWords,
};
use crate::host::Backend;
use crate::run::{Ending, StackLoad};
use ia32::{State, Word};
use std::fs::File;
use std::io::{self, Write};

/// Appends a template to the line with a value in each gap. The gaps are constants, so each value is
/// written by a few instructions of its own.
macro_rules! fill {
    ($line:expr, $template:ident, [$($value:expr),+]) => {{
        static BYTES: &[u8] = &$template.bytes;
        let start = $line.len();
        $line.extend_from_slice(BYTES);
        let gap: &mut [u8; BYTES.len()] =
            (&mut $line[start..]).try_into().expect("the template was just appended");
        fill!(@gap gap, $template, 0, $($value),+);
    }};
    (@gap $line:ident, $template:ident, $index:expr, $value:expr $(, $more:expr)*) => {
        const { $template.gaps[$index] }.put($line, $value);
        fill!(@gap $line, $template, $index + 1 $(, $more)*);
    };
    (@gap $line:ident, $template:ident, $index:expr) => {
        const { assert!($index == $template.gaps.len(), "a gap has no value") };
    };
}

/// What stands in the first line.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// What executed the guest.
    pub backend: &'a Backend,
    /// `real` or `deterministic`.
    pub clock: &'a str,
    /// The kernel's name.
    pub kernel: &'a str,
    /// Its command line.
    pub command_line: &'a str,
    /// Bytes of RAM.
    pub memory: u64,
}

/// Version of the schema; it grows when a field changes its meaning or goes.
pub(super) const VERSION: u32 = 1;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 * 1024;

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

/// What the state before an event adds to an entry.
const BEFORE: Template<5, { BEFORE_TEXT.len() }> = Template::new(BEFORE_TEXT);
const BEFORE_TEXT: &str =
    r#","before":{"cs":"~~~~","eip":"~~~~~~~~","eflags":"~~~~~~~~","ss":"~~~~","esp":"~~~~~~~~"}"#;

/// Writes a trace.
#[derive(Debug)]
pub struct JsonLines {
    file: File,
    buffer: Vec<u8>,
    /// CR0 and CR4 as last written.
    control: Option<(u32, u32)>,
}

impl JsonLines {
    /// Starts a trace with its header.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn new(file: File, header: &Header<'_>) -> io::Result<Self> {
        let mut trace =
            JsonLines { file, buffer: Vec::with_capacity(BUFFER + 4096), control: None };
        let line = &mut trace.buffer;
        text(line, "{\"type\":\"header\",\"format\":\"esp0-trace\",\"version\":");
        decimal(line, u64::from(VERSION));
        text(line, ",\"authority\":\"");
        text(line, &header.backend.authority.to_string());
        text(line, "\",\"backend\":");
        quoted(line, &header.backend.to_string());
        text(line, ",\"clock\":\"");
        text(line, header.clock);
        text(line, "\",\"kernel\":");
        quoted(line, header.kernel);
        text(line, ",\"command_line\":");
        quoted(line, header.command_line);
        text(line, ",\"memory\":");
        decimal(line, header.memory);
        text(line, "}\n");
        // A trace that cannot be written is to be known at once.
        trace.flush()?;
        Ok(trace)
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// If the file cannot be written.
    #[inline]
    pub fn entry(&mut self, entry: &Entry, judgement: &Judgement) -> io::Result<()> {
        let line = &mut self.buffer;
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
        if self.control != Some((after.cr0, after.cr4)) {
            self.control = Some((after.cr0, after.cr4));
            fill!(line, CONTROL, [u64::from(after.cr0), u64::from(after.cr4)]);
        }
        text(line, ",\"kind\":\"");
        text(line, entry.kind.name());
        text(line, "\",\"origin\":\"");
        text(
            line,
            match (entry.origin.virtual_8086, entry.origin.source) {
                (true, _) => "virtual-8086",
                (_, OriginSource::Before) => "state",
                (_, OriginSource::Return) => "return",
                (_, OriginSource::Frame) => "frame",
            },
        );
        text(line, "\"");
        if let Some(stack) = entry.ldt_stack {
            fill!(line, LDT, [u64::from(after.ldtr.selector), u64::from(stack)]);
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
        if let Some(exact) = &entry.exact {
            held_against_the_model(line, exact);
        }
        judged(line, judgement);
        self.end_line()
    }

    /// Writes a return.
    ///
    /// # Errors
    /// If the file cannot be written.
    #[inline]
    pub fn leave(&mut self, returning: &Return, judgement: &Judgement) -> io::Result<()> {
        let line = &mut self.buffer;
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
        if returning.after_sequence >= WIDEST[0] || returning.time >= WIDEST[1] || task >= WIDEST[2]
        {
            let values =
                [("after", returning.after_sequence), ("time", returning.time), ("task", task)];
            widen(line, start, &values);
        }
        words(line, &returning.frame);
        judged(line, judgement);
        self.end_line()
    }

    /// Writes what an IRET did, as exact mode saw it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn returned(&mut self, returned: &Returned, judgement: &Judgement) -> io::Result<()> {
        let line = &mut self.buffer;
        let Returned { after_sequence, time, exact, .. } = returned;
        let head = format!(r#"{{"type":"returned","after":{after_sequence},"time":{time}"#);
        text(line, &head);
        held_against_the_model(line, exact);
        judged(line, judgement);
        self.end_line()
    }

    /// Writes a task switch by hardware: TR and LDTR before and after, where the old task was left, as
    /// its TSS has it, and where the new one goes on.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn switch(&mut self, switch: &TaskSwitch, judgement: &Judgement) -> io::Result<()> {
        let side = |tss: &TssWords| {
            format!(
                r#"{{"ss":"{:04x}","esp":"{:08x}","cs":"{:04x}","eip":"{:08x}","eflags":"{:08x}","ss0":"{:04x}","esp0":"{:08x}","ldtr":"{:04x}","cr3":"{:08x}"}}"#,
                tss.selector(TssWords::SS).0,
                tss.0[TssWords::ESP],
                tss.selector(TssWords::CS).0,
                tss.0[TssWords::EIP],
                tss.0[TssWords::EFLAGS],
                tss.inner_stack().ss,
                tss.inner_stack().esp,
                tss.selector(TssWords::LDT).0,
                tss.0[TssWords::CR3],
            )
        };
        let base = |base: Option<u32>| base.map_or("null".into(), |base| format!("\"{base:08x}\""));
        let line = &mut self.buffer;
        text(
            line,
            &format!(
                r#"{{"type":"switch","after":{},"time":{},"task":{},"from_ring":{},"to_ring":{},"tr":["{:04x}","{:04x}"],"left":{},"loaded":{},"code_base":{},"stack_base":{}"#,
                switch.after_sequence,
                switch.time,
                judgement.task.map_or(0, |task| task.0),
                switch.before.cpl(),
                switch.ring(),
                switch.before.tr.selector,
                switch.tr.0,
                side(&switch.stored),
                side(&switch.new),
                base(switch.code_base),
                base(switch.stack_base),
            ),
        );
        judged(line, judgement);
        self.end_line()
    }

    /// Writes a stack that was loaded before there were probes.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn stack_load(&mut self, load: &StackLoad) -> io::Result<()> {
        let side = |state: &State| {
            format!(
                r#"{{"mode":"{}","cs":"{:04x}","eip":"{:08x}","ss":"{:04x}","esp":"{:08x}","linear":"{:08x}"}}"#,
                if state.protected() { "protected" } else { "real" },
                state.cs().selector,
                state.eip,
                state.ss().selector,
                state.general.esp,
                state.stack_address(),
            )
        };
        let line = &mut self.buffer;
        text(
            line,
            &format!(
                r#"{{"type":"stack","instruction":"{}","before":{},"after":{}"#,
                load.instruction(),
                side(&load.before),
                side(&load.after),
            ),
        );
        self.end_line()
    }

    /// Writes how the run ended, and what it has to answer for as a whole.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(&mut self, ending: &Ending, judgement: &Judgement) -> io::Result<()> {
        let line = &mut self.buffer;
        text(line, "{\"type\":\"end\",\"ending\":");
        quoted(line, &ending.to_string());
        judged(line, judgement);
        self.end_line()
    }

    /// Writes lines that somebody else has made.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(lines);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    #[inline]
    fn end_line(&mut self) -> io::Result<()> {
        text(&mut self.buffer, "}\n");
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }
}

/// A line with gaps for numbers.
#[derive(Debug)]
struct Template<const GAPS: usize, const LENGTH: usize> {
    bytes: [u8; LENGTH],
    gaps: [Gap; GAPS],
}

/// Where a number goes.
#[derive(Clone, Copy, Debug)]
struct Gap {
    at: usize,
    width: usize,
    hexadecimal: bool,
}

impl<const GAPS: usize, const LENGTH: usize> Template<GAPS, LENGTH> {
    /// Finds the gaps in `text`; a wrong number of them does not compile.
    const fn new(text: &str) -> Self {
        let text = text.as_bytes();
        let mut bytes = [0; LENGTH];
        let mut gaps = [Gap { at: 0, width: 0, hexadecimal: false }; GAPS];
        let (mut at, mut next) = (0, 0);
        while at < LENGTH {
            bytes[at] = text[at];
            if matches!(text[at], b'~' | b'%') {
                bytes[at] = b' ';
                if at > 0 && text[at - 1] == text[at] {
                    gaps[next - 1].width += 1;
                } else {
                    gaps[next] = Gap { at, width: 1, hexadecimal: text[at] == b'~' };
                    next += 1;
                }
            }
            at += 1;
        }
        assert!(next == GAPS, "the template has another number of gaps");
        Template { bytes, gaps }
    }
}

impl Gap {
    /// Writes `value` into the gap. A decimal number that is too wide
    /// for it is written by [`widen`].
    #[inline(always)]
    fn put(self, line: &mut [u8], value: u64) {
        let at = self.at;
        match (self.hexadecimal, self.width) {
            (true, 16) => {
                line[at..at + 8].copy_from_slice(&hex8((value >> 32) as u32));
                line[at + 8..at + 16].copy_from_slice(&hex8(value as u32));
            }
            (true, width) => {
                line[at..at + width].copy_from_slice(&hex8(value as u32)[8 - width..]);
            }
            (false, 1) => line[at] = b'0' + (value % 10) as u8,
            (false, width) => {
                let mut rest = value;
                for digit in line[at..at + width].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                    if rest == 0 {
                        break;
                    }
                }
            }
        }
    }
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

/// What the model needs; exact mode is slow in any case.
#[cold]
fn held_against_the_model(line: &mut Vec<u8>, exact: &Exact) {
    if let Some(object) = to_json(exact) {
        text(line, ",\"exact\":");
        text(line, &object.to_string());
    }
}

fn judged(line: &mut Vec<u8>, judgement: &Judgement) {
    if judgement.is_unremarkable() {
        text(line, ",\"verdict\":\"ok\"");
        return;
    }
    text(
        line,
        if judgement.findings.is_empty() {
            ",\"verdict\":\"ok\",\"deviations\":["
        } else {
            ",\"verdict\":\"finding\",\"deviations\":["
        },
    );
    for (index, deviation) in judgement.deviations.iter().enumerate() {
        comma(line, index);
        quoted(line, deviation.name);
    }
    text(line, "],\"findings\":[");
    listed(line, &judgement.findings);
    if !judgement.notes.is_empty() {
        text(line, "],\"notes\":[");
        listed(line, &judgement.notes);
    }
    text(line, "]");
}

fn listed(line: &mut Vec<u8>, findings: &[Finding]) {
    for (index, finding) in findings.iter().enumerate() {
        comma(line, index);
        text(line, "{\"rule\":");
        quoted(line, finding.rule);
        text(line, ",\"subject\":");
        quoted(line, &finding.subject.to_string());
        text(line, ",\"sentence\":");
        quoted(line, &finding.sentence);
        text(line, ",\"expected\":");
        quoted(line, &finding.expected);
        text(line, ",\"got\":");
        quoted(line, &finding.got);
        if let Some(reason) = &finding.reason {
            text(line, ",\"reason\":");
            quoted(line, reason);
        }
        if let Some(advice) = &finding.advice {
            text(line, ",\"advice\":");
            quoted(line, advice);
        }
        text(line, "}");
    }
}

fn comma(line: &mut Vec<u8>, index: usize) {
    if index > 0 {
        line.push(b',');
    }
}

#[inline(always)]
fn text(line: &mut Vec<u8>, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

/// A string with what JSON wants escaped (RFC 8259, section 7).
fn quoted(line: &mut Vec<u8>, string: &str) {
    line.push(b'"');
    for c in string.chars() {
        match c {
            '"' => text(line, "\\\""),
            '\\' => text(line, "\\\\"),
            '\n' => text(line, "\\n"),
            c if (c as u32) < 0x20 => {
                text(line, "\\u00");
                line.extend_from_slice(&hex8(c as u32)[6..]);
            }
            c => {
                let mut bytes = [0; 4];
                text(line, c.encode_utf8(&mut bytes));
            }
        }
    }
    line.push(b'"');
}

fn decimal(line: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[at..]);
}

/// Eight hexadecimal digits at once: spread the nibbles over eight bytes, then turn each into its
/// character.
#[inline(always)]
fn hex8(value: u32) -> [u8; 8] {
    let mut spread = u64::from(value.swap_bytes());
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread >> 4 | spread << 8) & 0x0f0f_0f0f_0f0f_0f0f;
    // Nibbles above 9 carry into bit 4 when 6 is added; those need 'a' - '0' - 10 = 39 more.
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * 39).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut line = Vec::new();
        write(&mut line);
        String::from_utf8(line).unwrap()
    }

    proptest! {
        #[test]
        fn hexadecimal_is_what_the_standard_library_writes(value: u32) {
            let expected = format!("{value:08x}");
            prop_assert_eq!(&hex8(value), expected.as_bytes());
        }

        #[test]
        fn decimals_are_what_the_standard_library_writes(value: u64) {
            prop_assert_eq!(made(|line| decimal(line, value)), value.to_string());
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

        #[test]
        fn a_template_is_filled_in_order(a: u64, b: u32, c: u16, d: u8, e in 0u64..10_000) {
            const TEXT: &str = "{a:~~~~~~~~~~~~~~~~} ~~~~~~~~ ~~~~ ~~ %%%% %";
            const TEMPLATE: Template<6, { TEXT.len() }> = Template::new(TEXT);
            let line = made(|line| {
                fill!(line, TEMPLATE, [a, u64::from(b), u64::from(c), u64::from(d), e, 7]);
            });
            prop_assert_eq!(line, format!("{{a:{a:016x}}} {b:08x} {c:04x} {d:02x} {e:>4} 7"));
        }

        #[test]
        fn strings_can_be_read_back(string: String) {
            let line = made(|line| quoted(line, &string));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), string);
        }
    }
}
