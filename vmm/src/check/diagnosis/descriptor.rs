//! Selectors, descriptors, gates and error codes in words.

use crate::entry::Named;
use ia32::{Descriptor, DescriptorKind, Gate, GateKind, Selector, Table};

/// `GDT entry 1`, `LDT entry 2`.
pub(super) fn slot(selector: Selector) -> String {
    let table = match selector.table() {
        Table::Gdt => "GDT",
        Table::Ldt => "LDT",
    };
    format!("{table} entry {}", selector.0 >> 3)
}

/// What an error code is: `error code 0402 is IDT entry 0x80` (SDM vol. 3A, "Error code").
pub(super) fn error_code(code: u32) -> String {
    let outside = if code & 1 != 0 { ", met while another event was delivered" } else { "" };
    if code & 2 != 0 {
        return format!("error code {code:04x} is IDT entry {:#04x}{outside}", code >> 3 & 0x1fff);
    }
    match code & 0xfffc {
        0 => format!("error code {code:04x} names no selector{outside}"),
        selector => {
            format!("error code {code:04x} is {}{outside}", slot(Selector(selector as u16)))
        }
    }
}

/// What a descriptor is: `a code segment of DPL 0`.
pub(super) fn descriptor(raw: u64) -> String {
    if raw == 0 {
        return "empty".into();
    }
    let descriptor = Descriptor(raw);
    let what = match descriptor.kind() {
        DescriptorKind::Code { conforming: true, .. } => "a conforming code segment".into(),
        DescriptorKind::Code { readable: false, .. } => "a code segment that cannot be read".into(),
        DescriptorKind::Code { .. } => "a code segment".into(),
        DescriptorKind::Data { writable: false, .. } => "a read-only data segment".into(),
        DescriptorKind::Data { .. } => "a data segment".into(),
        DescriptorKind::Tss { wide: true, .. } => "a TSS".into(),
        DescriptorKind::Tss { .. } => "a 16-bit TSS".into(),
        DescriptorKind::Ldt => "an LDT".into(),
        DescriptorKind::Gate(12) => "a call gate".to_owned(),
        DescriptorKind::Gate(4) => "a 16-bit call gate".to_owned(),
        DescriptorKind::Gate(_) => "a gate".to_owned(),
        DescriptorKind::Reserved(ty) => format!("of the reserved type {ty}"),
    };
    let present = if descriptor.present() { "" } else { ", not present" };
    format!("{what} of DPL {}{present}", descriptor.dpl())
}

/// What a selector names: `GDT entry 1 is empty`.
pub(super) fn selector(selector: Selector, entry: Option<u64>) -> String {
    match entry {
        Some(raw) => format!("{} is {}", slot(selector), descriptor(raw)),
        None => format!("{} lies beyond the table's limit", slot(selector)),
    }
}

/// What stands in the IDT for a vector: `its gate has DPL 0`.
pub(super) fn gate(entry: Option<u64>) -> String {
    match entry {
        None => "the IDT ends before it".into(),
        Some(0) => "it is empty".into(),
        Some(raw) => match Gate::decode(raw) {
            Err(_) if let Some(ty) = type_in_front(raw) => format!(
                "its type is {}, which is no gate's: the byte before the type byte, which has to be 0, holds {ty:02x}, so the two \
                 are exchanged",
                raw >> 40 & 0x1f
            ),
            Err(_) => format!("its type is {}, which is no gate's", raw >> 40 & 0x1f),
            Ok(gate) if !gate.present => "its gate is not present".into(),
            Ok(gate) if gate.kind == GateKind::Task => "it is a task gate".into(),
            Ok(gate) => format!("its gate has DPL {}", gate.dpl),
        },
    }
}

/// What looks like a gate's type byte, in the byte before it.
pub(super) fn type_in_front(raw: u64) -> Option<u8> {
    Some((raw >> 32) as u8)
        .filter(|one| matches!(one, 0x8e | 0x8f | 0xee | 0xef) && Gate::decode(raw).is_err())
}

/// The same for whatever an error code names.
pub(super) fn named(named: &Named) -> Option<String> {
    match *named {
        Named::Nothing => None,
        Named::Gate { entry, .. } => Some(gate(entry)),
        Named::Descriptor { selector: which, entry } => Some(selector(which, entry)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_put_into_words() {
        assert_eq!(error_code(0x402), "error code 0402 is IDT entry 0x80");
        assert_eq!(error_code(0x10), "error code 0010 is GDT entry 2");
        assert_eq!(
            error_code(0xf),
            "error code 000f is IDT entry 0x01, met while another event was delivered"
        );
        assert_eq!(error_code(0x0c), "error code 000c is LDT entry 1");
        assert_eq!(error_code(0), "error code 0000 names no selector");
    }

    #[test]
    fn descriptors_and_gates_are_put_into_words() {
        assert_eq!(descriptor(0), "empty");
        assert_eq!(descriptor(0x00cf_9a00_0000_ffff), "a code segment of DPL 0");
        assert_eq!(descriptor(0x00cf_f200_0000_ffff), "a data segment of DPL 3");
        assert_eq!(descriptor(0x0000_0900_0000_0067), "a TSS of DPL 0, not present");
        assert_eq!(gate(Some(0x0010_8e00_0008_0216)), "its gate has DPL 0");
        assert_eq!(gate(Some(0)), "it is empty");
        assert_eq!(gate(None), "the IDT ends before it");
        assert_eq!(selector(Selector(8), None), "GDT entry 1 lies beyond the table's limit");
    }
}
