//! ELF32: the format of 32-bit kernels.
//!
//! Only what a boot loader needs: the file header and the `PT_LOAD` program headers (System V ABI,
//! "ELF Header" and "Program Loading"). The `object` crate reads the structures; what may be in them is decided
//! here, so that each refusal is a sentence about the file and not about a parser. `goblin` and `elf` parse as
//! well, but `object` is needed for symbols and lines anyway (`symbols/elf.rs`), and reads without copying.

use object::LittleEndian;
use object::elf::{EM_386, ET_DYN, ET_EXEC, ET_REL, FileHeader32, PT_LOAD, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};
use thiserror::Error;

use super::image::{Format, KernelImage, LoadSegment, StartMode};
use super::start_note::{self, StartNoteError};

/// Bytes of an ELF32 file header.
const FILE_HEADER_SIZE: u64 = 52;
/// Bytes of an ELF32 program header.
const PROGRAM_HEADER_SIZE: u64 = 32;

/// Why a file is not an ELF32 executable for the i386. The text is a predicate: it follows the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Elf32Error {
    /// No byte.
    #[error("is empty")]
    Empty,
    /// No ELF magic.
    #[error(
        "is not an ELF file, nor anything else that esp0 boots; a flat binary takes --at ADDRESS, where it lies and begins"
    )]
    NotElf,
    /// Class 64.
    #[error("is an ELF64 file; esp0 boots 32-bit kernels")]
    Elf64,
    /// Class or version that does not exist.
    #[error("has an ELF header that is damaged: {0}")]
    Damaged(&'static str),
    /// Another machine, or the other byte order.
    #[error(
        "is an ELF file for another machine (e_machine {machine}{order}); esp0 boots i386 kernels"
    )]
    NotI386 {
        /// `e_machine`.
        machine: u16,
        /// ", big-endian" or nothing.
        order: &'static str,
    },
    /// Not `ET_EXEC`.
    #[error("is {kind}, not an ELF executable; link the kernel statically at fixed addresses")]
    NotExecutable {
        /// What it is instead.
        kind: &'static str,
    },
    /// The file ends too early.
    #[error("is truncated: its {what} ends at byte {end}, the file at byte {size}")]
    Truncated {
        /// The part that is missing.
        what: Part,
        /// Where the part ends.
        end: u64,
        /// Size of the file.
        size: u64,
    },
    /// A segment takes less memory than the file holds of it.
    #[error(
        "is damaged: segment {index} has {file_size} bytes in the file but only {memory_size} in memory"
    )]
    SegmentShrinks {
        /// Index of the program header.
        index: usize,
        /// `p_filesz`.
        file_size: u32,
        /// `p_memsz`.
        memory_size: u32,
    },
    /// No `PT_LOAD` with a size in memory.
    #[error("has no loadable segment")]
    NoSegment,
    /// Its note about the start cannot be followed.
    #[error("has a start note that {0}")]
    StartNote(StartNoteError),
    /// The entry point is not code of the file.
    #[error("has its entry point at {0:#x}, outside every segment that it loads")]
    EntryOutside(u32),
}

/// A part of an ELF file that can be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The file header.
    FileHeader,
    /// The table of program headers.
    ProgramHeaders,
    /// The bytes of the segment with this index.
    Segment(usize),
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FileHeader => formatter.write_str("ELF header"),
            Self::ProgramHeaders => formatter.write_str("program header table"),
            Self::Segment(index) => write!(formatter, "segment {index}"),
        }
    }
}

