//! The fields of a state, by name, as the text of a case has them.

use super::layout::{GDT, GDT_SIZE, LDT, LDT_SIZE};
use ia32::{Descriptor, ReadMemory, Segment, SegmentRegister, Selector, State, Table};
use std::fmt;

/// Part of a segment register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The selector, with the hidden part that the descriptor tables give for it.
    Loaded,
    Base,
    Limit,
    Attributes,
}

/// A field of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// A general register, by its number in instructions.
    General(u8),
    Eip,
    Eflags,
    Segment(SegmentRegister, Part),
    Tr(Part),
    Ldtr(Part),
    GdtrBase,
    GdtrLimit,
    IdtrBase,
    IdtrLimit,
    Cr0,
    Cr3,
    Cr4,
    Shadow,
    NmiBlocked,
}

const GENERAL: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
const PLAIN: [(&str, Field); 11] = [
    ("eip", Field::Eip),
    ("eflags", Field::Eflags),
    ("gdtr.base", Field::GdtrBase),
    ("gdtr.limit", Field::GdtrLimit),
    ("idtr.base", Field::IdtrBase),
    ("idtr.limit", Field::IdtrLimit),
    ("cr0", Field::Cr0),
    ("cr3", Field::Cr3),
    ("cr4", Field::Cr4),
    ("shadow", Field::Shadow),
    ("nmi-blocked", Field::NmiBlocked),
];

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Part::Loaded => "",
            Part::Base => ".base",
            Part::Limit => ".limit",
            Part::Attributes => ".attributes",
        }
    }

    fn find(suffix: Option<&str>) -> Option<Part> {
        match suffix {
            None => Some(Part::Loaded),
            Some("base") => Some(Part::Base),
            Some("limit") => Some(Part::Limit),
            Some("attributes") => Some(Part::Attributes),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::General(number) => f.write_str(GENERAL[usize::from(number & 7)]),
            Field::Segment(register, part) => {
                write!(f, "{}{}", SEGMENTS[*register as usize], part.suffix())
            }
            Field::Tr(part) => write!(f, "tr{}", part.suffix()),
            Field::Ldtr(part) => write!(f, "ldtr{}", part.suffix()),
            plain => {
                let name = PLAIN.iter().find(|(_, field)| field == plain);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

impl Field {
    /// The field with this name.
    pub(super) fn find(name: &str) -> Option<Field> {
        if let Some((_, field)) = PLAIN.iter().find(|(plain, _)| *plain == name) {
            return Some(*field);
        }
        if let Some(number) = GENERAL.iter().position(|register| *register == name) {
            return Some(Field::General(number as u8));
        }
        let mut parts = name.splitn(2, '.');
        let register = parts.next()?;
        let part = Part::find(parts.next())?;
        match register {
            "tr" => Some(Field::Tr(part)),
            "ldtr" => Some(Field::Ldtr(part)),
            _ => {
                let number = SEGMENTS.iter().position(|segment| *segment == register)?;
                Some(Field::Segment(SegmentRegister::ALL[number], part))
            }
        }
    }

    /// Gives the field a value; a selector brings along what `memory` has in the tables for it.
    pub(super) fn set(self, state: &mut State, value: u32, memory: &[u8]) {
        match self {
            Field::General(number) => {
                let mut general = state.general.to_array();
                general[usize::from(number & 7)] = value;
                state.general = ia32::General::from_array(general);
            }
            Field::Eip => state.eip = value,
            Field::Eflags => state.eflags.0 = value,
            Field::Segment(register, part) => {
                let virtual_8086 = state.virtual_8086();
                let segment = &mut state.segments[register as usize];
                if part == Part::Loaded && virtual_8086 {
                    *segment = Segment::virtual_8086(value as u16);
                } else {
                    set_part(segment, part, value, memory);
                }
            }
            Field::Tr(part) => set_part(&mut state.tr, part, value, memory),
            Field::Ldtr(part) => set_part(&mut state.ldtr, part, value, memory),
            Field::GdtrBase => state.gdtr.base = value,
            Field::GdtrLimit => state.gdtr.limit = value as u16,
            Field::IdtrBase => state.idtr.base = value,
            Field::IdtrLimit => state.idtr.limit = value as u16,
            Field::Cr0 => state.cr0 = value,
            Field::Cr3 => state.cr3 = value,
            Field::Cr4 => state.cr4 = value,
            Field::Shadow => state.interrupt_shadow = value as u8,
            Field::NmiBlocked => state.nmi_blocked = value != 0,
        }
    }
}

fn set_part(segment: &mut Segment, part: Part, value: u32, memory: &[u8]) {
    match part {
        Part::Loaded => *segment = loaded(value as u16, memory),
        Part::Base => segment.base = value,
        Part::Limit => segment.limit = value,
        Part::Attributes => segment.attributes = value as u16,
    }
}

/// The register with this selector and what its table holds; a null one for a selector outside it.
pub(super) fn loaded(selector: u16, memory: &[u8]) -> Segment {
    let name = Selector(selector);
    let (table, size) = match name.table() {
        Table::Gdt => (GDT, GDT_SIZE),
        Table::Ldt => (LDT, LDT_SIZE),
    };
    if name.is_null() || name.offset() + 7 >= size.into() {
        return Segment::null(selector);
    }
    let at = u64::from(table + name.offset());
    let bytes = u64::from(memory.read_u32(at)) | u64::from(memory.read_u32(at + 4)) << 32;
    let descriptor = Descriptor(bytes);
    let descriptor =
        if descriptor.0 & (1 << 44) != 0 { descriptor.with_accessed() } else { descriptor };
    descriptor.segment(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_finds_the_field_that_prints_it() {
        for name in GENERAL.iter().chain(&SEGMENTS).copied().chain(PLAIN.map(|(name, _)| name)) {
            assert_eq!(Field::find(name).map(|field| field.to_string()).as_deref(), Some(name));
        }
        for name in ["ss.base", "tr.limit", "ldtr", "cs.attributes"] {
            assert_eq!(Field::find(name).map(|field| field.to_string()).as_deref(), Some(name));
        }
        assert_eq!(Field::find("ss.colour"), None);
        assert_eq!(Field::find("nothing"), None);
    }
}
