//! How an ELF32 image asks to be entered in real mode: by a note.
//!
//! Multiboot enters a kernel in protected mode. A kernel that wants to begin where a PC does says so
//! in an ELF note (System V ABI, "Note Section") that a `PT_NOTE` program header leads to; by
//! convention its section is called `.note.esp0.start`:
//! ```text
//!   4 bytes  5        length of the name
//!   4 bytes  4        length of what follows it
//!   4 bytes  1        kind: start in real mode
//!   8 bytes  "esp0"   the name, its zero, padding to four bytes
//!   2 bytes  IP
//!   2 bytes  CS
//! ```
//! The entry point of the file has to be the same place, CS × 16 + IP. All else is as with
//! Multiboot: the header, EAX, EBX, modules, the memory map.

use super::image::StartMode;
use thiserror::Error;

/// Why a start note cannot be followed. The text is a predicate: it follows "a start note that".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StartNoteError {
    /// Its length leads out of the segment that holds it.
    #[error("is cut off")]
    CutOff,
    /// A kind that does not exist.
    #[error("is of kind {0}; kind 1 asks for real mode, and there is no other")]
    Kind(u32),
    /// Not an offset and a segment.
    #[error("has {0} bytes after its name; it takes 4: IP and CS")]
    Length(usize),
    /// There are two.
    #[error("is not the only one")]
    Two,
    /// The entry point is elsewhere.
    #[error(
        "asks for {cs:04x}:{ip:04x}, which is {:#x}, but its entry point is {entry:#x}",
        StartMode::real_mode_address(*cs, *ip)
    )]
    NotTheEntryPoint {
        /// The note's segment.
        cs: u16,
        /// The note's offset.
        ip: u16,
        /// `e_entry`.
        entry: u32,
    },
}

/// Finds the note among those that a `PT_NOTE` segment holds, `notes`. Other notes are nobody's
/// business here, and end the search where they do not hold together.
///
/// # Errors
/// [`StartNoteError`].
pub fn find(notes: &[u8]) -> Result<Option<StartMode>, StartNoteError> {
    const NAME: &[u8] = b"esp0\0";
    let mut start = None;
    let mut rest = notes;
    while let Some((name, kind, size)) = header(&mut rest) {
        let description = take(&mut rest, size);
        if name != NAME {
            continue;
        }
        let found = read(kind, description.ok_or(StartNoteError::CutOff)?)?;
        if start.replace(found).is_some() {
            return Err(StartNoteError::Two);
        }
    }
    Ok(start)
}

/// A note's name, its kind, and how many bytes follow.
fn header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], u32, usize)> {
    let (name, size, kind) = (word(rest)? as usize, word(rest)? as usize, word(rest)?);
    Some((take(rest, name)?, kind, size))
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Takes off `count` bytes and their padding, which the last ones may lack.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    let padding = count.wrapping_neg() & 3;
    *rest = left.get(padding..).unwrap_or(&[]);
    Some(taken)
}

fn read(kind: u32, description: &[u8]) -> Result<StartMode, StartNoteError> {
    match (kind, description) {
        (1, &[ip_low, ip_high, cs_low, cs_high]) => Ok(StartMode::RealMode {
            cs: u16::from_le_bytes([cs_low, cs_high]),
            ip: u16::from_le_bytes([ip_low, ip_high]),
        }),
        (1, other) => Err(StartNoteError::Length(other.len())),
        (kind, _) => Err(StartNoteError::Kind(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note(name: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [name.len() as u32, description.len() as u32, kind]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        for part in [name, description] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    const PLACE: [u8; 4] = [0x34, 0x12, 0xc0, 0x07];

    #[test]
    fn the_note_is_found_among_others() {
        let other = note(b"GNU\0", 3, &[1; 20]);
        let ours = note(b"esp0\0", 1, &PLACE);
        let start = Some(StartMode::RealMode { cs: 0x07c0, ip: 0x1234 });
        assert_eq!(find(&[&other[..], &ours, &other].concat()), Ok(start));
        assert_eq!(find(&other), Ok(None));
        assert_eq!(find(&[]), Ok(None));
    }

    #[test]
    fn each_bad_note_gets_its_own_sentence() {
        let good = note(b"esp0\0", 1, &PLACE);
        let sentence = |bytes: &[u8]| find(bytes).map_err(|error| error.to_string());
        for (bytes, says) in [
            (note(b"esp0\0", 2, &PLACE), "is of kind 2; kind 1 asks for real mode"),
            (note(b"esp0\0", 1, &PLACE[..3]), "has 3 bytes after its name; it takes 4"),
            (good[..good.len() - 1].to_vec(), "is cut off"),
            ([&good[..], &good].concat(), "is not the only one"),
        ] {
            let error = sentence(&bytes).expect_err("it is bad");
            assert!(error.starts_with(says), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = find(&bytes);
            let _ = find(&[&note(b"esp0\0", 1, &PLACE)[..], &bytes].concat());
        }
    }
}
