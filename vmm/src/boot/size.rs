//! Sizes in messages, in the unit a person would use.

use std::fmt;

/// Bytes in a mebibyte, the unit of `--mem`.
pub const MEBIBYTE: u64 = 1 << 20;

/// A number of bytes that prints itself as `64 MiB`, `640 KiB` or `123 bytes`, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// The smallest whole number of MiB that holds `end` bytes: what to give to `--mem`.
    pub fn mebibytes_for(end: u64) -> u64 {
        end.div_ceil(MEBIBYTE)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes != 0 && bytes.is_multiple_of(MEBIBYTE) => {
                write!(formatter, "{} MiB", bytes / MEBIBYTE)
            }
            bytes if bytes != 0 && bytes.is_multiple_of(1024) => {
                write!(formatter, "{} KiB", bytes / 1024)
            }
            1 => formatter.write_str("1 byte"),
            bytes => write!(formatter, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_prints_exactly_in_the_largest_fitting_unit() {
        assert_eq!(Size(64 << 20).to_string(), "64 MiB");
        assert_eq!(Size(640 << 10).to_string(), "640 KiB");
        assert_eq!(Size((1 << 20) + 1).to_string(), "1048577 bytes");
        assert_eq!(Size(1).to_string(), "1 byte");
        assert_eq!(Size(0).to_string(), "0 bytes");
    }

    #[test]
    fn memory_is_asked_for_in_whole_mebibytes() {
        assert_eq!(Size::mebibytes_for(1 << 20), 1);
        assert_eq!(Size::mebibytes_for((1 << 20) + 1), 2);
    }
}
