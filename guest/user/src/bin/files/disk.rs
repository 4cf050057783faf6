//! A disk in memory, and the file system on it.
//!
//! ```text
//! block 0         table: for each block the number of the next one of its file
//! block 1 …       directory: 32 bytes an entry
//! block 5 …       the files' blocks
//!
//!  entry:  name, 24 bytes │ length, 4 │ first block, 2 │ is used, 2
//! ```
//! The disk is nothing but bytes, as if it were read from a device: every number in it is looked at
//! before it is used.

use abi::service::{error, files};
use alloc::vec::Vec;
use user::call;

const BLOCK: usize = 512;
/// As many as the table has room for: 16 bits each.
const BLOCKS: usize = BLOCK / 2;
const ENTRY: usize = 32;
const DIRECTORY: core::ops::Range<usize> = 1..5;
const ENTRIES: usize = (DIRECTORY.end - DIRECTORY.start) * BLOCK / ENTRY;

/// In the table: a block that no file has, and the last one of a file.
const FREE: u16 = 0;
const LAST: u16 = 0xFFFF;

/// The disk.
pub(crate) struct Disk {
    bytes: &'static mut [u8],
}

impl Disk {
    /// A disk with no files on it; `None` if there is no memory for it.
    pub(crate) fn format() -> Option<Self> {
        let start = call::grow((BLOCKS * BLOCK) as i32).ok()?;
        // SAFETY: the kernel has just given us this memory, full of zeros, for good.
        let bytes = unsafe { core::slice::from_raw_parts_mut(start as *mut u8, BLOCKS * BLOCK) };
        let mut disk = Self { bytes };
        (0..DIRECTORY.end).for_each(|block| disk.set_next(block, LAST));
        Some(disk)
    }

    /// Name and length of the file with this number.
    pub(crate) fn entry(&self, number: u32) -> Option<(&[u8], u32)> {
        let entry = (0..ENTRIES).filter(|&entry| self.is_used(entry)).nth(number as usize)?;
        Some((self.name(entry), self.length(entry)))
    }

    /// Reads a file from an offset on; gives its length, and how many bytes were read.
    pub(crate) fn read(&self, name: &[u8], offset: u32, to: &mut [u8]) -> Option<(u32, usize)> {
        let entry = self.find(name)?;
        let length = self.length(entry);
        let end = length.min(offset.saturating_add(to.len() as u32));
        let mut count = 0;
        let mut position = offset;
        while position < end {
            let block = self.chain(entry).nth(position as usize / BLOCK)?;
            let start = position as usize % BLOCK;
            let here = (BLOCK - start).min((end - position) as usize);
            let from = &self.bytes[block * BLOCK + start..][..here];
            to[count..count + here].copy_from_slice(from);
            count += here;
            position += here as u32;
        }
        Some((length, count))
    }

    /// Puts bytes into a file, which has to reach to the offset; at 0 it is made, or emptied.
    pub(crate) fn write(&mut self, name: &[u8], offset: u32, bytes: &[u8]) -> u32 {
        if name.is_empty() || name.len() > files::NAME {
            return error::BAD;
        }
        if offset == 0 {
            self.remove(name);
        }
        let entry = match self.find(name).or_else(|| (offset == 0).then(|| self.make(name))?) {
            Some(entry) => entry,
            None if offset == 0 => return error::FULL,
            None => return error::NONE,
        };
        if offset > self.length(entry) {
            return error::BAD;
        }
        for (index, &byte) in bytes.iter().enumerate() {
            let position = offset as usize + index;
            let Some(block) = self.block_for(entry, position / BLOCK) else { return error::FULL };
            self.bytes[block * BLOCK + position % BLOCK] = byte;
            if position as u32 >= self.length(entry) {
                self.set_length(entry, position as u32 + 1);
            }
        }
        error::NO
    }

    /// Removes a file.
    pub(crate) fn remove(&mut self, name: &[u8]) -> u32 {
        let Some(entry) = self.find(name) else { return error::NONE };
        let blocks: Vec<usize> = self.chain(entry).collect();
        blocks.into_iter().for_each(|block| self.set_next(block, FREE));
        self.entry_bytes_mut(entry).fill(0);
        error::NO
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        (0..ENTRIES).find(|&entry| self.is_used(entry) && self.name(entry) == name)
    }

    fn make(&mut self, name: &[u8]) -> Option<usize> {
        let entry = (0..ENTRIES).find(|&entry| !self.is_used(entry))?;
        let bytes = self.entry_bytes_mut(entry);
        bytes.fill(0);
        bytes[..name.len()].copy_from_slice(name);
        bytes[28..30].copy_from_slice(&LAST.to_le_bytes());
        bytes[30] = 1;
        Some(entry)
    }

    /// The file's block with this number, which may be one more than it has.
    fn block_for(&mut self, entry: usize, number: usize) -> Option<usize> {
        let (mut last, mut count) = (None, 0);
        for block in self.chain(entry) {
            if count == number {
                return Some(block);
            }
            (last, count) = (Some(block), count + 1);
        }
        let new = (DIRECTORY.end..BLOCKS).find(|&block| self.next(block) == FREE)?;
        self.set_next(new, LAST);
        match last {
            Some(last) => self.set_next(last, new as u16),
            None => {
                self.entry_bytes_mut(entry)[28..30].copy_from_slice(&(new as u16).to_le_bytes())
            }
        }
        (count == number).then_some(new)
    }

    /// A file's blocks, in order; not more than there are, lest a damaged disk lead in circles.
    fn chain(&self, entry: usize) -> impl Iterator<Item = usize> {
        let bytes = self.entry_bytes(entry);
        let first = u16::from_le_bytes([bytes[28], bytes[29]]);
        let is_block = |&block: &u16| (DIRECTORY.end..BLOCKS).contains(&usize::from(block));
        core::iter::successors(Some(first).filter(is_block), move |&block| {
            Some(self.next(block.into())).filter(is_block)
        })
        .map(usize::from)
        .take(BLOCKS)
    }

    fn next(&self, block: usize) -> u16 {
        u16::from_le_bytes([self.bytes[2 * block], self.bytes[2 * block + 1]])
    }

    fn set_next(&mut self, block: usize, next: u16) {
        self.bytes[2 * block..2 * block + 2].copy_from_slice(&next.to_le_bytes());
    }

    fn is_used(&self, entry: usize) -> bool {
        self.entry_bytes(entry)[30] != 0
    }

    fn name(&self, entry: usize) -> &[u8] {
        let name = &self.entry_bytes(entry)[..files::NAME];
        &name[..name.iter().position(|&byte| byte == 0).unwrap_or(name.len())]
    }

    fn length(&self, entry: usize) -> u32 {
        let bytes = &self.entry_bytes(entry)[24..28];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn set_length(&mut self, entry: usize, length: u32) {
        self.entry_bytes_mut(entry)[24..28].copy_from_slice(&length.to_le_bytes());
    }

    fn entry_bytes(&self, entry: usize) -> &[u8] {
        &self.bytes[DIRECTORY.start * BLOCK + entry * ENTRY..][..ENTRY]
    }

    fn entry_bytes_mut(&mut self, entry: usize) -> &mut [u8] {
        &mut self.bytes[DIRECTORY.start * BLOCK + entry * ENTRY..][..ENTRY]
    }
}

const _: () = assert!(files::NAME == 24);
