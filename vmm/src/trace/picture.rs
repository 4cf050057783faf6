//! The frame of an entry, drawn on its stack.

use super::event_name;
use super::schema::{EntryRecord, OriginName};
use crate::entry::Kind;
use ia32::{Eflags, Selector, Table, Word};
use std::fmt::Write;

/// Names for what a frame holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameNames {
    /// The instruction that was interrupted.
    pub interrupted: Option<String>,
    /// What ends where the frame begins.
    pub top: Option<String>,
    /// What ends at the pushed ESP.
    pub esp: Option<String>,
}

/// Draws the stack that an entry arrived on, with the names that are known.
///
/// ```text
///        int 0x80: ring 3 → ring 0 through an interrupt gate of DPL 3
///          ESP0 ──►  f0008000  ┌──────────────────┐  = kstack+4096
///                    f0007ffc  │ SS      00000023 │  ring 3
///                    f0007ff8  │ ESP     bfffef80 │  the user's stack
///                    f0007ff4  │ EFLAGS  00000246 │  IF ZF PF
///                    f0007ff0  │ CS      0000001b │  ring 3
///          ESP  ──►  f0007fec  │ EIP     08048e6f │  behind int 0x80, in write+9 (user.c:41)
///                              └──────────────────┘
/// ```
pub fn picture(entry: &EntryRecord, names: &FrameNames) -> String {
    let frame = &entry.frame;
    let mut text = String::new();
    let through = match entry.gate() {
        Some(gate) => {
            let article =
                if gate.kind.clears_if() && gate.kind.word_size() == 4 { "an" } else { "a" };
            format!("{article} {} of DPL {}", gate.kind, gate.dpl)
        }
        None => "no gate".into(),
    };
    let _ = writeln!(
        text,
        "       {}: {} → ring {} through {through}",
        event_name(entry.kind, entry.vector()),
        match entry.origin {
            OriginName::Virtual8086 => "virtual-8086 mode".into(),
            _ => format!("ring {}", entry.from_ring),
        },
        entry.to_ring,
    );
    let top = if entry.from_outer_ring() { "ESP0" } else { "" };
    let arrow = if top.is_empty() { "   " } else { "──►" };
    let stack = names.top.as_ref().map_or(String::new(), |name| format!("  = {name}"));
    let _ = writeln!(
        text,
        "         {top:<4} {arrow}  {:08x}  ┌──────────────────┐{stack}",
        frame.end()
    );
    for (index, (word, value)) in frame.words.iter().enumerate().rev() {
        let (name, arrow) = if index == 0 { ("ESP", "──►") } else { ("", "   ") };
        let value = value.map_or("????????".into(), |value| format!("{value:08x}"));
        let short = if *word == Word::ErrorCode { "error" } else { word.name() };
        let line = format!(
            "         {name:<4} {arrow}  {:08x}  │ {short:<7} {value} │  {}",
            frame.address_of(*word).unwrap_or(0),
            remark(entry, *word, names),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "                            └──────────────────┘");
    text
}

fn remark(entry: &EntryRecord, word: Word, names: &FrameNames) -> String {
    let frame = &entry.frame;
    let Some(value) = frame.get(word) else { return "not mapped".into() };
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
            (Some(stack), _) => format!("the interrupted stack, at {stack:08x}"),
            (None, Some(name)) => format!("the interrupted stack, {name}"),
            (None, None) => "the interrupted stack".into(),
        },
        Word::Eflags => Eflags(value).to_string(),
        Word::Eip => {
            let what = match entry.kind {
                Kind::Software => format!("behind int {:#04x}", entry.vector),
                Kind::External | Kind::Nmi => "the instruction that comes next".into(),
                Kind::Fault => "the instruction that faulted".into(),
                Kind::Trap => "behind the instruction that trapped".into(),
                Kind::Abort | Kind::Unexplained => String::new(),
            };
            match &names.interrupted {
                Some(place) if what.is_empty() => place.clone(),
                Some(place) => format!("{what}, in {place}"),
                None => what,
            }
        }
        Word::ErrorCode if entry.vector() == ia32::Vector::PF => {
            format!("page fault at {:08x}", entry.cr2)
        }
        _ => String::new(),
    }
}
