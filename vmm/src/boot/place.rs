//! From a described image to guest memory: first every check, then every copy.
//!
//! Bytes that the file does not hold are written as zeros. Fresh guest memory is zero already, but a
//! loader that counts on it breaks with the first snapshot or second boot in the same memory.

use std::ops::Range;

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::image::{KernelImage, LoadSegment};
use super::size::Size;

/// Why an image cannot go where it wants to be. Ranges are physical addresses, the end not included.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// A segment reaches beyond guest memory.
    #[error(
        "segment {index} ({start:#x}..{end:#x}) lies outside guest memory, which ends at {memory_end:#x} ({}); give --mem {}",
        Size(*memory_end), Size::mebibytes_for(*end)
    )]
    OutsideMemory {
        /// Index of the program header.
        index: usize,
        /// First physical address of the segment.
        start: u64,
        /// First physical address behind it.
        end: u64,
        /// First physical address behind guest memory.
        memory_end: u64,
    },
    /// Two segments want the same bytes.
    #[error(
        "segments {first} ({first_start:#x}..{first_end:#x}) and {second} ({second_start:#x}..{second_end:#x}) overlap in physical memory"
    )]
    Overlap {
        /// Index of the lower one's program header.
        first: usize,
        /// Its first physical address.
        first_start: u64,
        /// The first physical address behind it.
        first_end: u64,
        /// Index of the other one's program header.
        second: usize,
        /// Its first physical address.
        second_start: u64,
        /// The first physical address behind it.
        second_end: u64,
    },
    /// Nothing is left for what the kernel is told.
    #[error(
        "it leaves no room below 636 KiB for the boot information; link it elsewhere, usually at 1 MiB"
    )]
    NoRoom,
    /// The copy failed although every check passed: guest memory is not what it says.
    #[error("segment {index} cannot be copied to guest memory: {reason}")]
    Copy {
        /// Index of the program header.
        index: usize,
        /// What guest memory said.
        reason: String,
    },
}

/// The first physical address behind guest memory.
pub fn memory_end<M: GuestMemoryBackend>(memory: &M) -> u64 {
    if memory.num_regions() == 0 {
        return 0;
    }
    memory.last_addr().0.saturating_add(1)
}

/// Checks that all segments lie in guest memory and none overlaps another.
///
/// # Errors
/// [`PlacementError::OutsideMemory`], [`PlacementError::Overlap`].
pub fn check<M: GuestMemoryBackend>(memory: &M, image: &KernelImage) -> Result<(), PlacementError> {
    for segment in &image.segments {
        let Range { start, end } = segment.physical_range();
        let length = segment.memory_size as usize;
        if end > 1 << 32 || !memory.check_range(GuestAddress(start), length) {
            return Err(PlacementError::OutsideMemory {
                index: segment.index,
                start,
                end,
                memory_end: memory_end(memory),
            });
        }
    }
    let mut ordered: Vec<&LoadSegment> = image.segments.iter().collect();
    ordered.sort_by_key(|segment| segment.physical);
    for pair in ordered.windows(2) {
        let (first, second) = (pair[0].physical_range(), pair[1].physical_range());
        if overlap(&first, &second) {
            return Err(PlacementError::Overlap {
                first: pair[0].index,
                first_start: first.start,
                first_end: first.end,
                second: pair[1].index,
                second_start: second.start,
                second_end: second.end,
            });
        }
    }
    Ok(())
}

/// Copies the segments out of `file` and zeroes what the file does not hold of them.
///
/// `image` describes `file`; [`check`] has passed.
///
/// # Errors
/// [`PlacementError::Copy`] if guest memory refuses a write all the same.
pub fn copy<M: GuestMemoryBackend>(
    memory: &M,
    image: &KernelImage,
    file: &[u8],
) -> Result<(), PlacementError> {
    for segment in &image.segments {
        let failed = |reason: String| PlacementError::Copy { index: segment.index, reason };
        let loaded = segment.loaded_range();
        let start = segment.file_offset as usize;
        let bytes = start
            .checked_add(segment.file_size as usize)
            .and_then(|end| file.get(start..end))
            .ok_or_else(|| failed("the file is shorter than its description".to_owned()))?;
        memory
            .write_slice(bytes, GuestAddress(loaded.start))
            .map_err(|error| failed(error.to_string()))?;
        zero(memory, loaded.end..segment.physical_range().end)
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

fn zero<M: GuestMemoryBackend>(
    memory: &M,
    range: Range<u64>,
) -> Result<(), vm_memory::GuestMemoryError> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut address = range.start;
    while address < range.end {
        let length = (range.end - address).min(ZEROS.len() as u64);
        memory.write_slice(&ZEROS[..length as usize], GuestAddress(address))?;
        address += length;
    }
    Ok(())
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
