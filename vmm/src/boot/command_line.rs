//! Strings for the guest: the kernel's command line and the modules' strings.
//!
//! linux-loader's `Cmdline` decides what is allowed (printable ASCII); its errors are turned into ones
//! that say what to change.

use std::ffi::CString;

use linux_loader::cmdline::{self, Cmdline};
use thiserror::Error;

/// Bytes a command line may take, its terminating NUL included. Multiboot names no limit; Linux and
/// GRUB keep to less.
pub const CAPACITY: usize = 4096;

/// Why a string cannot be handed to the guest. The text is a predicate: it follows the string's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CommandLineError {
    /// More than [`CAPACITY`] less one bytes.
    #[error("is {0} bytes long; at most {max} are allowed", max = CAPACITY - 1)]
    TooLong(usize),
    /// A character outside printable ASCII.
    #[error("contains {character:?} at byte {offset}; only printable ASCII is allowed")]
    NotAscii {
        /// The first such character.
        character: char,
        /// Where it is.
        offset: usize,
    },
}

/// Checks a string and terminates it; spaces at both ends are dropped.
///
/// # Errors
/// [`CommandLineError`] if it is too long or not printable ASCII.
pub fn validate(text: &str) -> Result<CString, CommandLineError> {
    let text = text.trim();
    let refused = |error| match error {
        cmdline::Error::TooLarge => CommandLineError::TooLong(text.len()),
        _ => text
            .char_indices()
            .find(|(_, character)| !matches!(character, ' '..='~'))
            .map_or(CommandLineError::TooLong(text.len()), |(offset, character)| {
                CommandLineError::NotAscii { character, offset }
            }),
    };
    let mut command_line = Cmdline::new(CAPACITY).map_err(refused)?;
    command_line.insert_str(text).map_err(refused)?;
    command_line.as_cstring().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_terminated_and_trimmed() {
        assert_eq!(validate(" a=1 -- b ").unwrap().as_c_str(), c"a=1 -- b");
        assert_eq!(validate("").unwrap().as_c_str(), c"");
    }

    #[test]
    fn a_command_line_of_exactly_the_capacity_fits() {
        assert!(validate(&"x".repeat(CAPACITY - 1)).is_ok());
        assert_eq!(validate(&"x".repeat(CAPACITY)), Err(CommandLineError::TooLong(CAPACITY)));
    }

    #[test]
    fn a_character_outside_ascii_is_named_with_its_place() {
        let error = validate("root=ä").unwrap_err();
        assert_eq!(error.to_string(), "contains 'ä' at byte 5; only printable ASCII is allowed");
        assert!(validate("a\0b").is_err());
        assert!(validate("a\nb").is_err());
    }
}
