//! The words of a stack while the guest stands still: copied, told, and compared later.

use crate::machine::LinearMemory;
use crate::symbols::{Place, Symbols};
use crate::trace::schema::{StackDetail, Words};

/// Of a stack so many pages are looked at: that of ESP, the one below it, and those up to ESP0.
const PAGES: u32 = 5;
const PAGE: u32 = 0x1000;
/// A guard page is looked for so many pages below.
const BELOW: u32 = 8;
/// Bytes from ESP upwards that are told.
const TOLD: u32 = 512;
/// An object that reaches farther up than this is no stack.
const LARGEST: u32 = 0x10000;
/// Words of the interrupted stack.
const USER: usize = 16;

/// The stack's memory around an entry.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    from: u32,
    bytes: Vec<u8>,
    /// Which of its pages are mapped.
    mapped: Vec<bool>,
    /// How many pages in a row are mapped below that of the frame, before one that is not; none if more than
    /// were looked at.
    below: Option<u32>,
}

impl Copied {
    /// Copies the pages of a stack: that of the frame and the one below it, up to the stack's end if that is near.
    pub(super) fn of(linear: &LinearMemory<'_>, frame: u32, top: u32) -> Self {
        let page = frame & !(PAGE - 1);
        let from = page.saturating_sub(PAGE);
        let last = top.wrapping_sub(1) & !(PAGE - 1);
        let near = last >= page && (last - from) / PAGE < PAGES;
        let count = if near { (last - from) / PAGE + 1 } else { 2 };
        let mut bytes = vec![0; (count * PAGE) as usize];
        let mut mapped = Vec::new();
        for (index, part) in bytes.chunks_mut(PAGE as usize).enumerate() {
            mapped.push(linear.read(from + index as u32 * PAGE, part).is_some());
        }
        let below = (1..=BELOW).position(|below| {
            let at = page.checked_sub(below * PAGE);
            at.is_none_or(|at| linear.paging.translate(linear.memory, at).is_none())
        });
        Copied { from, bytes, mapped, below: below.map(|pages| pages as u32) }
    }

    /// All words with their addresses.
    pub(super) fn words(&self) -> impl Iterator<Item = (u32, u32)> {
        let words = self.bytes.as_chunks::<4>().0.iter();
        let from = self.from;
        words.enumerate().map(move |(index, bytes)| {
            (from.wrapping_add(index as u32 * 4), u32::from_le_bytes(*bytes))
        })
    }

    /// The stack as its line has it. Of what lies below ESP nothing but the entry's own changes will be shown.
    pub(super) fn told(&self, esp: u32) -> StackDetail {
        let end = self.from.wrapping_add(self.bytes.len() as u32);
        let words = self.words().filter(|(address, value)| {
            *value != 0 && *address >= esp && *address < esp.saturating_add(TOLD)
        });
        StackDetail {
            from: format!("{:08x}", self.from),
            to: format!("{end:08x}"),
            below: self.below,
            words: runs(words),
        }
    }

    /// The words that have changed since, with what they hold now.
    pub(super) fn changed(&self, linear: &LinearMemory<'_>) -> Vec<(u32, u32)> {
        let mut bytes = vec![0; self.bytes.len()];
        for (index, page) in bytes.chunks_mut(PAGE as usize).enumerate() {
            if self.mapped.get(index) == Some(&true) {
                let start = self.from + index as u32 * PAGE;
                if linear.read(start, page).is_none() {
                    page.copy_from_slice(&self.bytes[index * PAGE as usize..][..page.len()]);
                }
            }
        }
        let after = Copied { bytes, ..self.clone() };
        self.words()
            .zip(after.words())
            .filter(|((_, old), (_, new))| old != new)
            .map(|(_, new)| new)
            .collect()
    }
}

/// The end of the object that a stack pointer is in, and its name: where that stack is empty, if it is one
/// object. None if what is there is code, or larger than stacks are: then the name is a label's.
pub(super) fn end_around(symbols: &Symbols, esp: u32) -> Option<(u32, Place)> {
    let own = symbols.describe_top(esp).filter(|place| !place.is_code)?;
    let inside = |end: u32| {
        let place = symbols.describe_top(end);
        place.is_some_and(|place| place.symbol == own.symbol && place.file == own.file)
    };
    let (mut end, mut outside) = (esp, esp.checked_add(LARGEST)?);
    if inside(outside) {
        return None;
    }
    while outside - end > 1 {
        let middle = end + (outside - end) / 2;
        if inside(middle) { end = middle } else { outside = middle }
    }
    Some((end, symbols.describe_top(end)?))
}

/// The words at an interrupted stack's pointer, and upwards.
pub(super) fn user_words(linear: &LinearMemory<'_>, esp: u32) -> Option<Words> {
    let mut bytes = [0; USER * 4];
    let read = linear.read_some(esp, &mut bytes) / 4;
    let words = bytes.as_chunks::<4>().0.iter().take(read);
    let digits: String = words.map(|word| format!("{:08x}", u32::from_le_bytes(*word))).collect();
    (read > 0).then(|| (format!("{esp:08x}"), digits))
}

/// Words that follow each other, as an address and eight digits each.
pub(super) fn runs(words: impl IntoIterator<Item = (u32, u32)>) -> Vec<Words> {
    let mut runs: Vec<Words> = Vec::new();
    let mut next = None;
    for (address, value) in words {
        let digits = format!("{value:08x}");
        match runs.last_mut() {
            Some((_, run)) if next == Some(address) => run.push_str(&digits),
            _ => runs.push((format!("{address:08x}"), digits)),
        }
        next = address.checked_add(4);
    }
    runs
}
