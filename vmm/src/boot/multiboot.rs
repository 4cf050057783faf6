//! Multiboot 1: finding the header in a kernel file and deciding whether it can be satisfied.
//!
//! Source: Multiboot Specification version 0.6.96, sections 3.1.1 to 3.1.3.
//! ```text
//!  offset  field
//!     0    magic          0x1BADB002
//!     4    flags          bits 0–15 have to be satisfied, 16–31 may be ignored
//!     8    checksum       magic + flags + checksum = 0 modulo 2^32
//!    12    header_addr    ┐
//!    16    load_addr      │
//!    20    load_end_addr  │ with flag 16
//!    24    bss_end_addr   │
//!    28    entry_addr     ┘
//!    32    mode_type      ┐ with flag 2, a wish: 0 for graphics, 1 for text
//!    36    width          │
//!    40    height         │
//!    44    depth          ┘
//! ```

use super::framebuffer::VideoMode;
use thiserror::Error;

/// What marks the header.
pub const HEADER_MAGIC: u32 = 0x1BAD_B002;
/// What EAX holds at the kernel's entry (section 3.2).
pub const BOOT_LOADER_MAGIC: u32 = 0x2BAD_B002;
/// The header lies within this many bytes of the file, whole (section 3.1).
pub const SEARCH_LIMIT: usize = 8192;
/// Modules have to be aligned to pages. They always are.
pub const FLAG_ALIGN_MODULES: u32 = 1 << 0;
/// The information has to hold memory sizes and, where there is one, a map. It always does.
pub const FLAG_MEMORY_INFORMATION: u32 = 1 << 1;
/// The information has to describe a video mode. What a kernel asks for is a preference (section 3.1.4), and it has to
/// look at what it got.
pub const FLAG_VIDEO_MODE: u32 = 1 << 2;
/// The address fields of the header are valid and count.
pub const FLAG_ADDRESSES: u32 = 1 << 16;

/// The type of mode that is graphics.
const GRAPHICS: u32 = 0;

/// Flags that the specification lets a boot loader refuse but not overlook.
const REQUIRED_FLAGS: u32 = 0x0000_FFFF;
const SATISFIED_FLAGS: u32 = FLAG_ALIGN_MODULES | FLAG_MEMORY_INFORMATION | FLAG_VIDEO_MODE;

/// Why a Multiboot header is missing or cannot be satisfied. The text is a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// None in the first 8 KiB.
    #[error(
        "has no Multiboot header: 0x1badb002 with a right checksum in its first 8192 bytes, on a 4-byte boundary; nor one of Multiboot 2"
    )]
    Missing,
    /// The magic is there and the checksum is wrong.
    #[error(
        "has a Multiboot header at byte {offset} whose checksum is {found:#010x}; expected {expected:#010x}"
    )]
    Checksum {
        /// Offset of the magic in the file.
        offset: usize,
        /// The checksum field.
        found: u32,
        /// What it would have to be.
        expected: u32,
    },
    /// Another required flag.
    #[error("requires Multiboot flags {0:#06x}, which the specification does not define")]
    UnknownRequirement(u32),
    /// Flag 16, but the header ends too early.
    #[error("has a Multiboot header that is cut off before its address fields")]
    CutOff,
    /// Multiboot 2 for another processor.
    #[error("has a Multiboot 2 header for architecture {0}; esp0 boots i386 kernels (0)")]
    Architecture(u32),
    /// A tag of a Multiboot 2 header.
    #[error("requires Multiboot 2 header tag {0}, which the specification does not define")]
    UnknownTag(u16),
    /// A request of a Multiboot 2 header.
    #[error("requires Multiboot 2 information tag {0}, which esp0 does not give")]
    InformationTag(u32),
    /// Flag 16 with addresses that contradict each other.
    #[error("has Multiboot address fields that contradict each other: {0}")]
    Addresses(&'static str),
}

/// The address fields (section 3.1.3); physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadAddresses {
    /// Where the header itself belongs.
    pub header: u32,
    /// Where loading starts.
    pub load: u32,
    /// Where loading ends; 0 for the end of the file.
    pub load_end: u32,
    /// Where the zeroed memory ends; 0 for none.
    pub bss_end: u32,
    /// Where the kernel is entered.
    pub entry: u32,
}

/// A Multiboot header that can be satisfied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its offset in the file in bytes.
    pub offset: usize,
    /// Its flags.
    pub flags: u32,
    /// Its address fields, if flag 16 says that they are there.
    pub addresses: Option<LoadAddresses>,
    /// The graphics mode that it asks for; none for text.
    pub video: Option<VideoMode>,
}

