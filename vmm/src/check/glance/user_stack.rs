//! The stack of a program: where it begins, and what an interrupt has left on it.

use crate::check::ChangedWord;
use crate::check::history::History;
use crate::entry::{Entry, Kind, Return};
use crate::machine::LinearMemory;
use ia32::{TssWidth, Word};

/// So many words from ESP on are compared.
const WORDS: usize = 8;

/// A program that is begun by a frame made by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct BegunProgram {
    /// Linear address of SS0:ESP0, where its kernel stack ends.
    pub(in crate::check) top: u32,
    /// Physical address of the byte right below its ESP.
    pub(in crate::check) last_byte: u64,
    /// The frame's word that ESP is popped from.
    pub(in crate::check) word: ChangedWord,
    /// CR3.
    pub(in crate::check) address_space: u32,
    /// The page-table entry of its stack's last page, where a table of 4 bytes an entry has one.
    pub(in crate::check) page: Option<ChangedWord>,
    /// The last entry before.
    pub(in crate::check) after_entry: u64,
}

/// What lay on a program's stack from ESP on when an external interrupt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct InterruptedStack {
    /// The entry.
    pub(in crate::check) sequence: u64,
    /// Linear address of ESP.
    pub(in crate::check) address: u32,
    /// Where that lies in physical memory.
    pub(in crate::check) physical: u64,
    /// The words from there on, as far as that page reaches; zeros beyond.
    pub(in crate::check) words: [u32; WORDS],
}

/// A program's stack that has changed while the program was suspended, and another program has the same.
#[derive(Clone, Debug)]
pub(in crate::check) struct SharedUserStack {
    /// The program that goes on.
    pub(in crate::check) own: BegunProgram,
    /// The other one.
    pub(in crate::check) other: BegunProgram,
    /// The interrupt that suspended the first.
    pub(in crate::check) interrupted: u64,
    /// The last entry from the other since.
    pub(in crate::check) entered: u64,
    /// The first word that has changed: what it is now.
    pub(in crate::check) word: ChangedWord,
    /// What it was.
    pub(in crate::check) old: u32,
}

impl BegunProgram {
    /// The program that `returning` begins.
    pub(super) fn read(linear: &LinearMemory<'_>, returning: &Return) -> Option<Self> {
        let (state, frame) = (&returning.state, &returning.frame);
        if TssWidth::from_type(state.tr.ty()) != Some(TssWidth::Bits32)
            || frame.shape.from_virtual_8086
            || frame.shape.word_size != 4
        {
            return None;
        }
        let top = state.ss().base.wrapping_add(linear.read_u32(state.tr.base.wrapping_add(4))?);
        let (value, address) = (frame.get(Word::Esp)?, frame.address_of(Word::Esp)?);
        let physical = linear.paging.translate(linear.memory, address)?;
        let last_byte = linear.paging.translate(linear.memory, value.wrapping_sub(1))?;
        Some(BegunProgram {
            top,
            last_byte,
            word: ChangedWord { address, physical, value },
            address_space: state.cr3,
            page: page_of(linear, value.wrapping_sub(1)),
            after_entry: returning.after_sequence,
        })
    }

    /// The page at its end is another one now: programs that were forked had one until they wrote to it.
    pub(super) fn has_moved(&self, linear: &LinearMemory<'_>) -> bool {
        let now = linear.paging.translate(linear.memory, self.word.value.wrapping_sub(1));
        now != Some(self.last_byte)
    }
}

/// The page-table entry by which `address` is mapped.
fn page_of(linear: &LinearMemory<'_>, address: u32) -> Option<ChangedWord> {
    let paging = linear.paging;
    if !paging.enabled || paging.extended {
        return None;
    }
    let entry = linear.memory.read_u32(u64::from((paging.root & !0xfff) + (address >> 22) * 4))?;
    if entry & 0x80 != 0 && paging.large_pages {
        return None;
    }
    let at = (entry & !0xfff) + (address >> 12 & 0x3ff) * 4;
    let value = linear.memory.read_u32(at.into())?;
    Some(ChangedWord { address: at, physical: at.into(), value })
}

impl InterruptedStack {
    /// What `entry` has interrupted, if it is an external interrupt.
    pub(super) fn read(linear: &LinearMemory<'_>, entry: &Entry) -> Option<Self> {
        if entry.kind != Kind::External || entry.origin.virtual_8086 {
            return None;
        }
        let address = entry.frame.get(Word::Esp)?;
        let physical = linear.paging.translate(linear.memory, address)?;
        let words = words(linear, physical);
        Some(InterruptedStack { sequence: entry.sequence, address, physical, words })
    }
}

/// What lies at `physical`, up to the end of its page.
fn words(linear: &LinearMemory<'_>, physical: u64) -> [u32; WORDS] {
    let word = |index: usize| {
        let at = physical + index as u64 * 4;
        let is_near = at >> 12 == physical >> 12 && at & 0xfff <= 0xffc;
        linear.memory.read_u32(at).filter(|_| is_near).unwrap_or(0)
    };
    std::array::from_fn(word)
}

/// What another program has done to the stack of the one that goes on with the frame of entry `sequence`, on the kernel
/// stack that ends at `top`.
#[cold]
pub(super) fn shared(
    linear: &LinearMemory<'_>,
    history: &History,
    top: u32,
    sequence: u64,
) -> Option<SharedUserStack> {
    let (interrupted, own, other, entered) = history.shared_since(top, sequence)?;
    let now = words(linear, interrupted.physical);
    let index = (0..WORDS).find(|index| now[*index] != interrupted.words[*index])?;
    let offset = index as u32 * 4;
    Some(SharedUserStack {
        own: own.begun,
        other: other.begun,
        interrupted: sequence,
        entered,
        word: ChangedWord {
            address: interrupted.address.wrapping_add(offset),
            physical: interrupted.physical + u64::from(offset),
            value: now[index],
        },
        old: interrupted.words[index],
    })
}
