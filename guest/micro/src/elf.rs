//! ELF32 files, as far as a program has to be loaded (TIS ELF Specification 1.2).
//!
//! A file is a claim as well: nothing in it is used before it has been held against its length.

use core::ops::Range;

/// A program in a file that was found to be one.
#[derive(Clone, Copy)]
pub(crate) struct Elf<'a> {
    file: &'a [u8],
}

/// A part of the file that belongs into memory.
pub(crate) struct Segment<'a> {
    /// Where it belongs.
    pub(crate) memory: Range<u32>,
    /// What it starts with; the rest is zeros.
    pub(crate) bytes: &'a [u8],
    /// Whether the program may write to it.
    pub(crate) writable: bool,
}

/// File offsets and sizes of the two kinds of header.
const HEADER: usize = 52;
const ENTRY: usize = 24;
const PROGRAM_HEADERS: usize = 28;
const PROGRAM_HEADER_SIZE: usize = 42;
const PROGRAM_HEADER_COUNT: usize = 44;

/// ELF of 32 bits, little-endian, version 1.
const IDENT: [u8; 7] = [0x7F, b'E', b'L', b'F', 1, 1, 1];
/// Type: executable; machine: 386.
const KIND: [u8; 4] = [2, 0, 3, 0];
const PT_LOAD: u32 = 1;
const PF_W: u32 = 2;

impl<'a> Elf<'a> {
    /// The program in a file.
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self, &'static str> {
        if file.get(..IDENT.len()) != Some(&IDENT) {
            return Err("no ELF file of 32 bits");
        }
        if file.len() < HEADER || file[16..20] != KIND {
            return Err("no executable for the 386");
        }
        Ok(Self { file })
    }

    /// The address of its first instruction.
    pub(crate) fn entry(self) -> u32 {
        self.word(ENTRY).unwrap_or(0)
    }

    /// Its segments that belong into memory, each with the question whether it lies in the file.
    pub(crate) fn segments(self) -> impl Iterator<Item = Result<Segment<'a>, &'static str>> {
        let half = |at: usize| usize::from(u16::from_le_bytes([self.file[at], self.file[at + 1]]));
        let (size, count) = (half(PROGRAM_HEADER_SIZE), half(PROGRAM_HEADER_COUNT));
        let start = self.word(PROGRAM_HEADERS).unwrap_or(0) as usize;
        (0..count)
            .map(move |index| start.wrapping_add(index * size))
            .filter(move |&header| self.word(header) == Some(PT_LOAD))
            .map(move |header| self.segment(header).ok_or("a segment is not in the file"))
    }

    fn segment(self, header: usize) -> Option<Segment<'a>> {
        let field = |index: usize| self.word(header + 4 * index);
        let (offset, address) = (field(1)? as usize, field(2)?);
        let (in_file, in_memory, flags) = (field(4)? as usize, field(5)?, field(6)?);
        let bytes = self.file.get(offset..offset.checked_add(in_file)?)?;
        (in_file <= in_memory as usize).then_some(Segment {
            memory: address..address.checked_add(in_memory)?,
            bytes,
            writable: flags & PF_W != 0,
        })
    }

    fn word(self, at: usize) -> Option<u32> {
        let bytes = self.file.get(at..at.checked_add(4)?)?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    }
}
