//! What a drawing of a frame shows, row by row.
//!
//! A frame is drawn by the terminal ([`picture`](super::picture)) and, as SVG, by the scripts of the report page. Which
//! words there are, in which order, what points where and what stands beside a word is said here, once:
//! ```text
//!  EntryRecord ─► layout ─► rows ───────► the terminal's lines
//!                 vocabulary ─► JSON ───► the page's pictures, of a hundred thousand entries
//! ```
//! The page makes its own rows, out of the same words, since it holds entries as columns of numbers.

use super::event_name;
use super::frame_names::FrameNames;
use super::schema::{EntryRecord, OriginName};
use crate::entry::Kind;
use ia32::{Eflags, Selector, Table, Vector, Word};
use serde_json::{Value, json};

/// What points to the place at which an entry from an outer ring begins: the processor took it from the TSS.
const TOP: &str = "ESP0";
/// What points to the lowest word.
const BOTTOM: &str = "ESP";
/// What the pushed ESP is.
const INTERRUPTED: &str = "the interrupted stack";
/// What a word is that could not be read.
const UNMAPPED: &str = "not mapped";

/// A frame on its stack.
pub(super) struct Layout {
    /// What happened.
    pub(super) heading: String,
    /// The address behind the highest word, and what points there.
    pub(super) top: (u32, &'static str),
    /// The words, the highest address first.
    pub(super) rows: Vec<Row>,
}

/// A word.
pub(super) struct Row {
    pub(super) address: u32,
    /// What points to it.
    pub(super) pointer: &'static str,
    pub(super) name: &'static str,
    /// None if it could not be read.
    pub(super) value: Option<u32>,
    /// What it says.
    pub(super) remark: String,
}

/// The layout of an entry's frame.
pub(super) fn layout(entry: &EntryRecord, names: &FrameNames) -> Layout {
    let frame = &entry.frame;
    let rows = frame.words.iter().enumerate().rev().map(|(index, (word, value))| Row {
        address: frame.address_of(*word).unwrap_or(0),
        pointer: if index == 0 { BOTTOM } else { "" },
        name: short_name(*word),
        value: *value,
        remark: remark(entry, *word, names),
    });
    Layout {
        heading: heading(entry),
        top: (frame.end(), if entry.from_outer_ring() { TOP } else { "" }),
        rows: rows.collect(),
    }
}

/// What the page's pictures are made of.
pub(crate) fn vocabulary() -> Value {
    let words = [Word::ErrorCode, Word::Eip, Word::Cs, Word::Eflags, Word::Esp, Word::Ss];
    // What virtual-8086 mode has above them.
    let above = [Word::Es, Word::Ds, Word::Fs, Word::Gs];
    let of_eip =
        Kind::ALL.map(|kind| (kind.name().to_owned(), Value::from(at_eip(kind, Vector::BP))));
    let flags = (0..32).rev().filter_map(|bit| {
        let name = Eflags(1 << bit).to_string();
        name.bytes().all(|letter| letter.is_ascii_uppercase()).then(|| json!([bit, name]))
    });
    json!({
        "words": words.map(short_name),
        "above": above.map(short_name),
        "top": TOP,
        "bottom": BOTTOM,
        "interrupted": INTERRUPTED,
        "unmapped": UNMAPPED,
        "eip": Value::Object(of_eip.into_iter().collect()),
        "flags": flags.collect::<Vec<_>>(),
    })
}

fn short_name(word: Word) -> &'static str {
    if word == Word::ErrorCode { "error" } else { word.name() }
}

fn heading(entry: &EntryRecord) -> String {
    let through = match entry.gate() {
        Some(gate) => {
            let article =
                if gate.kind.clears_if() && gate.kind.word_size() == 4 { "an" } else { "a" };
            format!("{article} {} of DPL {}", gate.kind, gate.dpl)
        }
        None => "no gate".into(),
    };
    let from = match entry.origin {
        OriginName::Virtual8086 => "virtual-8086 mode".into(),
        _ => format!("ring {}", entry.from_ring),
    };
    let event = event_name(entry.kind, entry.vector());
    format!("{event}: {from} → ring {} through {through}", entry.to_ring)
}

/// Which instruction the pushed EIP names.
fn at_eip(kind: Kind, vector: Vector) -> &'static str {
    match kind {
        // A single step: what it was behind may have been a jump.
        Kind::Trap if vector == Vector::DB => at_eip(Kind::External, vector),
        Kind::Software => "behind int",
        Kind::External | Kind::Nmi => "the instruction that comes next",
        Kind::Fault => "the instruction that faulted",
        Kind::Trap => "behind the instruction that trapped",
        Kind::Abort | Kind::Unexplained => "",
    }
}

fn remark(entry: &EntryRecord, word: Word, names: &FrameNames) -> String {
    let frame = &entry.frame;
    let Some(value) = frame.get(word) else { return UNMAPPED.into() };
    match word {
        Word::Cs | Word::Ss if entry.origin != OriginName::Virtual8086 => {
            let ring = format!("ring {}", value & 3);
            match (Selector(value as u16).table(), entry.linear_stack, frame.get(Word::Esp)) {
                (Table::Ldt, Some(stack), Some(esp)) => format!(
                    "{ring}, entry {} of LDT {:04x}: base {:08x}",
                    (value & 0xffff) >> 3,
                    entry.ldtr.unwrap_or(0),
                    match (word, entry.linear_code, frame.get(Word::Eip)) {
                        (Word::Cs, Some(code), Some(eip)) => code.wrapping_sub(eip),
                        _ => stack.wrapping_sub(esp),
                    }
                ),
                _ => ring,
            }
        }
        Word::Esp => match (entry.linear_stack, &names.esp) {
            (Some(stack), _) => format!("{INTERRUPTED}, at {stack:08x}"),
            (None, Some(name)) => format!("{INTERRUPTED}, {name}"),
            (None, None) => INTERRUPTED.into(),
        },
        Word::Eflags => Eflags(value).to_string(),
        Word::Eip => {
            let what = match entry.kind {
                Kind::Software => {
                    format!("{} {:#04x}", at_eip(entry.kind, entry.vector()), entry.vector)
                }
                kind => at_eip(kind, entry.vector()).into(),
            };
            match &names.interrupted {
                Some(place) if what.is_empty() => place.clone(),
                Some(place) => format!("{what}, in {place}"),
                None => what,
            }
        }
        Word::ErrorCode if entry.vector() == Vector::PF => {
            format!("page fault at {:08x}", entry.cr2)
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_gets_the_words_that_the_terminal_uses() {
        let vocabulary = vocabulary();
        assert_eq!(vocabulary["words"], json!(["error", "EIP", "CS", "EFLAGS", "ESP", "SS"]));
        assert_eq!(vocabulary["above"], json!(["ES", "DS", "FS", "GS"]));
        assert_eq!(vocabulary["eip"]["fault"], "the instruction that faulted");
        // The page says the same of a single step.
        assert_eq!(vocabulary["eip"]["trap"], at_eip(Kind::Trap, Vector::OF));
        assert_eq!(vocabulary["eip"]["external"], at_eip(Kind::Trap, Vector::DB));
        let flags = vocabulary["flags"].as_array().unwrap();
        assert!(flags.contains(&json!([9, "IF"])) && flags.contains(&json!([16, "RF"])));
        assert_eq!(flags.len(), 16, "{flags:?}");
    }
}
