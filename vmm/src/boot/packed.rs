//! Files that were compressed: named as what they are, with the program that unpacks them. None is unpacked here, since
//! symbols, and what a finding shows of the kernel, come from the file as it was linked.

/// The program that unpacks a file which begins so, if it was compressed.
pub fn unpacker(bytes: &[u8]) -> Option<&'static str> {
    const MAGICS: [(&[u8], &str); 5] = [
        (&[0x1F, 0x8B], "gunzip"),
        (b"\xFD7zXZ\0", "unxz"),
        (&[0x28, 0xB5, 0x2F, 0xFD], "unzstd"),
        (b"BZh", "bunzip2"),
        (b"PK\x03\x04", "unzip"),
    ];
    MAGICS.into_iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, program)| program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_file_is_told_from_a_kernel() {
        assert_eq!(unpacker(&[0x1F, 0x8B, 0x08, 0]), Some("gunzip"));
        assert_eq!(unpacker(b"\x7fELF"), None);
        assert_eq!(unpacker(b""), None);
    }
}
