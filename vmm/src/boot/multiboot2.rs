//! Multiboot 2: the header in a kernel file, and what the kernel is told.
//!
//! Source: Multiboot2 Specification version 2.0, sections 3.1 ("OS image format") and 3.6 ("Boot information").
//! ```text
//!  header, in the first 32768 bytes       information, at EBX
//!    0  magic 0xE85250D6                    0  total size, 0
//!    4  architecture, 0 for i386            8  tags: type, size, data; each on a multiple of 8
//!    8  length of header and tags              1 command line · 2 boot loader · 3 module · 4 memory
//!   12  checksum                               6 memory map · 8 framebuffer · 9 sections · 14 RSDP · 0 end
//!   16  tags: type, flags, size, data          7 VBE, with graphics
//! ```
//! A tag that may be ignored (flag 0) is, if it is none of those that are known.

use std::ffi::{CStr, CString};
use std::ops::Range;

use super::bios;
use super::framebuffer::{Framebuffer, VBE_MODE, VideoMode};
use super::multiboot::{HeaderError, LoadAddresses};
use super::multiboot_info::{
    BOOT_LOADER_NAME, InformationError, MapEntry, PlacedModule, check_room, kibibytes_from,
};
use super::sections::Sections;
use crate::devices::vga;

/// What EAX holds at the kernel's entry.
pub const BOOT_LOADER_MAGIC: u32 = 0x36D7_6289;

const HEADER_MAGIC: u32 = 0xE852_50D6;
const SEARCH_LIMIT: usize = 32768;
const HEADER_SIZE: usize = 16;
const OPTIONAL: u16 = 1;
/// The mode of a kernel that asks for text: columns, rows, no depth.
const TEXT: [u32; 3] = [80, 25, 0];

/// Tags of the information that are given, for a kernel that requires some.
const GIVEN: [u32; 9] = [1, 2, 3, 4, 6, 7, 8, 9, 14];

/// A header that can be satisfied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its offset in the file in bytes.
    pub offset: usize,
    /// Where the file's bytes go, if a tag says so.
    pub addresses: Option<LoadAddresses>,
    /// The entry point that a tag gives instead of the file's own.
    pub entry: Option<u32>,
    /// The graphics mode that it asks for; none for text.
    pub video: Option<VideoMode>,
}

/// Finds the header of a kernel file and checks what it asks for.
///
/// # Errors
/// [`HeaderError`]; [`HeaderError::Missing`] if the file has none.
pub fn find(bytes: &[u8]) -> Result<Header, HeaderError> {
    let searched = &bytes[..bytes.len().min(SEARCH_LIMIT)];
    for offset in (0..searched.len()).step_by(8) {
        let field = |at: usize| word(searched, offset + at);
        let (Some(magic), Some(architecture), Some(length), Some(checksum)) =
            (field(0), field(4), field(8), field(12))
        else {
            break;
        };
        let sum = magic.wrapping_add(architecture).wrapping_add(length).wrapping_add(checksum);
        if magic == HEADER_MAGIC && sum == 0 {
            if architecture != 0 {
                return Err(HeaderError::Architecture(architecture));
            }
            // GRUB goes by the end tag alone, and some kernels subtract the wrong way round.
            let backwards = length as i32 <= 0;
            let end =
                if backwards { Some(bytes.len()) } else { offset.checked_add(length as usize) };
            let tags = end
                .and_then(|end| bytes.get(offset + HEADER_SIZE..end))
                .ok_or(HeaderError::CutOff)?;
            return accept(offset, tags);
        }
    }
    Err(HeaderError::Missing)
}

