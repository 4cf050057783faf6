//! Whether a kernel stack lies in a table that the processor reads: gates below it, or a page table of the directory in use.
//!
//! ```text
//!  IDT  ├ gate ┬ gate ┬ gate ┤ frame │      ESP was loaded with the start of what lies behind the table
//!
//!  CR3 ─► directory ─► page table ═ the page that the frame is in
//! ```
//! A limit may be larger than the table, and a directory may hold what was never filled in: so there have to be gates right
//! below the frame, or entries that map page after page.

use crate::check::History;
use crate::entry::Entry;
use crate::machine::LinearMemory;
use ia32::{Gate, GateKind};

const PRESENT: u32 = 1;
const LARGE: u32 = 1 << 7;
/// Accessed and dirty, which the processor sets.
const MARKS: u32 = 0x60;
const CR4_PAE: u32 = 1 << 5;
/// So many gates right below a frame are looked at.
const GATES: u32 = 4;
/// So many neighbours that map page after page make a table.
const NEIGHBOURS: usize = 4;
const PAGE: usize = 0x1000;

/// The table that a stack lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) enum TableUnder {
    /// The IDT: gates stand right below the words.
    Idt,
    /// The same, where symbols tell that the array which the stack has come into is the IDT; gates that nobody uses stand there.
    EndOfIdt,
    /// The page directory in CR3.
    Directory { physical: u32 },
    /// A page table of it, which maps 4 MiB from `maps` on.
    PageTable {
        physical: u32,
        maps: u32,
        /// Physical address of the directory's entry that leads to it.
        entry: u32,
    },
}

impl TableUnder {
    /// At an entry; with it what need not be looked at again.
    #[inline]
    pub(super) fn of(
        linear: &LinearMemory<'_>,
        entry: &Entry,
        history: &History,
    ) -> (Option<TableUnder>, Option<(u32, u32)>) {
        let (after, low) = (&entry.after, entry.frame.address);
        let in_idt = low.wrapping_sub(after.idtr.base) <= u32::from(after.idtr.limit);
        if in_idt && !entry.from_outer_ring() && has_gates_below(linear, entry) {
            return (Some(TableUnder::Idt), None);
        }
        // Where the stack was switched, ESP0 has led there.
        if in_idt && !entry.from_outer_ring() && is_idt_array(entry, history) {
            return (Some(TableUnder::EndOfIdt), None);
        }
        if !after.paging() || after.cr4 & CR4_PAE != 0 {
            return (None, None);
        }
        let key = (after.cr3, low & !0xfff);
        if history.has_looked_under(key) {
            return (None, None);
        }
        (pages(linear, entry), Some(key))
    }
}

/// A variable that is as large as the table lies where that is: the limit is no larger than it.
fn is_idt_array(entry: &Entry, history: &History) -> bool {
    let idtr = entry.after.idtr;
    let array = history.objects().at(idtr.base);
    array.is_some_and(|one| {
        one.start == idtr.base && one.end - one.start == u32::from(idtr.limit) + 1
    })
}

fn has_gates_below(linear: &LinearMemory<'_>, entry: &Entry) -> bool {
    let (idtr, cs) = (entry.after.idtr, entry.after.cs().selector);
    let index = entry.frame.address.wrapping_sub(idtr.base) / 8;
    let is_gate = |index: u32| {
        let mut bytes = [0; 8];
        linear.read(idtr.base.wrapping_add(index * 8), &mut bytes).is_some()
            && Gate::decode(u64::from_le_bytes(bytes)).is_ok_and(|gate| {
                gate.present && gate.kind != GateKind::Task && gate.selector.0 & !3 == cs & !3
            })
    };
    index >= GATES && (index - GATES..index).all(is_gate)
}

#[cold]
fn pages(linear: &LinearMemory<'_>, entry: &Entry) -> Option<TableUnder> {
    let memory = linear.memory;
    let page = linear.paging.translate(memory, entry.frame.address)? as u32 & !0xfff;
    let directory = entry.after.cr3 & !0xfff;
    let table = match page == directory {
        true => TableUnder::Directory { physical: page },
        false => (0..1024u32).find_map(|index| {
            let entry = directory + index * 4;
            let value = memory.read_u32(entry.into())?;
            let leads = value & (PRESENT | LARGE) == PRESENT && value & !0xfff == page;
            leads.then_some(TableUnder::PageTable { physical: page, maps: index << 22, entry })
        })?,
    };
    let mut bytes = [0; PAGE];
    memory.read(page.into(), &mut bytes)?;
    maps_page_after_page(&bytes).then_some(table)
}

/// Entries stand side by side that map pages side by side.
fn maps_page_after_page(table: &[u8; PAGE]) -> bool {
    let words: Vec<u32> = table
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) & !MARKS)
        .collect();
    let follow = words
        .windows(2)
        .filter(|two| two[0] & PRESENT != 0 && two[1].wrapping_sub(two[0]) == PAGE as u32);
    follow.count() >= NEIGHBOURS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_maps_page_after_page_and_a_stack_does_not() {
        let mut table = [0; PAGE];
        for index in 0..6u32 {
            let entry = (0x40_0000 + index * 0x1000) | 0x7 | (index & 1) << 5;
            table[index as usize * 4..][..4].copy_from_slice(&entry.to_le_bytes());
        }
        assert!(maps_page_after_page(&table));
        let mut stack = [0; PAGE];
        for (index, word) in
            [0x10_0235u32, 0x10_1235, 0x1b, 0x202, 0x10_0fff].into_iter().enumerate()
        {
            stack[index * 4..][..4].copy_from_slice(&word.to_le_bytes());
        }
        assert!(!maps_page_after_page(&stack));
    }
}
