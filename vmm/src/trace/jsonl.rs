//! The trace as JSON Lines: a header, then an object an entry and an object a return.
//!
//! Every number of the machine is a string of lower-case hexadecimal digits of fixed width: 8 for a
//! register or an address, 4 for a selector, 2 for a vector. Counts are plain numbers. Nothing in it
//! depends on wall-clock time, so two runs on the deterministic clock give the same bytes. The schema
//! is in the README.
//!
//! The encoder is our own: serde_json costs several times what a stop at a probe does.

use crate::check::Judgement;
use crate::entry::{Entry, OriginSource, Return};
use crate::host::Backend;
use ia32::{General, State, Word};
use std::fs::File;
use std::io::{self, Write};

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
const VERSION: u32 = 1;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 * 1024;

/// Writes a trace.
#[derive(Debug)]
pub struct JsonLines {
    file: File,
    buffer: Vec<u8>,
}

impl JsonLines {
    /// Starts a trace with its header.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub fn new(file: File, header: &Header<'_>) -> io::Result<Self> {
        let mut trace = JsonLines { file, buffer: Vec::with_capacity(BUFFER + 4096) };
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
        text(line, "{\"type\":\"entry\",\"sequence\":");
        decimal(line, entry.sequence);
        text(line, ",\"time\":");
        decimal(line, entry.time);
        text(line, ",\"task\":");
        decimal(line, judgement.task.map_or(0, |task| u64::from(task.0)));
        text(line, ",\"vector\":\"");
        hex2(line, entry.vector.0);
        text(line, "\",\"kind\":\"");
        text(line, entry.kind.name());
        text(line, "\",\"from_ring\":");
        line.push(b'0' + entry.origin.ring);
        text(line, ",\"to_ring\":");
        line.push(b'0' + entry.after.cpl());
        text(line, ",\"origin\":\"");
        text(
            line,
            match (entry.origin.virtual_8086, entry.origin.source) {
                (true, _) => "virtual-8086",
                (_, OriginSource::Before) => "state",
                (_, OriginSource::Return) => "return",
                (_, OriginSource::Frame) => "frame",
            },
        );
        text(line, "\",\"gate\":\"");
        hex8(line, (entry.gate.encode() >> 32) as u32);
        hex8(line, entry.gate.encode() as u32);
        text(line, "\"");
        registers(line, &entry.after);
        if let Some(stack) = &entry.inner_stack {
            text(line, ",\"ss0\":\"");
            hex4(line, stack.ss);
            text(line, "\",\"esp0\":\"");
            hex8(line, stack.esp);
            text(line, "\"");
        }
        frame(line, &entry.frame);
        if let Some(before) = &entry.before {
            text(line, ",\"before\":{\"cs\":\"");
            hex4(line, before.cs().selector);
            text(line, "\",\"eip\":\"");
            hex8(line, before.eip);
            text(line, "\",\"eflags\":\"");
            hex8(line, before.eflags.0);
            text(line, "\",\"ss\":\"");
            hex4(line, before.ss().selector);
            text(line, "\"");
            general(line, &before.general);
            text(line, "}");
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
        text(line, "{\"type\":\"return\",\"after\":");
        decimal(line, returning.after_sequence);
        text(line, ",\"time\":");
        decimal(line, returning.time);
        text(line, ",\"task\":");
        decimal(line, judgement.task.map_or(0, |task| u64::from(task.0)));
        text(line, ",\"from_ring\":");
        line.push(b'0' + returning.state.cpl());
        text(line, ",\"to_ring\":");
        line.push(b'0' + returning.ring());
        registers(line, &returning.state);
        frame(line, &returning.frame);
        judged(line, judgement);
        self.end_line()
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

#[inline]
fn registers(line: &mut Vec<u8>, state: &State) {
    text(line, ",\"cs\":\"");
    hex4(line, state.cs().selector);
    text(line, "\",\"eip\":\"");
    hex8(line, state.eip);
    text(line, "\",\"eflags\":\"");
    hex8(line, state.eflags.0);
    text(line, "\",\"ss\":\"");
    hex4(line, state.ss().selector);
    text(line, "\"");
    general(line, &state.general);
    text(line, ",\"ds\":\"");
    hex4(line, state.segments[3].selector);
    text(line, "\",\"es\":\"");
    hex4(line, state.segments[0].selector);
    text(line, "\",\"fs\":\"");
    hex4(line, state.segments[4].selector);
    text(line, "\",\"gs\":\"");
    hex4(line, state.segments[5].selector);
    text(line, "\",\"tr\":\"");
    hex4(line, state.tr.selector);
    text(line, "\",\"cr0\":\"");
    hex8(line, state.cr0);
    text(line, "\",\"cr2\":\"");
    hex8(line, state.cr2);
    text(line, "\",\"cr3\":\"");
    hex8(line, state.cr3);
    text(line, "\",\"cr4\":\"");
    hex8(line, state.cr4);
    text(line, "\"");
}

#[inline]
fn general(line: &mut Vec<u8>, general: &General) {
    text(line, ",\"eax\":\"");
    hex8(line, general.eax);
    text(line, "\",\"ecx\":\"");
    hex8(line, general.ecx);
    text(line, "\",\"edx\":\"");
    hex8(line, general.edx);
    text(line, "\",\"ebx\":\"");
    hex8(line, general.ebx);
    text(line, "\",\"esp\":\"");
    hex8(line, general.esp);
    text(line, "\",\"ebp\":\"");
    hex8(line, general.ebp);
    text(line, "\",\"esi\":\"");
    hex8(line, general.esi);
    text(line, "\",\"edi\":\"");
    hex8(line, general.edi);
    text(line, "\"");
}

/// The words by name, from the highest address to the lowest: in the order in which they were
/// pushed.
#[inline]
fn frame(line: &mut Vec<u8>, frame: &crate::entry::Frame) {
    text(line, ",\"frame\":{\"address\":\"");
    hex8(line, frame.address);
    text(line, "\",\"word_size\":");
    line.push(b'0' + frame.shape.word_size as u8);
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
                line.push(b'"');
                hex8(line, value);
                line.push(b'"');
            }
            None => text(line, "null"),
        }
    }
    text(line, "}");
}

