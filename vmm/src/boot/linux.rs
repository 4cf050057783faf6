//! Linux in its own format: a bzImage, entered at its 32-bit entry point.
//!
//! Source: "The Linux/x86 Boot Protocol" in the kernel's documentation. The file's real-mode part is left
//! out: what it would find out is put into the zero page for it.
//! ```text
//!  file    boot sector, setup: header at 0x1F1   protected-mode part
//!  memory  area:  zero page (ESI), command line     code32_start, 1 MiB: loaded and entered
//!                 GDT with code 10, data 18         initrd: as high as it may be
//! ```
//! linux-loader's layout of header and zero page is used; its loader is not, because [`place`](super::place)
//! checks before it writes and can say what is in the way.

use std::ffi::CString;
use std::ops::Range;

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use thiserror::Error;

use super::bios;
use super::image::{Format, KernelImage, LoadSegment, StartMode};
use super::multiboot_info::MapEntry;
use crate::devices::vga;

/// Where the header starts in the file and in the zero page.
const HEADER: usize = 0x1F1;
const ZERO_PAGE: usize = 4096;
/// Where the last field ends that is read here, `init_size`.
const READ_UP_TO: usize = 0x264;
pub(super) const SECTOR: usize = 512;
/// The first version with a 32-bit entry point whose size of memory is known. Those before are
/// [a BIOS's affair](super::linux_disk).
pub(super) const VERSION_OF_32_BITS: u16 = 0x020A;
const LOADED_HIGH: u8 = 1;
const KERNEL_64: u16 = 1;
const USABLE: u32 = 1;
const RESERVED: u32 = 2;

/// Why a bzImage cannot be booted. The text is a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LinuxError {
    /// The file ends too early.
    #[error(
        "is a Linux bzImage that is cut off: it should go on to byte {end} at least, and the file ends at byte {size}"
    )]
    Truncated {
        /// Where the header, the setup or the kernel ends.
        end: usize,
        /// Size of the file.
        size: usize,
    },
    /// A 64-bit kernel.
    #[error("is a Linux bzImage for 64 bits; esp0 boots 32-bit kernels")]
    For64Bits,
    /// Too old.
    #[error("is a Linux bzImage of boot protocol {major}.{minor:02}; esp0 needs 2.10 or later")]
    TooOld {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// A zImage.
    #[error("is a Linux zImage, which is loaded below 1 MiB; esp0 boots bzImages")]
    LoadedLow,
    /// More modules than one.
    #[error("is a Linux bzImage, which takes one initrd; {0} modules were given")]
    Modules(usize),
    /// A part does not fit where it has to go.
    #[error(
        "is a Linux bzImage whose {part} of {size} bytes is too large for the place where it has to go"
    )]
    TooLarge {
        /// Which part.
        part: &'static str,
        /// Its size.
        size: usize,
    },
    /// The initrd does not fit.
    #[error(
        "is a Linux bzImage, and its initrd of {size} bytes does not fit behind it below {end:#x}; give more --mem"
    )]
    InitrdOutside {
        /// Bytes of the initrd.
        size: u64,
        /// Where it has to end.
        end: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("is a Linux bzImage that takes a command line of {limit} bytes; this one has {length}")]
    CommandLine {
        /// Its length.
        length: usize,
        /// The limit.
        limit: u32,
    },
}

/// Whether a file is in Linux's format: 0xAA55 at 0x1FE and "HdrS" at 0x202.
pub fn is_bzimage(bytes: &[u8]) -> bool {
    bytes.get(0x1FE..0x200) == Some(&[0x55, 0xAA]) && bytes.get(0x202..0x206) == Some(b"HdrS")
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(half(bytes, at)) | u32::from(half(bytes, at + 2)) << 16
}

/// The version of the boot protocol, in a bzImage.
pub(super) fn version(bytes: &[u8]) -> u16 {
    half(bytes, 0x206)
}

/// Whether a file is a bzImage with its header whole: a boot loader puts its protected-mode part at 1 MiB.
///
/// # Errors
/// [`LinuxError::Truncated`] and [`LinuxError::LoadedLow`].
pub(super) fn for_a_boot_loader(bytes: &[u8]) -> Result<(), LinuxError> {
    if !is_bzimage(bytes) || bytes.len() < READ_UP_TO {
        return Err(LinuxError::Truncated { end: READ_UP_TO, size: bytes.len() });
    }
    if bytes[0x211] & LOADED_HIGH == 0 {
        return Err(LinuxError::LoadedLow);
    }
    Ok(())
}

