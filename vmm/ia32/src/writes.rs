//! What an event writes to memory, in order, each write with its owner.
//!
//! An event's writes are collected here and nothing is stored: the caller applies them, or holds
//! them against what a processor did. While the event is computed the log lies over memory, so that
//! later reads see earlier writes.
//!
//! Not every write is certain. Where a delivery faults half way, the manuals leave open which of
//! its writes have been made by then: those stay in the log as *possible* ([`Write::certain`] is
//! false). Bits that they leave open in a certain write are set in [`Write::undefined`].

use crate::{ReadMemory, SegmentRegister, Word, WriteMemory};
use core::fmt;

/// Why something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A word of the frame.
    Pushed(Word),
    /// The accessed bit of the segment descriptor with this selector.
    Accessed(u16),
    /// The busy bit of the TSS descriptor with this selector.
    Busy(u16),
    /// The accessed bit of a page-directory entry; with a 4 MiB page maybe the dirty bit too.
    PageDirectory,
    /// The accessed bit, and for a write the dirty bit, of a page-table entry.
    PageTable,
    /// A general register in the old task's TSS, by its number in instructions.
    TssGeneral(u8),
    /// A segment register in the old task's TSS.
    TssSegment(SegmentRegister),
    /// EIP in the old task's TSS.
    TssEip,
    /// EFLAGS in the old task's TSS.
    TssEflags,
    /// The previous-task link in the new task's TSS.
    Backlink,
}

impl Owner {
    /// The write sets or clears single bits of a byte and leaves the others as they are.
    pub const fn is_bit(self) -> bool {
        matches!(
            self,
            Owner::Accessed(_) | Owner::Busy(_) | Owner::PageDirectory | Owner::PageTable
        )
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Pushed(word) => write!(f, "pushed {}", word.name()),
            Owner::Accessed(selector) => write!(f, "accessed bit of descriptor {selector:04x}"),
            Owner::Busy(selector) => write!(f, "busy bit of TSS {selector:04x}"),
            Owner::PageDirectory => f.write_str("accessed and dirty bits of a directory entry"),
            Owner::PageTable => f.write_str("accessed and dirty bits of a page-table entry"),
            Owner::TssGeneral(number) => {
                write!(f, "{} in the old TSS", crate::General::NAMES[usize::from(number & 7)])
            }
            Owner::TssSegment(register) => write!(f, "{register} in the old TSS"),
            Owner::TssEip => f.write_str("EIP in the old TSS"),
            Owner::TssEflags => f.write_str("EFLAGS in the old TSS"),
            Owner::Backlink => f.write_str("previous-task link of the new TSS"),
        }
    }
}

/// One write, within one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Physical address of the first byte (linear, if the memory is).
    pub address: u64,
    /// Linear address of the first byte; for an entry of a paging structure the linear address whose
    /// translation used it.
    pub linear: u32,
    /// The bytes, lowest first from bit 0.
    pub value: u32,
    /// Bits of `value` that the manuals leave open.
    pub undefined: u32,
    /// How many bytes: 1 to 4.
    pub width: u8,
    /// It is made; otherwise it may or may not have been, before a fault.
    pub certain: bool,
    /// Why it is made.
    pub owner: Owner,
}

impl Write {
    const NONE: Write = Write {
        address: 0,
        linear: 0,
        value: 0,
        undefined: 0,
        width: 0,
        certain: false,
        owner: Owner::PageTable,
    };

    /// The value and the undefined bits at `address`, if the write covers it.
    pub const fn byte(&self, address: u64) -> Option<(u8, u8)> {
        let offset = address.wrapping_sub(self.address);
        if offset < self.width as u64 {
            let shift = 8 * offset as u32;
            Some(((self.value >> shift) as u8, (self.undefined >> shift) as u8))
        } else {
            None
        }
    }
}

/// How many writes the log can hold. A delivery through a gate makes at most 60, a task switch at
/// most 130; a chain has at most [`MAX_ATTEMPTS`](crate::MAX_ATTEMPTS) of them, of which in all but
/// contrived cases one is a task switch.
pub const CAPACITY: usize = 512;