/// Describes an ELF32 executable; writes nothing and never panics, whatever the bytes.
///
/// # Errors
/// [`Elf32Error`].
pub fn describe(bytes: &[u8]) -> Result<KernelImage, Elf32Error> {
    check_identification(bytes)?;
    let size = bytes.len() as u64;
    let endian = LittleEndian;
    let header = FileHeader32::<LittleEndian>::parse(bytes)
        .map_err(|_| Elf32Error::Damaged("its identification is not that of ELF version 1"))?;
    let machine = header.e_machine(endian);
    if machine != EM_386 {
        return Err(Elf32Error::NotI386 { machine, order: "" });
    }
    match header.e_type(endian) {
        ET_EXEC => {}
        ET_DYN => return Err(not_executable("position-independent (ET_DYN)")),
        ET_REL => return Err(not_executable("an object file (ET_REL)")),
        _ => return Err(not_executable("neither a program nor an object file")),
    }

    let count = header
        .phnum(endian, bytes)
        .map_err(|_| Elf32Error::Damaged("its number of program headers is not given"))?;
    if count == 0 || header.e_phoff(endian) == 0 {
        return Err(Elf32Error::NoSegment);
    }
    if u64::from(header.e_phentsize(endian)) != PROGRAM_HEADER_SIZE {
        return Err(Elf32Error::Damaged("its program headers are not 32 bytes each"));
    }
    let end = u64::from(header.e_phoff(endian)) + count as u64 * PROGRAM_HEADER_SIZE;
    if end > size {
        return Err(truncated(Part::ProgramHeaders, end, size));
    }
    let program_headers = header
        .program_headers(endian, bytes)
        .map_err(|_| truncated(Part::ProgramHeaders, end, size))?;

    let mut segments = Vec::new();
    let mut start = StartMode::default();
    for (index, program_header) in program_headers.iter().enumerate() {
        if program_header.p_type(endian) == PT_NOTE {
            let offset = program_header.p_offset(endian) as usize;
            let end = offset as u64 + u64::from(program_header.p_filesz(endian));
            let notes = bytes
                .get(offset..end as usize)
                .ok_or_else(|| truncated(Part::Segment(index), end, size))?;
            if let Some(found) = start_note::find(notes).map_err(Elf32Error::StartNote)? {
                start = found;
            }
        }
        if program_header.p_type(endian) != PT_LOAD || program_header.p_memsz(endian) == 0 {
            continue;
        }
        let segment = LoadSegment {
            index,
            file_offset: program_header.p_offset(endian),
            file_size: program_header.p_filesz(endian),
            physical: program_header.p_paddr(endian),
            virtual_address: program_header.p_vaddr(endian),
            memory_size: program_header.p_memsz(endian),
            flags: program_header.p_flags(endian),
        };
        if segment.file_size > segment.memory_size {
            return Err(Elf32Error::SegmentShrinks {
                index,
                file_size: segment.file_size,
                memory_size: segment.memory_size,
            });
        }
        let end = u64::from(segment.file_offset) + u64::from(segment.file_size);
        if end > size {
            return Err(truncated(Part::Segment(index), end, size));
        }
        segments.push(segment);
    }
    if segments.is_empty() {
        return Err(Elf32Error::NoSegment);
    }
    let linked_entry = header.e_entry(endian);
    if let StartMode::RealMode { cs, ip } = start
        && StartMode::real_mode_address(cs, ip) != linked_entry
    {
        let problem = StartNoteError::NotTheEntryPoint { cs, ip, entry: linked_entry };
        return Err(Elf32Error::StartNote(problem));
    }
    let entry = KernelImage::physical_entry(&segments, linked_entry)
        .ok_or(Elf32Error::EntryOutside(linked_entry))?;
    Ok(KernelImage { format: Format::Elf32, entry, linked_entry, start, segments, video: None })
}

/// `e_ident`, byte by byte, so that the most telling sentence comes first.
fn check_identification(bytes: &[u8]) -> Result<(), Elf32Error> {
    const CLASS: usize = 4;
    const DATA: usize = 5;
    const MACHINE: usize = 18;
    let size = bytes.len() as u64;
    if bytes.is_empty() {
        return Err(Elf32Error::Empty);
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(Elf32Error::NotElf);
    }
    match bytes.get(CLASS) {
        Some(2) => return Err(Elf32Error::Elf64),
        Some(1) | None => {}
        Some(_) => return Err(Elf32Error::Damaged("it is neither 32-bit nor 64-bit")),
    }
    if size < FILE_HEADER_SIZE {
        return Err(truncated(Part::FileHeader, FILE_HEADER_SIZE, size));
    }
    match bytes[DATA] {
        1 => Ok(()),
        2 => Err(Elf32Error::NotI386 {
            machine: u16::from_be_bytes([bytes[MACHINE], bytes[MACHINE + 1]]),
            order: ", big-endian",
        }),
        _ => Err(Elf32Error::Damaged("it is neither little- nor big-endian")),
    }
}

fn truncated(what: Part, end: u64, size: u64) -> Elf32Error {
    Elf32Error::Truncated { what, end, size }
}

fn not_executable(kind: &'static str) -> Elf32Error {
    Elf32Error::NotExecutable { kind }
}
