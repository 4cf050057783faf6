//! A bzImage that only a BIOS can load, as the disk that the BIOS boots.
//!
//! Before boot protocol 2.10 nothing says how much memory a kernel takes at its 32-bit entry, and some files in this format have
//! no such entry at all (iPXE's `.lkrn`): they begin in real mode, with a BIOS to ask. So the file becomes a disk with a
//! boot sector that does what a boot loader does by the protocol's older half:
//! ```text
//!  disk    0 boot sector   1 setup, command line              121 the protected-mode part, by pieces of 32 KiB
//!                            │ INT 13h, AH=42                    │ INT 13h to 20000, INT 15h, AH=87 from there
//!  memory  7C00              10000 setup … E000 stack, line      100000
//!                            entered at 1020:0000, DS=ES=SS=1000, SP=E000
//! ```
//! Source: "The Linux/x86 Boot Protocol" in the kernel's documentation, "Sample Boot Configuration" and "Running the Kernel".

use super::linux::{
    LinuxError, SECTOR, VERSION_OF_32_BITS, for_a_boot_loader, setup_size, version,
};

/// Sectors of the setup with the command line behind it, as they lie on the disk and in memory.
const SETUP_SECTORS: usize = 120;
/// The command line, behind the setup's heap and stack.
const LINE: usize = 0xE000;
/// Where the setup lies in memory.
const SETUP_BASE: u32 = 0x1_0000;
/// The setup's code and data, by the protocol.
const MOST_OF_SETUP: usize = 0x8000;
/// What the setup may have of its segment for its heap: up to the stack.
const HEAP_END: u16 = 0xDE00;
/// Bytes of the protected-mode part that are moved at once.
const PIECE: usize = 0x8000;
/// The command line has a pointer since.
const OLDEST: u16 = 0x0202;

/// Where the number of pieces stands in the boot sector, and what INT 13h and INT 15h are given.
const PIECES: usize = 0x80;
const PACKET: usize = 0x90;
const DESCRIPTORS: usize = 0xA0;

/// The boot sector's code, for 7C00. DL stays as the BIOS has set it: the drive.
#[rustfmt::skip]
const CODE: [u8; 0x6E] = [
    // AX, DS, ES, SS = 0; SP = 7C00; CLD.
    0x31, 0xC0, 0x8E, 0xD0, 0xBC, 0x00, 0x7C, 0x8E, 0xD8, 0x8E, 0xC0, 0xFC,
    // SI = packet; AH = 42; INT 13h; JC out.
    0xBE, 0x90, 0x7C, 0xB4, 0x42, 0xCD, 0x13, 0x72, 0x57,
    // The packet from now on: 64 sectors, to 2000:0000, from sector 121.
    0xC6, 0x44, 0x02, 0x40, 0xC6, 0x44, 0x07, 0x20, 0xC6, 0x44, 0x08, 0x79,
    // next: SI = packet; AH = 42; INT 13h; JC out.
    0xBE, 0x90, 0x7C, 0xB4, 0x42, 0xCD, 0x13, 0x72, 0x42,
    // SI = descriptors; CX = 4000 words; AH = 87; INT 15h; JC out.
    0xBE, 0xA0, 0x7C, 0xB9, 0x00, 0x40, 0xB4, 0x87, 0xCD, 0x15, 0x72, 0x36,
    // The next 64 sectors.
    0x83, 0x06, 0x98, 0x7C, 0x40, 0x83, 0x16, 0x9A, 0x7C, 0x00,
    // The next 8000 bytes, in the three parts of the base.
    0x81, 0x06, 0xBA, 0x7C, 0x00, 0x80, 0x80, 0x16, 0xBC, 0x7C, 0x00, 0x80, 0x16, 0xBF, 0x7C, 0x00,
    // DEC pieces; JNZ next.
    0xFF, 0x0E, 0x80, 0x7C, 0x75, 0xCB,
    // CLI; DS, ES, FS, GS, SS = 1000; SP = E000; JMP 1020:0000.
    0xFA, 0xB8, 0x00, 0x10, 0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xE0, 0x8E, 0xE8, 0x8E, 0xD0,
    0xBC, 0x00, 0xE0, 0xEA, 0x00, 0x00, 0x20, 0x10,
    // out: INT 18h, which tells the BIOS that this disk cannot be booted.
    0xCD, 0x18,
];

/// Whether a file with this beginning is such a kernel.
pub fn is_for_a_bios(head: &[u8]) -> bool {
    for_a_boot_loader(head).is_ok() && (OLDEST..VERSION_OF_32_BITS).contains(&version(head))
}

