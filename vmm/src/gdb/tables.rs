//! What the processor and the checker know of a guest, as text.

use super::monitor::named;
use crate::check::History;
use crate::machine::LinearMemory;
use crate::symbols::Symbols;
use crate::trace::event_name;
use ia32::{Descriptor, DescriptorKind, Gate, GateKind, State, Word};
use std::fmt::Write;

/// The TSS in TR: the stacks of the inner rings, and where the I/O map lies.
pub(super) fn tss(linear: &LinearMemory<'_>, state: &State, symbols: &Symbols) -> String {
    let tr = &state.tr;
    if tr.selector == 0 {
        return "TR is 0: no TSS is loaded\n".into();
    }
    let at = named(symbols, tr.base);
    let mut text = format!("TR {:04x}  TSS at {at}, limit {:x}\n", tr.selector, tr.limit);
    let word = |offset: u32| linear.read_u32(tr.base.wrapping_add(offset));
    for ring in 0..3 {
        match (word(4 + ring * 8), word(8 + ring * 8)) {
            (Some(esp), Some(ss)) => {
                let stack = symbols.describe_top(esp).filter(|_| esp != 0);
                let stack = stack.map_or(String::new(), |place| format!("  {}", place.short()));
                let ss = ss & 0xffff;
                let _ = writeln!(text, "SS{ring}:ESP{ring}  {ss:04x}:{esp:08x}{stack}");
            }
            _ => text.push_str("it is not mapped\n"),
        }
    }
    if let Some(map) = word(100) {
        let base = map >> 16;
        let end = if base > tr.limit { ", behind the limit: no port is open" } else { "" };
        let _ = writeln!(text, "I/O map at {base:x}{end}");
    }
    text
}

/// The GDT, an entry a line.
pub(super) fn gdt(linear: &LinearMemory<'_>, state: &State) -> String {
    let table = state.gdtr;
    let mut text = format!("GDTR {:08x}/{:04x}\n", table.base, table.limit);
    for index in 0..(u32::from(table.limit) + 1) / 8 {
        let mut bytes = [0; 8];
        if linear.read(table.base.wrapping_add(index * 8), &mut bytes).is_none() {
            let _ = writeln!(text, "{:04x}  is not mapped", index * 8);
            break;
        }
        let raw = u64::from_le_bytes(bytes);
        if raw == 0 {
            continue;
        }
        let descriptor = Descriptor(raw);
        let _ = writeln!(
            text,
            "{:04x}  {:016x}  base {:08x}  limit {:08x}  DPL {}  {}{}",
            index * 8,
            raw,
            descriptor.base(),
            descriptor.limit(),
            descriptor.dpl(),
            kind(descriptor.kind()),
            if descriptor.present() { "" } else { ", not present" },
        );
    }
    text
}

fn kind(kind: DescriptorKind) -> String {
    format!("{kind:?}").to_lowercase()
}

/// The IDT, an entry a line; those that are all zero are left out.
pub(super) fn idt(linear: &LinearMemory<'_>, state: &State, symbols: &Symbols) -> String {
    let table = state.idtr;
    let mut text = format!("IDTR {:08x}/{:04x}\n", table.base, table.limit);
    for index in 0..(u32::from(table.limit) + 1).div_euclid(8).min(256) {
        let mut bytes = [0; 8];
        if linear.read(table.base.wrapping_add(index * 8), &mut bytes).is_none() {
            let _ = writeln!(text, "{index:02x}  is not mapped");
            break;
        }
        let raw = u64::from_le_bytes(bytes);
        if raw == 0 {
            continue;
        }
        let _ = match Gate::decode(raw) {
            Ok(gate) => {
                let target = match gate.kind {
                    GateKind::Task => format!("TSS {:04x}", gate.selector.0),
                    _ => format!("{:04x}:{}", gate.selector.0, named(symbols, gate.offset)),
                };
                let absent = if gate.present { "" } else { ", not present" };
                writeln!(text, "{index:02x}  {} → {target}  DPL {}{absent}", gate.kind, gate.dpl)
            }
            Err(_) => writeln!(text, "{index:02x}  {raw:016x} is no gate"),
        };
    }
    text
}

/// The kernel stacks, and how they were used.
pub(super) fn stacks(history: &History, symbols: &Symbols) -> String {
    let mut text = String::new();
    for stack in history.stacks() {
        let place = symbols.describe_top(stack.top);
        let place = place.map_or(String::new(), |place| format!("  {}", place.short()));
        let _ = writeln!(
            text,
            "task {:<3} empty at {:08x}, lowest {:08x} ({} bytes used), {} entries, {} deep{place}",
            stack.task.0,
            stack.top,
            stack.lowest,
            stack.top.wrapping_sub(stack.lowest),
            stack.entries,
            stack.deepest,
        );
    }
    if text.is_empty() {
        text.push_str("no kernel stack was seen yet\n");
    }
    text
}

/// The frames that were pushed and not popped yet: where each task goes on.
pub(super) fn tasks(history: &History, symbols: &Symbols) -> String {
    let mut text = String::new();
    for live in history.live() {
        let task = live.task.map_or("-".into(), |task| format!("task {}", task.0));
        let eip = live.frame.get(Word::Eip).unwrap_or(0);
        let _ = writeln!(
            text,
            "{task:<8} #{} {}  frame at {:08x}, goes on at {}",
            live.sequence,
            event_name(live.kind, live.vector),
            live.frame.address,
            named(symbols, eip),
        );
    }
    match history.last_switch() {
        Some((task, entry)) => {
            let _ = writeln!(text, "task {} runs since the return after #{entry}", task.0);
        }
        None if text.is_empty() => text.push_str("no task was seen yet\n"),
        None => {}
    }
    text
}