/// The writes of an event in the order in which they are made.
#[derive(Clone)]
pub struct Writes {
    log: [Write; CAPACITY],
    length: u16,
    overflowed: bool,
    /// A bit for each block of 64 bytes that a write touches, several blocks to a bit: most reads are
    /// told by it that the log has nothing for them.
    blocks: u64,
}

impl Default for Writes {
    fn default() -> Self {
        Self::new()
    }
}

impl Writes {
    /// An empty log.
    pub const fn new() -> Self {
        Writes { log: [Write::NONE; CAPACITY], length: 0, overflowed: false, blocks: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.length = 0;
        self.overflowed = false;
        self.blocks = 0;
    }

    /// The writes, first to last.
    pub fn as_slice(&self) -> &[Write] {
        &self.log[..usize::from(self.length)]
    }

    /// The writes, first to last.
    pub fn iter(&self) -> core::slice::Iter<'_, Write> {
        self.as_slice().iter()
    }

    /// There were more than [`CAPACITY`]; the event is then reported as not modelled.
    pub const fn overflowed(&self) -> bool {
        self.overflowed
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.length)
    }

    pub(crate) fn push(&mut self, write: Write) {
        let last = usize::from(self.length);
        // The same possible write again says nothing new.
        if !write.certain && self.as_slice().contains(&write) {
            return;
        }
        self.blocks |= blocks(write.address, write.width.into());
        match self.log.get_mut(last) {
            Some(free) => {
                *free = write;
                self.length += 1;
            }
            None => self.overflowed = true,
        }
    }

    /// A fault ended the attempt: what was written since `from` may or may not have been.
    pub(crate) fn make_possible(&mut self, from: usize) {
        let length = self.len();
        for write in self.log[..length].iter_mut().skip(from) {
            write.certain = false;
        }
    }

    /// The byte that a read at `address` sees, `below` being what memory holds.
    pub(crate) fn byte_over(&self, address: u64, below: u8) -> u8 {
        self.iter()
            .rev()
            .filter(|write| write.certain)
            .find_map(|write| write.byte(address))
            .map_or(below, |(value, _)| value)
    }

    /// Whether a certain write covers one of the `width` bytes at `address`.
    #[inline]
    pub(crate) fn covers(&self, address: u64, width: u32) -> bool {
        let near = self.blocks & blocks(address, width) != 0;
        near && self.covers_exactly(address, width)
    }

    fn covers_exactly(&self, address: u64, width: u32) -> bool {
        self.iter().any(|write| {
            write.certain
                && write.address < address.wrapping_add(u64::from(width))
                && address < write.address.wrapping_add(u64::from(write.width))
        })
    }

    /// Whether one of the `width` bytes at `address` has been written with bits that are open.
    #[inline]
    pub(crate) fn leaves_open(&self, address: u64, width: u32) -> bool {
        let is_open = |address| self.expect(address, 0).undefined != 0;
        width > 0
            && self.covers(address, width)
            && (0..u64::from(width)).any(|n| is_open(address.wrapping_add(n)))
    }

    /// What memory may hold at `address` once the event is over, if it held `before`.
    pub fn expect(&self, address: u64, before: u8) -> ExpectedByte {
        let mut expected = ExpectedByte { value: before, undefined: 0, owner: None };
        for write in self.iter() {
            let Some((value, undefined)) = write.byte(address) else { continue };
            expected.owner = Some(write.owner);
            if write.certain && write.owner.is_bit() {
                // What an earlier write may have done to the other bits stays open.
                expected.undefined &= !(value ^ expected.value);
                expected.value = value;
            } else if write.certain {
                expected.value = value;
                expected.undefined = undefined;
            } else {
                // Made or not: the bits in which the two outcomes differ are open.
                expected.undefined |= undefined | (value ^ expected.value);
            }
        }
        expected
    }

    /// Makes the certain writes.
    pub fn apply(&self, memory: &mut (impl WriteMemory + ?Sized)) {
        for write in self.iter().filter(|write| write.certain) {
            for (offset, byte) in write.value.to_le_bytes().into_iter().enumerate() {
                if offset < usize::from(write.width) {
                    memory.write_u8(write.address.wrapping_add(offset as u64), byte);
                }
            }
        }
    }
}

