//! The arrays among a kernel's variables, out of DWARF: how large an element is, which a symbol does not tell.
//!
//! Read when somebody asks, at the end of a run that has gone wrong: all units are gone through for it.

use super::elf::Elf;
use gimli::{
    AttributeValue, DwAt, EndianSlice, EntriesTreeNode, LittleEndian, Reader as _, Unit, UnitOffset,
};
use std::convert::Infallible;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Node<'a, 'u, 't> = EntriesTreeNode<'u, 't, Slice<'a>>;

/// An array with an address of its own: a variable, or a member of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// `kstack`, or `data.kstack`.
    pub name: String,
    /// Its first linked address.
    pub start: u32,
    /// The first address behind it.
    pub end: u32,
    /// Bytes of what it is indexed by.
    pub element: u32,
    /// Its elements are arrays or records themselves.
    pub of_records: bool,
}

/// What a type is, as far as it is asked for.
enum Shape {
    /// Bytes of an element, how many, and whether those are more than numbers and pointers.
    Array {
        element: u32,
        count: u32,
        of_records: bool,
    },
    /// Its members: where each begins, its name, its type.
    Record(Vec<(u32, String, UnitOffset)>),
    Plain,
}

/// How deep members of members are looked at.
const DEEPEST: usize = 3;

/// All of a file; none, where it has no DWARF or what cannot be read.
pub(super) fn all(elf: &Elf<'_>) -> Vec<Array> {
    let mut found = Vec::new();
    if elf.section(".debug_info").is_none() {
        return found;
    }
    let section = |id: gimli::SectionId| {
        let bytes = elf.section(id.name()).unwrap_or_default();
        Ok::<_, Infallible>(Slice::new(bytes, LittleEndian))
    };
    let Ok(dwarf) = gimli::Dwarf::load(section);
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        let Ok(unit) = dwarf.unit(header) else { continue };
        let _ = of_unit(&dwarf, &unit, &mut found);
    }
    found
}

fn of_unit(
    dwarf: &gimli::Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    found: &mut Vec<Array>,
) -> Option<()> {
    let mut tree = unit.entries_tree(None).ok()?;
    let mut children = tree.root().ok()?.children();
    while let Some(child) = children.next().ok()? {
        let entry = child.entry();
        if entry.tag() != gimli::DW_TAG_variable {
            continue;
        }
        let Some(AttributeValue::Exprloc(place)) = entry.attr_value(gimli::DW_AT_location) else {
            continue;
        };
        // DW_OP_addr, and nothing more.
        let mut bytes = place.0;
        let (Ok(0x03), Ok(address)) = (bytes.read_u8(), bytes.read_u32()) else { continue };
        if !bytes.is_empty() {
            continue;
        }
        // A definition of what was declared before has name and type there.
        let declared = match entry.attr_value(gimli::DW_AT_specification) {
            Some(AttributeValue::UnitRef(at)) => unit.entry(at).ok(),
            _ => None,
        };
        let of = |what: DwAt| {
            let there = declared.as_ref().and_then(|one| one.attr_value(what));
            entry.attr_value(what).or(there)
        };
        let Some(AttributeValue::UnitRef(kind)) = of(gimli::DW_AT_type) else { continue };
        let name = of(gimli::DW_AT_name).and_then(|name| text(dwarf, unit, name));
        add(dwarf, unit, kind, (address, name.unwrap_or_default()), DEEPEST, found);
    }
    Some(())
}

fn text(
    dwarf: &gimli::Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    value: AttributeValue<Slice<'_>>,
) -> Option<String> {
    let name = dwarf.attr_string(unit, value).ok()?;
    Some(String::from_utf8_lossy(name.slice()).into_owned())
}

