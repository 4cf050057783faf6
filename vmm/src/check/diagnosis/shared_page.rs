//! Copy-on-write, and a kernel that writes to such a page itself.
//!
//! ```text
//!  task 1  ─► 00103025 ─┐  read-only, and one page for both, until one of them writes: #PF, and a copy
//!  task 2  ─► 00103025 ─┘
//!  kernel   mov [buffer], eax   CR0.WP = 0: no #PF, and both have it
//! ```
//! With CR0.WP clear ring 0 writes to read-only pages (SDM vol. 3A, "Determination of access rights"). That it has is told by
//! the dirty bit: in an entry that is read-only before a system call and behind it, and the same but for the processor's own
//! bits, nothing else sets it. Only pages that the call's registers or the program's stack point at are looked at.

use super::left_at::{LeftAt, left_at};
use super::{Aftermath, Placed};
use crate::check::{CodePlace, Finding, Subject};
use crate::entry::{Entry, Kind, Return, Walk};
use crate::machine::Machine;
use ia32::{State, Word};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const FRAME: u64 = 0xffff_f000;
const WRITE_PROTECT: u32 = 1 << 16;
const CR4_PAE: u32 = 1 << 5;

/// So many address spaces, and pages of calls that have not come back, are remembered.
const SPACES: usize = 16;
const PAGES: usize = 16;
/// So many words of the program's stack may be arguments.
const ARGUMENTS: u32 = 4;

/// A read-only page that a call was made with.
#[derive(Clone, Copy, Debug)]
struct ReadOnlyPage {
    sequence: u64,
    place: LeftAt,
    /// Linear address, by which the call has it.
    pointer: u32,
    /// The page-table entry: where it is, and what it was.
    entry: (u64, u64),
    handler: u32,
    int: u32,
}

/// What is kept on the way.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedPages {
    spaces: Vec<u32>,
    pages: Vec<ReadOnlyPage>,
    /// Pages that the kernel has written to, of which nobody else has been seen to have one.
    own: Vec<ReadOnlyPage>,
    /// The one that was written, and the directory of the other.
    written: Option<(ReadOnlyPage, u32)>,
}

impl SharedPages {
    /// The kernel was entered.
    #[inline]
    pub(super) fn enter(&mut self, machine: &Machine, entry: &Entry) {
        let after = &entry.after;
        if after.cr0 & WRITE_PROTECT != 0 || !after.paging() || self.written.is_some() {
            return;
        }
        if entry.kind == Kind::Software && entry.from_outer_ring() && after.cr4 & CR4_PAE == 0 {
            self.look(machine, entry);
        }
    }

    fn look(&mut self, machine: &Machine, entry: &Entry) {
        let after = &entry.after;
        if !self.spaces.contains(&after.cr3) && self.spaces.len() < SPACES {
            self.spaces.push(after.cr3);
            self.look_for_another(machine, after);
        }
        let Some(place) = left_at(after, |word| entry.frame.get(word)) else { return };
        self.pages.retain(|page| page.place != place);
        let linear = machine.linear();
        let registers = after.general.to_array();
        let stack = entry.frame.get(Word::Esp).unwrap_or(0);
        let words =
            (1..=ARGUMENTS).filter_map(|word| linear.read_u32(stack.wrapping_add(word * 4)));
        let mut frames = Vec::new();
        for pointer in [1, 2, 3, 6, 7].map(|index| registers[index]).into_iter().chain(words) {
            let Some(found) = read_only(machine, after, pointer) else { continue };
            if found.1 & DIRTY != 0 || frames.contains(&found.0) {
                continue;
            }
            frames.push(found.0);
            if self.pages.len() == PAGES {
                self.pages.remove(0);
            }
            let int = entry.code.linear.unwrap_or(place.0);
            let handler = after.instruction_address();
            let sequence = entry.sequence;
            self.pages.push(ReadOnlyPage { sequence, place, pointer, entry: found, handler, int });
        }
    }

