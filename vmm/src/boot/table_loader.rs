//! The ACPI tables of [`super::bios`], as a BIOS asks for them: files, and a script that says how to place them.
//!
//! Source: the comments of QEMU's `hw/acpi/bios-linker-loader.c`, which defines the file "etc/table-loader", and SeaBIOS's
//! `romfile_loader.h`. A command has 128 bytes: a number, names of 56 bytes, numbers of four. The BIOS allocates a place for each
//! file, adds that place to the pointers, which are offsets until then, and sets checksums.

use super::bios::{self, ACPI_ROOT, ACPI_TABLES};
use std::sync::Arc;

/// The files' names, which a BIOS looks for.
const ROOT: &str = "etc/acpi/rsdp";
const TABLES: &str = "etc/acpi/tables";
const SCRIPT: &str = "etc/table-loader";

/// Bytes of a command, and of a name in it.
const COMMAND: usize = 128;
const NAME: usize = 56;

/// Places for files: in high memory, or in the BIOS's segment, where the root pointer is looked for.
const HIGH: u8 = 1;
const SEGMENT: u8 = 2;

/// A pointer in one of the tables, and in which checksum it counts.
struct Pointer {
    file: &'static str,
    /// Offset in its file.
    at: u32,
    /// The table that it stands in: where that starts, how long it is, and where its checksum is.
    table: (u32, u32, u32),
}

/// The files, by name.
pub fn files() -> Vec<(&'static str, Arc<[u8]>)> {
    let mut root = Vec::new();
    let mut tables = Vec::new();
    for (address, bytes) in bios::pieces() {
        if address == ACPI_ROOT {
            root = bytes;
        } else if ACPI_TABLES.contains(&address) {
            let at = (address - ACPI_TABLES.start) as usize;
            let end = at + bytes.len();
            tables.resize(tables.len().max(end), 0);
            tables[at..end].copy_from_slice(&bytes);
        }
    }
    let pointers = pointers(&tables);
    let mut script = vec![allocate(ROOT, 16, SEGMENT), allocate(TABLES, 64, HIGH)];
    for pointer in &pointers {
        let bytes = if pointer.file == ROOT { &mut root } else { &mut tables };
        let word = &mut bytes[pointer.at as usize..][..4];
        let address = u32::from_le_bytes(word.try_into().unwrap_or_default());
        word.copy_from_slice(&address.wrapping_sub(ACPI_TABLES.start).to_le_bytes());
        script.push(add_pointer(pointer.file, pointer.at));
    }
    for pointer in &pointers {
        script.push(add_checksum(pointer.file, pointer.table));
    }
    [(ROOT, root), (TABLES, tables), (SCRIPT, script.concat())]
        .map(|(name, bytes)| (name, bytes.into()))
        .into()
}

/// The pointers of the root, of the first table behind it, and of that which describes the fixed hardware.
fn pointers(tables: &[u8]) -> Vec<Pointer> {
    let length = |at: usize| {
        u32::from_le_bytes([tables[at + 4], tables[at + 5], tables[at + 6], tables[at + 7]])
    };
    let mut pointers = vec![Pointer { file: ROOT, at: 16, table: (0, 20, 8) }];
    let fixed = tables.windows(4).position(|word| word == b"FACP").unwrap_or(0);
    let list = (36..length(0)).step_by(4).map(|at| (0, at));
    let fixed = [36, 40].map(|at| (fixed as u32, fixed as u32 + at));
    pointers.extend(list.chain(fixed).map(|(start, at)| Pointer {
        file: TABLES,
        at,
        table: (start, length(start as usize), start + 9),
    }));
    pointers
}

fn command(number: u32, names: &[&str], rest: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    for name in names {
        bytes.extend(name.as_bytes());
        bytes.resize(bytes.len() + NAME - name.len(), 0);
    }
    bytes.extend(rest);
    bytes.resize(COMMAND, 0);
    bytes
}

fn allocate(file: &str, align: u32, zone: u8) -> Vec<u8> {
    command(1, &[file], &[&align.to_le_bytes()[..], &[zone]].concat())
}

/// Adds to the word at `at` of a file where the tables lie.
fn add_pointer(file: &str, at: u32) -> Vec<u8> {
    command(2, &[file, TABLES], &[&at.to_le_bytes()[..], &[4]].concat())
}

fn add_checksum(file: &str, (start, length, at): (u32, u32, u32)) -> Vec<u8> {
    command(3, &[file], &[at, start, length].map(u32::to_le_bytes).concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a BIOS makes of the files, the tables being placed at 0x700_0000.
    #[test]
    fn what_the_script_places_is_found_from_the_root_and_adds_up_to_zero() {
        const AT: u32 = 0x0700_0000;
        let files = files();
        let file = |name: &str| files.iter().find(|file| file.0 == name).unwrap().1.to_vec();
        let (mut root, mut tables) = (file(ROOT), file(TABLES));
        for command in file(SCRIPT).chunks_exact(COMMAND) {
            let number = |at: usize| u32::from_le_bytes(command[at..at + 4].try_into().unwrap());
            let bytes =
                if command[4..].starts_with(ROOT.as_bytes()) { &mut root } else { &mut tables };
            match number(0) {
                1 => {}
                2 => {
                    let word = &mut bytes[number(116) as usize..][..4];
                    let offset = u32::from_le_bytes(word.try_into().unwrap());
                    word.copy_from_slice(&(offset + AT).to_le_bytes());
                }
                3 => {
                    let (at, start, length) = (number(60) as usize, number(64), number(68));
                    let part = &bytes[start as usize..][..length as usize];
                    let sum = part.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                    bytes[at] = bytes[at].wrapping_sub(sum);
                }
                other => panic!("command {other}"),
            }
        }
        let word =
            |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!(sum(&root[..20]), 0);
        let table = |address: u32| &tables[(address - AT) as usize..];
        let list = table(word(&root, 16));
        assert_eq!((&list[..4], sum(&list[..word(list, 4) as usize])), (&b"RSDT"[..], 0));
        let fixed = table(word(list, 36));
        assert_eq!((&fixed[..4], sum(&fixed[..word(fixed, 4) as usize])), (&b"FACP"[..], 0));
        let interrupts = table(word(list, 40));
        assert_eq!(
            (&interrupts[..4], sum(&interrupts[..word(interrupts, 4) as usize])),
            (&b"APIC"[..], 0)
        );
        assert_eq!(
            (&table(word(fixed, 36))[..4], &table(word(fixed, 40))[..4]),
            (&b"FACS"[..], &b"DSDT"[..])
        );
        assert_eq!((word(fixed, 36) - AT) % 64, 0);
    }
}