/// Adds what of the type `kind` lies at an address, by the name of what holds it.
fn add(
    dwarf: &gimli::Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    kind: UnitOffset,
    (start, name): (u32, String),
    deepest: usize,
    found: &mut Vec<Array>,
) {
    match shape(dwarf, unit, kind) {
        Some(Shape::Array { element, count, of_records }) => {
            if let Some(end) = element.checked_mul(count).and_then(|size| start.checked_add(size)) {
                found.push(Array { name, start, end, element, of_records });
            }
        }
        Some(Shape::Record(members)) if deepest > 0 => {
            for (offset, member, kind) in members {
                let place = (start.wrapping_add(offset), format!("{name}.{member}"));
                add(dwarf, unit, kind, place, deepest - 1, found);
            }
        }
        _ => {}
    }
}

/// The type behind names for it and qualifiers.
fn shape(
    dwarf: &gimli::Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    kind: UnitOffset,
) -> Option<Shape> {
    let kind = bare(unit, kind)?;
    let mut tree = unit.entries_tree(Some(kind)).ok()?;
    let root = tree.root().ok()?;
    let tag = root.entry().tag();
    if tag == gimli::DW_TAG_structure_type || tag == gimli::DW_TAG_union_type {
        let mut members = Vec::new();
        let mut children = root.children();
        while let Some(child) = children.next().ok()? {
            members.extend(member(dwarf, unit, &child));
        }
        return Some(Shape::Record(members));
    }
    if tag != gimli::DW_TAG_array_type {
        return Some(Shape::Plain);
    }
    let AttributeValue::UnitRef(element) = root.entry().attr_value(gimli::DW_AT_type)? else {
        return None;
    };
    let mut counts = Vec::new();
    let mut children = root.children();
    while let Some(child) = children.next().ok()? {
        let entry = child.entry();
        if entry.tag() == gimli::DW_TAG_subrange_type {
            let last = number(entry.attr_value(gimli::DW_AT_upper_bound));
            counts
                .push(number(entry.attr_value(gimli::DW_AT_count)).or(last.map(|last| last + 1))?);
        }
    }
    let (first, rest) = counts.split_first()?;
    let size = size(unit, element)?;
    let element_size = rest.iter().try_fold(size, |size, count| size.checked_mul(*count))?;
    let plain = matches!(shape(dwarf, unit, element), Some(Shape::Plain));
    Some(Shape::Array {
        element: element_size,
        count: *first,
        of_records: !plain || !rest.is_empty(),
    })
}

fn member(
    dwarf: &gimli::Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    child: &Node<'_, '_, '_>,
) -> Option<(u32, String, UnitOffset)> {
    let entry = child.entry();
    if entry.tag() != gimli::DW_TAG_member {
        return None;
    }
    let AttributeValue::UnitRef(kind) = entry.attr_value(gimli::DW_AT_type)? else { return None };
    let offset = number(entry.attr_value(gimli::DW_AT_data_member_location)).unwrap_or(0);
    let name = entry.attr_value(gimli::DW_AT_name).and_then(|name| text(dwarf, unit, name));
    Some((offset, name.unwrap_or_default(), kind))
}

fn number(value: Option<AttributeValue<Slice<'_>>>) -> Option<u32> {
    value?.udata_value()?.try_into().ok()
}

/// Behind `typedef`, `const` and `volatile`.
fn bare(unit: &Unit<Slice<'_>>, mut kind: UnitOffset) -> Option<UnitOffset> {
    const NAMES: usize = 16;
    for _ in 0..NAMES {
        let entry = unit.entry(kind).ok()?;
        let passes = [gimli::DW_TAG_typedef, gimli::DW_TAG_const_type, gimli::DW_TAG_volatile_type];
        if !passes.contains(&entry.tag()) {
            return Some(kind);
        }
        let AttributeValue::UnitRef(next) = entry.attr_value(gimli::DW_AT_type)? else {
            return None;
        };
        kind = next;
    }
    None
}

fn size(unit: &Unit<Slice<'_>>, kind: UnitOffset) -> Option<u32> {
    let entry = unit.entry(bare(unit, kind)?).ok()?;
    match entry.tag() {
        gimli::DW_TAG_pointer_type => {
            Some(number(entry.attr_value(gimli::DW_AT_byte_size)).unwrap_or(4))
        }
        _ => number(entry.attr_value(gimli::DW_AT_byte_size)),
    }
}