/// Bytes in front of the protected-mode part of a bzImage with its header whole.
///
/// # Errors
/// [`LinuxError::Truncated`], by its header.
pub(super) fn setup_size(bytes: &[u8]) -> Result<usize, LinuxError> {
    // 0 means 4, for reasons of age.
    let sectors = match bytes[HEADER] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let setup = (sectors + 1) * SECTOR;
    if bytes.len() <= setup {
        return Err(LinuxError::Truncated { end: setup, size: bytes.len() });
    }
    // In paragraphs of 16 bytes, rounded up.
    let whole = u64::from(word(bytes, 0x1F4)) * 16;
    if (bytes.len() - setup) as u64 + 15 < whole {
        return Err(LinuxError::Truncated { end: setup + whole as usize, size: bytes.len() });
    }
    Ok(setup)
}

/// Describes the protected-mode part as one segment.
///
/// # Errors
/// [`LinuxError`].
pub fn describe(bytes: &[u8]) -> Result<KernelImage, LinuxError> {
    let word = |at: usize| word(bytes, at);
    for_a_boot_loader(bytes)?;
    let version = version(bytes);
    if version < VERSION_OF_32_BITS {
        return Err(LinuxError::TooOld { major: version >> 8, minor: version & 0xFF });
    }
    if half(bytes, 0x236) & KERNEL_64 != 0 {
        return Err(LinuxError::For64Bits);
    }
    let setup = setup_size(bytes)?;
    let file_size = u32::try_from(bytes.len() - setup).unwrap_or(u32::MAX);
    let physical = word(0x214);
    let segment = LoadSegment {
        index: 0,
        file_offset: setup as u32,
        file_size,
        physical,
        virtual_address: physical,
        memory_size: word(0x260).max(file_size),
        flags: 7,
    };
    Ok(KernelImage {
        format: Format::Linux,
        entry: physical,
        linked_entry: physical,
        start: StartMode::ProtectedMode,
        segments: vec![segment],
        video: None,
    })
}