fn judged(line: &mut Vec<u8>, judgement: &Judgement) {
    if judgement.findings.is_empty() && judgement.deviations.is_empty() {
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
    for (index, finding) in judgement.findings.iter().enumerate() {
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
        text(line, "}");
    }
    text(line, "]");
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
                hex2(line, c as u8);
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
fn hex8(line: &mut Vec<u8>, value: u32) {
    let mut spread = u64::from(value.swap_bytes());
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread >> 4 | spread << 8) & 0x0f0f_0f0f_0f0f_0f0f;
    // Nibbles above 9 carry into bit 4 when 6 is added; those need 'a' - '0' - 10 = 39 more.
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let characters = spread + 0x3030_3030_3030_3030 + letters * 39;
    line.extend_from_slice(&characters.to_le_bytes());
}

#[inline(always)]
fn hex4(line: &mut Vec<u8>, value: u16) {
    hex2(line, (value >> 8) as u8);
    hex2(line, value as u8);
}

#[inline(always)]
fn hex2(line: &mut Vec<u8>, value: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    line.extend_from_slice(&[
        DIGITS[usize::from(value >> 4)],
        DIGITS[usize::from(value & 0xf)],
    ]);
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
            prop_assert_eq!(made(|line| hex8(line, value)), format!("{value:08x}"));
            prop_assert_eq!(made(|line| hex4(line, value as u16)), format!("{:04x}", value as u16));
            prop_assert_eq!(made(|line| hex2(line, value as u8)), format!("{:02x}", value as u8));
        }

        #[test]
        fn decimals_are_what_the_standard_library_writes(value: u64) {
            prop_assert_eq!(made(|line| decimal(line, value)), value.to_string());
        }

        #[test]
        fn strings_can_be_read_back(string: String) {
            let line = made(|line| quoted(line, &string));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), string);
        }
    }
}
