//! Page tables that the processor reads otherwise than they were made: CR3 in the middle of a page, entries of another
//! size, pages of 4 MiB that CR4 does not allow.
//!
//! SDM vol. 3A, "Hierarchical paging structures", "32-bit paging" and "PAE paging". Asked where what ring 0 runs on is
//! not mapped.

use super::Aftermath;
use super::explained::Explained;
use crate::machine::Memory;
use ia32::State;

const CR4_PSE: u32 = 1 << 4;
const CR4_PAE: u32 = 1 << 5;
const PRESENT: u32 = 1;
const LARGE: u32 = 1 << 7;
/// Bits 4 and 3 of CR3 are PCD and PWT; the others below bit 12 are ignored.
const CACHE_BITS: u32 = 0x18;

/// Why the processor finds something else for `address` than what the kernel has put into its tables.
pub(super) fn explain(state: &State, address: u32, aftermath: &Aftermath<'_>) -> Option<Explained> {
    if !state.paging() || state.cr4 & CR4_PAE != 0 {
        return None;
    }
    let directory = state.cr3 & !0xfff;
    directory_in_the_middle(state, aftermath)
        .or_else(|| large_without_pse(state, address, aftermath))
        .or_else(|| entries_of_pae(aftermath.memory, directory))
}

/// CR3 holds the address of something that begins no page.
fn directory_in_the_middle(state: &State, aftermath: &Aftermath<'_>) -> Option<Explained> {
    let (cr3, directory) = (state.cr3, state.cr3 & !0xfff);
    if cr3 & 0xfff & !CACHE_BITS == 0 {
        return None;
    }
    Some(
        Explained::because(format!(
            "CR3 was loaded with {}, which is no multiple of 4096: the processor drops bits 11:0 and takes the words from \
             {directory:08x} on for the directory",
            aftermath.place(cr3)
        ))
        .advise("align the page directory to 4096 bytes, and each page table as well"),
    )
}

/// Without CR4.PSE the bit that makes a page of 4 MiB means nothing.
fn large_without_pse(state: &State, address: u32, aftermath: &Aftermath<'_>) -> Option<Explained> {
    let at = u64::from(state.cr3 & !0xfff) + u64::from(address >> 22) * 4;
    let entry = aftermath.memory.read_u32(at)?;
    let is_meant = entry & (PRESENT | LARGE) == PRESENT | LARGE && state.cr4 & CR4_PSE == 0;
    is_meant.then(|| {
        Explained::because(format!(
            "the directory entry of {address:08x}, {entry:08x} at physical {at:08x}, has PS set, a page of 4 MiB, and CR4.PSE is 0: \
             it is read as the address of a page table, {:08x}",
            entry & !0xfff
        ))
        .advise("set CR4.PSE (bit 4) before paging is turned on, or map by page tables")
    })
}

/// CR4.PAE is 0, and the tables have entries of eight bytes.
fn entries_of_pae(memory: &Memory, directory: u32) -> Option<Explained> {
    let pointers = wide_entries(memory, directory, 4)?;
    let next = *pointers.first()?;
    if wide_entries(memory, next & !0xfff, 8)?.len() < 4 {
        return None;
    }
    Some(
        Explained::because(format!(
            "the tables that CR3 leads to, at {directory:08x} and at {:08x}, have entries of eight bytes, which are those of PAE, and \
             CR4.PAE is 0: they are read as entries of four",
            next & !0xfff
        ))
        .advise("set CR4.PAE (bit 5) before paging is turned on"),
    )
}

/// The low halves of those that are present of `count` entries of eight bytes; none if an upper half is not 0.
fn wide_entries(memory: &Memory, table: u32, count: u64) -> Option<Vec<u32>> {
    let mut present = Vec::new();
    for at in (u64::from(table)..).step_by(8).take(count as usize) {
        let (low, high) = (memory.read_u32(at)?, memory.read_u32(at + 4)?);
        if high != 0 {
            return None;
        }
        present.extend((low & PRESENT != 0).then_some(low));
    }
    Some(present)
}
