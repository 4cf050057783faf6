//! What a sector that is being read from a disk tells of the kernel that lies there.
//!
//! A boot loader jumps to where the kernel's header says, or a boot sector goes to protected mode by itself. Only what stands
//! in one sector is read, and what it tells is a guess: it is good for a place at which to look, and for nothing else.

use object::LittleEndian;
use object::elf::{EM_386, ET_EXEC, FileHeader32, PT_LOAD, ProgramHeader32};
use object::pod;

/// Bytes of a sector of a disk; one of a CD begins such a one.
const SECTOR: usize = 512;
/// The first word of a header of Multiboot 1, and its flag for "address fields are valid" (specification 0.6.96, 3.1.1).
const MULTIBOOT: u32 = 0x1BAD_B002;
const ADDRESSES: u32 = 1 << 16;
/// The first word of a header of Multiboot 2, and its tag for the entry address (specification 2.0, 3.1.1 and 3.1.7).
const MULTIBOOT_2: u32 = 0xE852_50D6;
const ENTRY_TAG: u16 = 3;
/// Bytes between a move to CR0 and the far jump behind it, at most.
const NEAR: usize = 24;

/// 32-bit code may begin at this physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The address of its first instruction.
    pub entry: u32,
}

/// What is told by `bytes`, which are read from a disk in one piece and begin with a sector.
pub(crate) fn sightings(bytes: &[u8]) -> Vec<Sighting> {
    let mut entries: Vec<u32> = Vec::new();
    for sector in bytes.chunks_exact(SECTOR) {
        entries.extend(elf_entry(sector));
        entries.extend((0..sector.len()).step_by(4).filter_map(|at| header_entry(sector, at)));
        entries.extend(protected_mode(sector));
    }
    entries.into_iter().map(|entry| Sighting { entry }).collect()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Where an ELF executable begins in physical memory, whose headers are in this sector.
fn elf_entry(sector: &[u8]) -> Option<u32> {
    if !sector.starts_with(b"\x7fELF\x01\x01") {
        return None;
    }
    let (header, _) = pod::from_bytes::<FileHeader32<LittleEndian>>(sector).ok()?;
    let little = LittleEndian;
    if header.e_type.get(little) != ET_EXEC || header.e_machine.get(little) != EM_386 {
        return None;
    }
    let entry = header.e_entry.get(little);
    let table = sector.get(header.e_phoff.get(little) as usize..)?;
    let count = usize::from(header.e_phnum.get(little));
    let count = count.min(table.len() / size_of::<ProgramHeader32<LittleEndian>>());
    let (segments, _) =
        pod::slice_from_bytes::<ProgramHeader32<LittleEndian>>(table, count).ok()?;
    let within = segments.iter().find_map(|segment| {
        let inside = entry.wrapping_sub(segment.p_vaddr.get(little));
        let holds = segment.p_type.get(little) == PT_LOAD && inside < segment.p_memsz.get(little);
        holds.then(|| segment.p_paddr.get(little).wrapping_add(inside))
    });
    Some(within.unwrap_or(entry))
}

/// The entry address of the Multiboot header at `at`, if it has one.
fn header_entry(sector: &[u8], at: usize) -> Option<u32> {
    let (magic, second) = (word(sector, at)?, word(sector, at + 4)?);
    match magic {
        MULTIBOOT => {
            let sum = magic.wrapping_add(second).wrapping_add(word(sector, at + 8)?);
            (sum == 0 && second & ADDRESSES != 0).then(|| word(sector, at + 28))?
        }
        MULTIBOOT_2 => {
            let (length, checksum) = (word(sector, at + 8)?, word(sector, at + 12)?);
            let sum = magic.wrapping_add(second).wrapping_add(length).wrapping_add(checksum);
            let end = at.checked_add(length as usize).filter(|_| sum == 0)?;
            let mut tag = at + 16;
            while tag + 8 <= end {
                if word(sector, tag)? as u16 == ENTRY_TAG {
                    return word(sector, tag + 8);
                }
                tag += (word(sector, tag + 4)? as usize).max(8).next_multiple_of(8);
            }
            None
        }
        _ => None,
    }
}

/// The targets of far jumps right behind a move to CR0, in 16-bit code, as if their segments began at 0.
fn protected_mode(sector: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let moves = sector.windows(3).enumerate();
    let moves = moves.filter(|(_, code)| code[..2] == [0x0F, 0x22] && code[2] & 0xF8 == 0xC0);
    moves.filter_map(|(at, _)| {
        let behind = &sector[at + 3..sector.len().min(at + 3 + NEAR)];
        let jump = behind.iter().position(|byte| *byte == 0xEA)?;
        let wide = jump > 0 && behind[jump - 1] == 0x66;
        let (offset, selector) = match wide {
            true => (word(behind, jump + 1)?, behind.get(jump + 5..jump + 7)?),
            false => (word(behind, jump + 1)? & 0xFFFF, behind.get(jump + 3..jump + 5)?),
        };
        // A selector of the GDT, of ring 0.
        (selector[0] & 7 == 0 && selector != [0, 0]).then_some(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(change: impl FnOnce(&mut [u8])) -> Vec<u32> {
        let mut sector = [0; SECTOR];
        change(&mut sector);
        sightings(&sector).iter().map(|sighting| sighting.entry).collect()
    }

    fn put(sector: &mut [u8], at: usize, words: &[u32]) {
        for (word, place) in words.iter().zip(sector[at..].chunks_exact_mut(4)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    #[test]
    fn an_elf_file_begins_where_its_segment_lies_in_physical_memory() {
        let elf = |sector: &mut [u8], entry: u32| {
            sector[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
            put(sector, 16, &[2 | 3 << 16, 1, entry, 52]);
            put(sector, 40, &[52 | 32 << 16, 1]);
            put(sector, 52, &[1, 0x1000, 0xC010_0000, 0x10_0000, 0x2000, 0x3000, 5, 4096]);
        };
        assert_eq!(entries(|sector| elf(sector, 0xC010_000C)), [0x10_000C]);
        // Beyond all segments it is taken as it is, as xv6 has it.
        assert_eq!(entries(|sector| elf(sector, 0x10_000C)), [0x10_000C]);
        assert!(entries(|sector| sector[..4].copy_from_slice(b"\x7fELF")).is_empty());
    }

    #[test]
    fn headers_of_multiboot_with_an_entry_are_read() {
        let one = |flags: u32| {
            [MULTIBOOT, flags, 0u32.wrapping_sub(MULTIBOOT + flags), 0, 0, 0, 0, 0x10_0040]
        };
        assert_eq!(entries(|sector| put(sector, 64, &one(ADDRESSES))), [0x10_0040]);
        assert!(
            entries(|sector| put(sector, 64, &one(3))).is_empty(),
            "an ELF file says it itself"
        );
        let two = [
            MULTIBOOT_2,
            0,
            40,
            0u32.wrapping_sub(MULTIBOOT_2).wrapping_sub(40),
            3,
            12,
            0x20_0000,
            0,
            0,
            8,
        ];
        assert_eq!(entries(|sector| put(sector, 64, &two)), [0x20_0000]);
    }

    #[test]
    fn a_boot_sector_that_sets_pe_jumps_to_32_bit_code() {
        let narrow = [0x0F, 0x22, 0xC0, 0xEA, 0x17, 0x7C, 0x08, 0x00];
        assert_eq!(entries(|sector| sector[5..13].copy_from_slice(&narrow)), [0x7C17]);
        let wide = [0x0F, 0x22, 0xC3, 0x66, 0xEA, 0, 0, 1, 0, 0x10, 0x00];
        assert_eq!(entries(|sector| sector[501..512].copy_from_slice(&wide)), [0x1_0000]);
        assert!(
            entries(|sector| sector[508..].copy_from_slice(&[0x0F, 0x22, 0xC0, 0xEA])).is_empty()
        );
    }
}