/// Where the initrd goes: as high as memory and the kernel allow.
///
/// # Errors
/// [`LinuxError::InitrdOutside`].
pub fn place_initrd(
    kernel: &[u8],
    image: &KernelImage,
    size: u64,
    memory_end: u64,
) -> Result<Range<u64>, LinuxError> {
    let highest = kernel
        .get(0x22C..0x230)
        .map_or(0x37FF_FFFF, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let end = memory_end.min(u64::from(highest) + 1);
    let start = end.checked_sub(size).map(|start| start & !0xFFF);
    start
        .filter(|start| *start >= image.end())
        .map(|start| start..start + size)
        .ok_or(LinuxError::InitrdOutside { size, end })
}

/// The zero page with the command line behind it, for the boot loader's area at `base`.
///
/// # Errors
/// [`LinuxError::CommandLine`].
pub fn compose(
    kernel: &[u8],
    map: &[MapEntry],
    command_line: &CString,
    initrd: Option<&Range<u64>>,
    base: u32,
) -> Result<Vec<u8>, LinuxError> {
    // The header ends where the jump at 0x200 leads to.
    let header_end = (0x202 + usize::from(kernel[0x201])).min(HEADER + size_of_hdr());
    let mut page = vec![0; ZERO_PAGE];
    page[HEADER..header_end].copy_from_slice(&kernel[HEADER..header_end]);
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    let limit = u32::from_le_bytes([kernel[0x238], kernel[0x239], kernel[0x23A], kernel[0x23B]]);
    let length = command_line.as_bytes().len();
    if length > limit as usize {
        return Err(LinuxError::CommandLine { length, limit });
    }
    // screen_info: VGA text of 80 × 25, 16 dots high, cursor at the origin.
    put(0x06, &[3, vga::COLUMNS as u8]);
    put(0x0E, &[vga::ROWS as u8, 1]);
    put(0x10, &[16]);
    put(0x70, &u64::from(bios::ACPI_ROOT).to_le_bytes());
    // A boot loader without a number of its own; the segments are as they are.
    put(0x210, &[0xFF]);
    put(0x228, &(base + ZERO_PAGE as u32).to_le_bytes());
    if let Some(initrd) = initrd {
        put(0x218, &(initrd.start as u32).to_le_bytes());
        put(0x21C, &((initrd.end - initrd.start) as u32).to_le_bytes());
    }
    put(0x1E8, &[map.len() as u8]);
    for (index, entry) in map.iter().enumerate() {
        let at = 0x2D0 + index * size_of::<boot_e820_entry>();
        put(at, &entry.base.to_le_bytes());
        put(at + 8, &entry.length.to_le_bytes());
        put(at + 16, &if entry.usable { USABLE } else { RESERVED }.to_le_bytes());
    }
    page.extend(command_line.as_bytes_with_nul());
    Ok(page)
}

/// Bytes of the header, from 0x1F1 on.
const fn size_of_hdr() -> usize {
    std::mem::offset_of!(boot_params, _pad7) - HEADER
}

const _: () = assert!(size_of::<boot_params>() == ZERO_PAGE);
const _: () = assert!(std::mem::offset_of!(boot_params, hdr) == HEADER);

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Vec<u8> {
        let mut file = vec![0; 0x1000];
        file[HEADER] = 1;
        file[0x1FE..0x202].copy_from_slice(&[0x55, 0xAA, 0xEB, 0x66]);
        file[0x202..0x208].copy_from_slice(b"HdrS\x0F\x02");
        file[0x211] = LOADED_HIGH;
        file[0x214..0x218].copy_from_slice(&0x10_0000u32.to_le_bytes());
        file[0x22C..0x230].copy_from_slice(&0x7FFF_FFFFu32.to_le_bytes());
        file[0x238..0x23C].copy_from_slice(&2047u32.to_le_bytes());
        file[0x260..0x264].copy_from_slice(&0x10_0000u32.to_le_bytes());
        file
    }

    #[test]
    fn the_protected_mode_part_is_the_segment() {
        let image = describe(&kernel()).unwrap();
        let segment = image.segments[0];
        assert_eq!((segment.file_offset, segment.file_size), (0x400, 0xC00));
        assert_eq!((image.entry, segment.memory_size), (0x10_0000, 0x10_0000));
    }

    #[test]
    fn kernels_that_cannot_be_entered_are_refused() {
        let mut file = kernel();
        file[0x236] = 1;
        assert_eq!(describe(&file).unwrap_err(), LinuxError::For64Bits);
        let mut file = kernel();
        file[0x206] = 4;
        assert_eq!(describe(&file).unwrap_err(), LinuxError::TooOld { major: 2, minor: 4 });
        let mut file = kernel();
        file.truncate(0x300);
        assert!(matches!(describe(&file), Err(LinuxError::Truncated { end: 0x400, .. })));
        file.truncate(0x20F);
        assert!(matches!(describe(&file), Err(LinuxError::Truncated { end: READ_UP_TO, .. })));
        let mut file = kernel();
        file[0x1F4..0x1F6].copy_from_slice(&0x100u16.to_le_bytes());
        assert!(matches!(describe(&file), Err(LinuxError::Truncated { end: 0x1400, .. })));
    }

    #[test]
    fn the_initrd_goes_as_high_as_it_may_or_is_refused() {
        let (file, image) = (kernel(), describe(&kernel()).unwrap());
        let place = |size, end| place_initrd(&file, &image, size, end);
        assert_eq!(place(0x1234, 16 << 20), Ok(0xFF_E000..0xFF_F234));
        assert!(matches!(place(15 << 20, 16 << 20), Err(LinuxError::InitrdOutside { .. })));
    }

    #[test]
    fn the_zero_page_says_where_everything_is() {
        let map = [MapEntry { base: 0, length: 0x9_FC00, usable: true }];
        let line = CString::new("console=ttyS0").unwrap();
        let page = compose(&kernel(), &map, &line, Some(&(0x80_0000..0x80_1000)), 0x9000).unwrap();
        assert_eq!(page[0x202..0x206], *b"HdrS");
        assert_eq!(page[0x218..0x220], [0, 0, 0x80, 0, 0, 0x10, 0, 0]);
        assert_eq!(page[0x228..0x22C], 0xA000u32.to_le_bytes());
        assert_eq!((page[0x1E8], page[0x2E0]), (1, 1));
        assert_eq!(page[0x1000..], *b"console=ttyS0\0");
        let long = CString::new("x".repeat(2048)).unwrap();
        assert!(compose(&kernel(), &map, &long, None, 0x9000).is_err());
    }
}