/// Finds the Multiboot header of a kernel file and checks what it asks for.
///
/// # Errors
/// [`HeaderError`].
pub fn find(bytes: &[u8]) -> Result<Header, HeaderError> {
    let searched = &bytes[..bytes.len().min(SEARCH_LIMIT)];
    let mut near_miss = HeaderError::Missing;
    for offset in (0..searched.len()).step_by(4) {
        let (Some(magic), Some(flags), Some(checksum)) =
            (word(searched, offset), word(searched, offset + 4), word(searched, offset + 8))
        else {
            break;
        };
        if magic != HEADER_MAGIC {
            continue;
        }
        let expected = 0u32.wrapping_sub(magic).wrapping_sub(flags);
        if checksum == expected {
            return accept(searched, offset, flags);
        }
        // A kernel may hold the magic as a constant: keep looking, and complain only at the end.
        if near_miss == HeaderError::Missing {
            near_miss = HeaderError::Checksum { offset, found: checksum, expected };
        }
    }
    Err(near_miss)
}

fn accept(bytes: &[u8], offset: usize, flags: u32) -> Result<Header, HeaderError> {
    let unknown = flags & REQUIRED_FLAGS & !SATISFIED_FLAGS;
    if unknown != 0 {
        return Err(HeaderError::UnknownRequirement(unknown));
    }
    let field = |at: usize| word(bytes, offset + at).ok_or(HeaderError::CutOff);
    let addresses = if flags & FLAG_ADDRESSES == 0 {
        None
    } else {
        Some(LoadAddresses {
            header: field(12)?,
            load: field(16)?,
            load_end: field(20)?,
            bss_end: field(24)?,
            entry: field(28)?,
        })
    };
    let video = if flags & FLAG_VIDEO_MODE == 0 {
        None
    } else {
        // Kernels that ask for text leave the rest out.
        let [kind, mode @ ..] = [32, 36, 40, 44].map(|at| word(bytes, offset + at));
        let mode = mode.map(Option::unwrap_or_default);
        (kind == Some(GRAPHICS)).then_some(VideoMode::from_words(mode))
    };
    Ok(Header { offset, flags, addresses, video })
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u32) -> Vec<u8> {
        [HEADER_MAGIC, flags, 0u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(flags)]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    fn at(offset: usize, header: &[u8]) -> Vec<u8> {
        let mut file = vec![0; offset];
        file.extend_from_slice(header);
        file
    }

    #[test]
    fn the_published_constants_make_the_published_checksum() {
        // Flags 3, the most common header: its checksum is in many a kernel's source.
        assert_eq!(header(3)[8..], 0xE452_4FFBu32.to_le_bytes());
    }

    #[test]
    fn a_header_is_found_on_a_word_boundary_in_the_first_8192_bytes() {
        assert_eq!(find(&at(0, &header(3))).unwrap().offset, 0);
        assert_eq!(find(&at(8180, &header(3))).unwrap().offset, 8180);
        assert_eq!(find(&at(8184, &header(3))), Err(HeaderError::Missing));
        assert_eq!(find(&at(2, &header(3))), Err(HeaderError::Missing));
        assert_eq!(find(&[]), Err(HeaderError::Missing));
    }

    #[test]
    fn a_wrong_checksum_is_named_unless_a_right_header_follows() {
        let mut wrong = header(3);
        wrong[8] ^= 1;
        assert!(matches!(
            find(&wrong),
            Err(HeaderError::Checksum { offset: 0, expected: 0xE452_4FFB, .. })
        ));
        wrong.extend(header(0));
        assert_eq!(find(&wrong).unwrap().offset, 12);
    }

    #[test]
    fn required_flags_that_cannot_be_satisfied_are_refused_and_optional_ones_ignored() {
        assert_eq!(find(&header(7)).unwrap().flags, 7);
        assert_eq!(find(&header(0x8003)), Err(HeaderError::UnknownRequirement(0x8000)));
        assert_eq!(find(&header(0xFFFE_0003)).unwrap().flags, 0xFFFE_0003);
    }

    #[test]
    fn a_wish_for_graphics_is_read_behind_the_addresses_and_one_for_text_is_none() {
        let with = |words: [u32; 4]| {
            let fields = [0; 5].into_iter().chain(words).flat_map(u32::to_le_bytes);
            find(&header(7).into_iter().chain(fields).collect::<Vec<u8>>()).unwrap().video
        };
        let wanted = VideoMode { width: 800, height: 600, depth: 32 };
        assert_eq!(with([GRAPHICS, 800, 600, 32]), Some(wanted));
        assert_eq!(with([1, 80, 25, 0]), None);
        assert_eq!(find(&header(7)).unwrap().video, None, "cut off");
        assert_eq!(find(&header(3)).unwrap().video, None);
    }

    #[test]
    fn address_fields_are_read_only_with_flag_16() {
        let mut file = header(FLAG_ADDRESSES);
        assert_eq!(find(&file), Err(HeaderError::CutOff));
        for word in [0x10_0000u32, 0x10_0000, 0x10_2000, 0x10_3000, 0x10_0020] {
            file.extend(word.to_le_bytes());
        }
        let addresses = find(&file).unwrap().addresses.unwrap();
        assert_eq!(addresses.load_end, 0x10_2000);
        assert_eq!(addresses.entry, 0x10_0020);
        assert_eq!(find(&header(3)).unwrap().addresses, None);
    }
}
