//! ELF32 files, as far as a program has to be loaded (TIS ELF Specification 1.2).
//!
//! A file is a claim as well: it may lie in the memory of a program, which can change it while it is
//! read. So each header is read once, and nothing in it is used before it has been held against
//! the file's length.

use abi::call::Error;
use core::ops::Range;

/// Bytes that can be read in pieces.
pub(crate) trait Image {
    /// How many there are.
    fn length(&self) -> u32;
    /// Copies them from an offset on; they have to be there.
    fn read(&self, offset: u32, to: &mut [u8]) -> Result<(), Error>;
}

impl Image for &[u8] {
    fn length(&self) -> u32 {
        self.len() as u32
    }

    fn read(&self, offset: u32, to: &mut [u8]) -> Result<(), Error> {
        let start = offset as usize;
        let end = start.checked_add(to.len()).ok_or(Error::BadProgram)?;
        to.copy_from_slice(self.get(start..end).ok_or(Error::BadProgram)?);
        Ok(())
    }
}

impl Image for crate::memory::user::Claim {
    fn length(&self) -> u32 {
        self.len()
    }

    fn read(&self, offset: u32, to: &mut [u8]) -> Result<(), Error> {
        self.copy_in(offset, to)
    }
}

/// A program in a file that was found to be one.
pub(crate) struct Elf<'a> {
    file: &'a dyn Image,
    header: [u8; HEADER],
}

/// A part of the file that belongs into memory.
pub(crate) struct Segment {
    /// Where it belongs.
    pub(crate) memory: Range<u32>,
    /// Where in the file it starts. What the file does not have is zeros.
    pub(crate) offset: u32,
    /// How many bytes the file has.
    pub(crate) in_file: u32,
    /// Whether the program may write to it.
    pub(crate) writable: bool,
}

/// File offsets and sizes of the two kinds of header.
const HEADER: usize = 52;
const ENTRY: usize = 24;
const PROGRAM_HEADERS: usize = 28;
const PROGRAM_HEADER_SIZE: usize = 42;
const PROGRAM_HEADER_COUNT: usize = 44;
/// The size of a program header: other sizes than the usual one are refused.
const PROGRAM_HEADER: usize = 32;

/// ELF of 32 bits, little-endian, version 1.
const IDENT: [u8; 7] = [0x7F, b'E', b'L', b'F', 1, 1, 1];
/// Type: executable; machine: 386.
const KIND: [u8; 4] = [2, 0, 3, 0];
const PT_LOAD: u32 = 1;
const PF_W: u32 = 2;

/// More program headers than any program has.
const MAX_SEGMENTS: u16 = 16;

impl<'a> Elf<'a> {
    /// The program in a file.
    pub(crate) fn parse(file: &'a dyn Image) -> Result<Self, Error> {
        let mut header = [0; HEADER];
        if file.length() < HEADER as u32 {
            return Err(Error::BadProgram);
        }
        file.read(0, &mut header)?;
        let elf = Self { file, header };
        let is_program = header[..IDENT.len()] == IDENT
            && header[16..20] == KIND
            && elf.half(PROGRAM_HEADER_SIZE) == PROGRAM_HEADER as u16
            && elf.half(PROGRAM_HEADER_COUNT) <= MAX_SEGMENTS;
        if is_program { Ok(elf) } else { Err(Error::BadProgram) }
    }

    /// The address of its first instruction.
    pub(crate) fn entry(&self) -> u32 {
        word(&self.header, ENTRY)
    }

    /// Its segments that belong into memory, each with the question whether it lies in the file.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Result<Segment, Error>> {
        let headers = (0..u32::from(self.half(PROGRAM_HEADER_COUNT))).map(|index| {
            let start = word(&self.header, PROGRAM_HEADERS);
            let mut header = [0; PROGRAM_HEADER];
            let offset = start.checked_add(index * PROGRAM_HEADER as u32);
            let end = offset.and_then(|offset| offset.checked_add(PROGRAM_HEADER as u32));
            if end.is_none_or(|end| end > self.file.length()) {
                return Err(Error::BadProgram);
            }
            self.file.read(offset.ok_or(Error::BadProgram)?, &mut header)?;
            Ok(header)
        });
        headers
            .filter(|header| !matches!(header, Ok(header) if word(header, 0) != PT_LOAD))
            .map(|header| self.segment(&header?).ok_or(Error::BadProgram))
    }

    fn segment(&self, header: &[u8; PROGRAM_HEADER]) -> Option<Segment> {
        let [offset, address, in_file, in_memory, flags] =
            [4, 8, 16, 20, 24].map(|at| word(header, at));
        let lies_in_file = offset.checked_add(in_file)? <= self.file.length();
        (lies_in_file && in_file <= in_memory).then_some(Segment {
            memory: address..address.checked_add(in_memory)?,
            offset,
            in_file,
            writable: flags & PF_W != 0,
        })
    }

    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.header[at], self.header[at + 1]])
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