    /// The kernel is about to return.
    #[inline]
    pub(super) fn leave(&mut self, machine: &Machine, returning: &Return) {
        if !self.pages.is_empty() && returning.ring() == 3 && self.written.is_none() {
            self.compare(machine, returning);
        }
    }

    fn compare(&mut self, machine: &Machine, returning: &Return) {
        let state = &returning.state;
        let place = left_at(state, |word| returning.frame.get(word));
        let (own, others): (Vec<ReadOnlyPage>, Vec<ReadOnlyPage>) =
            std::mem::take(&mut self.pages).into_iter().partition(|page| Some(page.place) == place);
        self.pages = others;
        if state.cr0 & WRITE_PROTECT != 0 {
            return;
        }
        let is_written = |page: &ReadOnlyPage| {
            let now = read_only(machine, state, page.pointer);
            let (at, before) = page.entry;
            now.is_some_and(|now| now == (at, before | ACCESSED | DIRTY))
        };
        self.own.extend(own.into_iter().filter(is_written));
        self.own.truncate(PAGES);
        if !self.own.is_empty() {
            self.look_for_another(machine, state);
        }
    }

    /// Looks whether another address space has one of the pages that were written. Its entry is not dirty: it was there
    /// before, and not made as a copy of the one that is.
    #[cold]
    fn look_for_another(&mut self, machine: &Machine, state: &State) {
        let entry_in = |directory: u32, page: &ReadOnlyPage| {
            read_only(machine, &State { cr3: directory, ..*state }, page.pointer)
        };
        for page in &self.own {
            let (at, before) = page.entry;
            let is_unchanged = entry_in(page.place.2, page)
                .is_some_and(|(now, entry)| now == at && entry & FRAME == before & FRAME);
            let shares = |directory: &u32| {
                entry_in(*directory, page).is_some_and(|(other, entry)| {
                    other != at && entry & FRAME == before & FRAME && entry & DIRTY == 0
                })
            };
            let other = self.spaces.iter().find(|one| is_unchanged && shares(one));
            if let Some(other) = other {
                self.written = Some((*page, *other));
                return;
            }
        }
    }

    /// The kernel has written to no page that two programs have until one of them writes.
    pub(super) fn finding(&self, aftermath: &Aftermath<'_>) -> Option<Placed> {
        let (page, other) = self.written?;
        let ReadOnlyPage {
            sequence,
            place: (_, _, root),
            pointer,
            entry: (at, entry),
            handler,
            int,
        } = page;
        let physical = entry & FRAME;
        let finding = Finding::new(
            "shared_page",
            Subject::Kernel,
            format!(
                "the kernel has written to {} for #{sequence}, on a page that is read-only and another task's as well: both \
                 have what it wrote",
                aftermath.place(pointer)
            ),
            "a page of the task's own before anything is written to it",
            format!(
                "its page-table entry, at physical {at:08x}, was {entry:08x} at #{sequence} and has D (40) set behind it; CR3 {root:08x} \
                 and {other:08x} map the same page, physical {physical:08x}, both read-only"
            ),
        )
        .because("CR0.WP is 0: ring 0 writes to read-only pages, and no #PF asks for the copy")
        .advise(
            "set CR0.WP (bit 16) where paging is turned on, so that the kernel's own writes raise #PF too; or have the page copied \
             before the kernel writes to a program's buffer",
        )
        .about(CodePlace::Handler(handler));
        Some((format!("#{sequence} at {}", aftermath.place(int)), finding))
    }
}

/// Address and value of the page-table entry of a page that ring 3 may read and not write, of 4 KiB.
fn read_only(machine: &Machine, state: &State, linear: u32) -> Option<(u64, u64)> {
    let walk = Walk::of(machine.memory(), state, linear)?;
    let mut levels = walk.levels();
    let (directory, page) = (levels.next()?.entry?, levels.next()?);
    let entry = page.entry?;
    let is_read_only = entry & (PRESENT | WRITABLE | USER) == PRESENT | USER;
    (directory & USER != 0 && is_read_only).then_some((page.address, entry))
}