fn accept(offset: usize, tags: &[u8]) -> Result<Header, HeaderError> {
    let mut header = Header { offset, addresses: None, entry: None, video: None };
    let mut at = 0;
    while let Some(first) = word(tags, at) {
        let (kind, flags) = (first as u16, (first >> 16) as u16);
        let size = word(tags, at + 4).ok_or(HeaderError::CutOff)? as usize;
        let field = |index: usize| {
            word(tags, at + 8 + 4 * index)
                .filter(|_| 12 + 4 * index <= size)
                .ok_or(HeaderError::CutOff)
        };
        match kind {
            0 => break,
            1 if flags & OPTIONAL == 0 => {
                for index in 0..size.saturating_sub(8) / 4 {
                    let wanted = field(index)?;
                    if !GIVEN.contains(&wanted) {
                        return Err(HeaderError::InformationTag(wanted));
                    }
                }
            }
            2 => {
                let addresses = LoadAddresses {
                    header: field(0)?,
                    load: field(1)?,
                    load_end: field(2)?,
                    bss_end: field(3)?,
                    entry: 0,
                };
                header.addresses = Some(addresses);
            }
            3 => header.entry = Some(field(0)?),
            5 => {
                let mode = [field(0)?, field(1)?, field(2)?];
                header.video = (mode != TEXT).then_some(VideoMode::from_words(mode));
            }
            // Console, module alignment, EFI entries, relocation.
            1 | 4 | 6..=10 => {}
            _ if flags & OPTIONAL != 0 => {}
            _ => return Err(HeaderError::UnknownTag(kind)),
        }
        at += size.max(8).next_multiple_of(8);
    }
    if let Some(addresses) = &mut header.addresses {
        addresses.entry =
            header.entry.ok_or(HeaderError::Addresses("there is no entry address tag"))?;
    }
    Ok(header)
}

/// A module's string, with its end: what stands behind the name of its file, as GRUB 2 has it; where nothing does, the
/// name.
fn string_of(command: &CStr) -> &[u8] {
    let whole = command.to_bytes_with_nul();
    let behind =
        whole.iter().position(|byte| *byte == b' ').map(|at| whole[at..].trim_ascii_start());
    behind.filter(|arguments| arguments.len() > 1).unwrap_or(whole)
}