impl<'w> IntoIterator for &'w Writes {
    type Item = &'w Write;
    type IntoIter = core::slice::Iter<'w, Write>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl PartialEq for Writes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Writes {}

/// The blocks that 1 to 4 bytes touch, as in [`Writes::blocks`].
const fn blocks(address: u64, width: u32) -> u64 {
    let last = address.wrapping_add(width as u64).wrapping_sub(1);
    1 << block(address) | 1 << block(last)
}

/// The same offset in pages that lie near to each other falls on different bits.
const fn block(address: u64) -> u64 {
    (address / 64).wrapping_add(address / 4096 * 5) % 64
}

/// What a byte of memory may be after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedByte {
    /// Its value.
    pub value: u8,
    /// The bits that may differ from it.
    pub undefined: u8,
    /// The last write that covers the byte, if any does.
    pub owner: Option<Owner>,
}

impl ExpectedByte {
    /// Whether the byte may be `got`.
    pub const fn allows(self, got: u8) -> bool {
        (self.value ^ got) & !self.undefined == 0
    }
}

/// Memory with the certain writes of an event over it.
pub(crate) struct Overlay<'m, M: ?Sized> {
    pub(crate) memory: &'m M,
    pub(crate) writes: &'m Writes,
}

impl<M: ReadMemory + ?Sized> ReadMemory for Overlay<'_, M> {
    fn read_u8(&self, address: u64) -> u8 {
        let below = self.memory.read_u8(address);
        if self.writes.covers(address, 1) { self.writes.byte_over(address, below) } else { below }
    }

    fn read_u32(&self, address: u64) -> u32 {
        if self.writes.covers(address, 4) {
            u32::from_le_bytes(core::array::from_fn(|n| {
                self.read_u8(address.wrapping_add(n as u64))
            }))
        } else {
            self.memory.read_u32(address)
        }
    }

    fn is_linear(&self) -> bool {
        self.memory.is_linear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(address: u64, value: u32, certain: bool) -> Write {
        Write {
            address,
            linear: address as u32,
            value,
            undefined: 0,
            width: 4,
            certain,
            owner: Owner::Pushed(Word::Eip),
        }
    }

    #[test]
    fn later_reads_see_earlier_writes() {
        let memory = [0u8; 16];
        let mut writes = Writes::new();
        writes.push(word(4, 0x0403_0201, true));
        let over = Overlay { memory: memory.as_slice(), writes: &writes };
        assert_eq!(over.read_u32(2), 0x0201_0000);
        assert_eq!(over.read_u32(6), 0x0000_0403);
        assert_eq!(over.read_u32(8), 0);
    }

    #[test]
    fn a_possible_write_may_have_been_made_or_not() {
        let mut writes = Writes::new();
        writes.push(word(0, 0x11, false));
        let expected = writes.expect(0, 0x10);
        assert!(expected.allows(0x10) && expected.allows(0x11) && !expected.allows(0x12));
        writes.push(word(0, 0x22, true));
        assert!(writes.expect(0, 0x10).allows(0x22) && !writes.expect(0, 0x10).allows(0x11));
        assert_eq!(writes.expect(4, 9), ExpectedByte { value: 9, undefined: 0, owner: None });
    }

    #[test]
    fn a_page_that_may_be_dirty_may_be_so_still_once_it_is_accessed() {
        let entry =
            |value, certain| Write { width: 1, owner: Owner::PageTable, ..word(0, value, certain) };
        let mut writes = Writes::new();
        writes.push(entry(0x67, false));
        writes.push(entry(0x27, true));
        let expected = writes.expect(0, 0x07);
        assert!(expected.allows(0x27) && expected.allows(0x67));
        assert!(!expected.allows(0x07) && !expected.allows(0x47));
    }

    #[test]
    fn only_certain_writes_are_applied() {
        let mut memory = [0u8; 8];
        let mut writes = Writes::new();
        writes.push(word(0, 1, true));
        writes.push(word(4, 2, false));
        writes.apply(&mut memory);
        assert_eq!(memory, [1, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn more_than_the_log_holds_is_noticed_and_lost() {
        let mut writes = Writes::new();
        for n in 0..=CAPACITY {
            writes.push(word(4 * n as u64, 1, true));
        }
        assert!(writes.overflowed());
        assert_eq!(writes.iter().len(), CAPACITY);
    }
}