/// The disk that boots this kernel.
///
/// # Errors
/// [`LinuxError`]: the file is cut off, or the command line is too long for it.
pub fn disk(kernel: &[u8], command_line: &str) -> Result<Vec<u8>, LinuxError> {
    for_a_boot_loader(kernel)?;
    let setup = setup_size(kernel)?;
    if setup > MOST_OF_SETUP {
        return Err(LinuxError::TooLarge { part: "setup", size: setup });
    }
    // The length of the line is in the header since 2.06, and was 255 before.
    let told = kernel.get(0x238..0x23C).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let limit = told.filter(|_| version(kernel) >= 0x0206).unwrap_or(255);
    let limit = limit.min((SETUP_SECTORS * SECTOR - LINE) as u32 - 1);
    if command_line.len() > limit as usize {
        return Err(LinuxError::CommandLine { length: command_line.len(), limit });
    }
    let mut disk = vec![0; SECTOR * (1 + SETUP_SECTORS)];
    let low = &mut disk[SECTOR..];
    low[..setup].copy_from_slice(&kernel[..setup]);
    low[LINE..][..command_line.len()].copy_from_slice(command_line.as_bytes());
    // A boot loader without a number of its own, which gives the setup a heap.
    low[0x210] = 0xFF;
    low[0x211] |= 0x80;
    low[0x224..0x226].copy_from_slice(&HEAP_END.to_le_bytes());
    low[0x228..0x22C].copy_from_slice(&(SETUP_BASE + LINE as u32).to_le_bytes());
    let high = &kernel[setup..];
    let count = high.len().div_ceil(PIECE);
    let Ok(pieces) = u16::try_from(count) else {
        return Err(LinuxError::TooLarge { part: "protected-mode part", size: high.len() });
    };
    disk.extend(high);
    disk.resize(SECTOR * (1 + SETUP_SECTORS) + count * PIECE, 0);
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &CODE);
    put(PIECES, &pieces.to_le_bytes());
    put(PACKET, &[16, 0, SETUP_SECTORS as u8, 0, 0, 0, 0, 0x10, 1]);
    // Two segments of 64 KiB that can be written, at 20000 and at 100000.
    put(DESCRIPTORS + 16, &[0xFF, 0xFF, 0, 0, 0x02, 0x93]);
    put(DESCRIPTORS + 24, &[0xFF, 0xFF, 0, 0, 0x10, 0x93]);
    put(0x1FE, &[0x55, 0xAA]);
    Ok(disk)
}

const _: () = assert!(CODE.len() <= PIECES && DESCRIPTORS + 48 <= 0x1BE);

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel of this version, with a setup of two sectors and so many bytes behind it.
    fn kernel(version: u16, high: usize) -> Vec<u8> {
        let mut file = vec![0; 1024];
        file[0x1F1] = 1;
        file[0x1F4..0x1F8].copy_from_slice(&(high as u32).div_ceil(16).to_le_bytes());
        file[0x1FE..0x202].copy_from_slice(&[0x55, 0xAA, 0xEB, 0x66]);
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x206..0x208].copy_from_slice(&version.to_le_bytes());
        file[0x211] = 1;
        file[0x238..0x23C].copy_from_slice(&2047u32.to_le_bytes());
        file[0x200 + 0x68] = 0x90;
        file.resize(1024 + high, 0x77);
        file
    }

    #[test]
    fn those_without_a_32_bit_entry_of_known_size_are_for_a_bios() {
        let is = |version| is_for_a_bios(&kernel(version, 16));
        assert_eq!([0x201, 0x202, 0x207, 0x209, 0x20A].map(is), [false, true, true, true, false]);
        let mut low = kernel(0x207, 16);
        low[0x211] = 0;
        assert!(!is_for_a_bios(&low) && !is_for_a_bios(b"text"));
    }

    #[test]
    fn setup_line_and_kernel_lie_where_the_boot_sector_looks_for_them() {
        let file = kernel(0x207, PIECE + 1);
        let disk = disk(&file, "quiet").unwrap();
        assert_eq!(disk.len(), SECTOR * 121 + 2 * PIECE);
        assert_eq!((&disk[PIECES..PIECES + 2], &disk[510..512]), (&[2, 0][..], &[0x55, 0xAA][..]));
        let low = &disk[512..];
        assert_eq!(low[0x202..0x208], *b"HdrS\x07\x02");
        assert_eq!((low[0x210], low[0x211], low[0x268]), (0xFF, 0x81, 0x90));
        assert_eq!(low[0x228..0x22C], 0x1_E000u32.to_le_bytes());
        assert_eq!(low[LINE..LINE + 6], *b"quiet\0");
        let high = &disk[SECTOR * 121..];
        assert_eq!((high[0], high[PIECE], high[PIECE + 1]), (0x77, 0x77, 0));
    }

    #[test]
    fn what_is_cut_off_and_a_line_that_is_too_long_are_refused() {
        let mut cut = kernel(0x207, 4096);
        cut.truncate(3000);
        assert!(matches!(disk(&cut, ""), Err(LinuxError::Truncated { .. })));
        let mut large = kernel(0x207, 16);
        large.resize(0x1_0000, 0);
        large[0x1F1] = 64;
        assert!(matches!(disk(&large, ""), Err(LinuxError::TooLarge { size: 0x8200, .. })));
        let long = "x".repeat(256);
        let told = |version| disk(&kernel(version, 16), &long).map(|_| ());
        assert_eq!(told(0x207), Ok(()));
        assert_eq!(told(0x205), Err(LinuxError::CommandLine { length: 256, limit: 255 }));
    }
}