/// The bytes of the boot information.
///
/// # Errors
/// [`InformationError::TooLarge`].
pub fn compose(
    map: &[MapEntry],
    command_line: &CString,
    modules: &[PlacedModule],
    sections: Option<&Sections>,
    framebuffer: Option<&Framebuffer>,
    area: &Range<u64>,
) -> Result<Vec<u8>, InformationError> {
    let mut bytes = vec![0; 8];
    let mut tag = |kind: u32, parts: &[&[u8]]| {
        let data = parts.concat();
        bytes.extend(kind.to_le_bytes());
        bytes.extend((8 + data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    };
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    tag(1, &[command_line.to_bytes_with_nul()]);
    tag(2, &[BOOT_LOADER_NAME.to_bytes_with_nul()]);
    for module in modules {
        let range = [module.physical.start, module.physical.end];
        tag(3, &[&words(&range), string_of(&module.command)]);
    }
    tag(4, &[&words(&[kibibytes_from(map, 0), kibibytes_from(map, 1 << 20)])]);
    let entries: Vec<u8> = map
        .iter()
        .flat_map(|entry| {
            let kind = if entry.usable { 1u32 } else { 2 };
            [entry.base.to_le_bytes(), entry.length.to_le_bytes(), u64::from(kind).to_le_bytes()]
        })
        .flatten()
        .collect();
    tag(6, &[&words(&[24, 0]), &entries]);
    // Address, pitch, width, height; bits of a dot or a cell, type: 1 for colours, 2 for text.
    if let Some(shown) = framebuffer {
        let place = words(&[shown.address, 0, shown.pitch, shown.width, shown.height]);
        tag(8, &[&place, &[shown.depth, 1, 0, 0], &shown.colour_information()]);
        tag(7, &[&VBE_MODE.to_le_bytes(), &[0; 6], &shown.vbe_control(), &shown.vbe_mode()]);
    } else {
        let (columns, rows) = (vga::COLUMNS as u32, vga::ROWS as u32);
        let place = words(&[vga::TEXT.start as u32, 0, 2 * columns, columns, rows]);
        tag(8, &[&place, &[16, 2, 0, 0]]);
    }
    let room = area.end - area.start;
    if let Some(sections) = sections.filter(|sections| sections.headers.len() as u64 <= room / 2) {
        let numbers = [sections.count(), Sections::HEADER_SIZE, sections.names];
        tag(9, &[&words(&numbers), &sections.headers]);
    }
    tag(14, &[&bios::root_pointer()]);
    tag(0, &[]);
    let size = (bytes.len() as u32).to_le_bytes();
    bytes[..4].copy_from_slice(&size);
    check_room(&bytes, modules.len(), area)?;
    Ok(bytes)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(tags: &[&[u32]]) -> Vec<u8> {
        let body: Vec<u8> = tags.concat().iter().flat_map(|word| word.to_le_bytes()).collect();
        let length = (HEADER_SIZE + body.len()) as u32;
        let checksum = 0u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(length);
        let mut bytes: Vec<u8> = [HEADER_MAGIC, 0, length, checksum]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        bytes.extend(body);
        bytes
    }

    const END: &[u32] = &[0, 8];

    #[test]
    fn a_header_is_found_on_a_multiple_of_8() {
        let mut file = vec![0; 32];
        file.extend(header(&[END]));
        assert_eq!(find(&file).unwrap().offset, 32);
        file.insert(0, 0);
        assert_eq!(find(&file), Err(HeaderError::Missing));
    }

    #[test]
    fn a_length_that_was_subtracted_the_wrong_way_round_is_not_gone_by() {
        let mut file = header(&[&[3, 12, 0x10_0040, 0], END]);
        let length = 0u32.wrapping_sub(file.len() as u32);
        let checksum = 0u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(length);
        file[8..16].copy_from_slice(&[length, checksum].map(u32::to_le_bytes).concat());
        file.extend([0xFF; 64]);
        assert_eq!(find(&file).unwrap().entry, Some(0x10_0040));
    }

    #[test]
    fn a_modules_string_is_what_stands_behind_its_files_name() {
        assert_eq!(string_of(c"disk.img disk"), b"disk\0");
        assert_eq!(string_of(c"sh  -c ls"), b"-c ls\0");
        assert_eq!((string_of(c"disk.img"), string_of(c"x ")), (&b"disk.img\0"[..], &b"x \0"[..]));
    }

    #[test]
    fn addresses_need_an_entry_point() {
        let addresses: &[u32] = &[2, 24, 0x10_0000, 0x10_0000, 0, 0];
        assert!(matches!(find(&header(&[addresses, END])), Err(HeaderError::Addresses(_))));
        let entry: &[u32] = &[3, 12, 0x10_0040, 0];
        let found = find(&header(&[addresses, entry, END])).unwrap();
        assert_eq!(found.addresses.unwrap().entry, 0x10_0040);
    }

    #[test]
    fn what_is_required_and_not_known_is_refused_and_what_is_optional_is_not() {
        assert_eq!(find(&header(&[&[77, 8], END])), Err(HeaderError::UnknownTag(77)));
        assert!(find(&header(&[&[77 | 1 << 16, 8], END])).is_ok());
        assert_eq!(find(&header(&[&[1, 12, 12, 0], END])), Err(HeaderError::InformationTag(12)));
        assert!(find(&header(&[&[1, 16, 6, 8], &[5, 20, 1024, 768, 32, 0], END])).is_ok());
    }

    #[test]
    fn the_information_is_a_chain_of_tags_that_ends() {
        let map = [MapEntry { base: 0, length: 0x9_FC00, usable: true }];
        let line = CString::new("quiet").unwrap();
        let bytes = compose(&map, &line, &[], None, None, &(0x9000..0x1_0000)).unwrap();
        assert_eq!(word(&bytes, 0), Some(bytes.len() as u32));
        let (mut at, mut kinds) = (8, Vec::new());
        while at < bytes.len() {
            kinds.push(word(&bytes, at).unwrap());
            at += (word(&bytes, at + 4).unwrap() as usize).next_multiple_of(8);
        }
        assert_eq!(kinds, [1, 2, 4, 6, 8, 14, 0]);
    }

    #[test]
    fn a_framebuffer_is_told_with_its_colours_and_as_vbe_has_it() {
        let mode = VideoMode { width: 640, height: 480, depth: 32 };
        let found = find(&header(&[&[5, 20, 640, 480, 32, 0], END])).unwrap();
        assert_eq!(found.video, Some(mode));
        assert_eq!(find(&header(&[&[5, 20, 80, 25, 0, 0], END])).unwrap().video, None);
        let shown = Framebuffer::for_mode(mode, 0, 64 << 20).unwrap();
        let line = CString::default();
        let bytes = compose(&[], &line, &[], None, Some(&shown), &(0x9000..0x1_0000)).unwrap();
        let wanted = [8, 38, shown.address, 0, 2560, 640, 480].map(u32::to_le_bytes).concat();
        let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
        assert_eq!(bytes[at + 28..at + 38], [32, 1, 0, 0, 16, 8, 8, 8, 0, 8]);
        let vbe = [7u32, 784].map(u32::to_le_bytes).concat();
        assert!(bytes.windows(vbe.len()).any(|window| window == vbe));
    }
}
