//! Files that esp0 knows and cannot boot: named as what they are.

/// What a file is, if it is an image of a disk, CD or floppy.
pub fn name(bytes: &[u8]) -> Option<&'static str> {
    // ECMA-119, "Volume Descriptors": sector 16.
    if bytes.get(0x8001..0x8006) == Some(b"CD001") {
        return Some("an ISO image of a CD");
    }
    if bytes.len() < 512 || bytes.get(0x1FE..0x200) != Some(&[0x55, 0xAA]) {
        return None;
    }
    let partitions = bytes[0x1BE..0x1FE].chunks(16);
    let plausible = |entry: &[u8]| matches!(entry[0], 0 | 0x80) && entry[4] != 0;
    if bytes.len() > 512 && partitions.clone().any(plausible) {
        return Some("an image of a partitioned disk");
    }
    // FAT's boot sector starts with a jump; 1.44 MB is a floppy's size.
    Some(match bytes.len() {
        1_474_560 => "an image of a floppy disk",
        512 => "a boot sector",
        _ => "an image of a disk with a boot sector",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_apart() {
        let mut iso = vec![0; 0x8800];
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        assert_eq!(name(&iso), Some("an ISO image of a CD"));
        let mut disk = vec![0; 1024];
        disk[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(name(&disk), Some("an image of a disk with a boot sector"));
        assert_eq!(name(&disk[..512]), Some("a boot sector"));
        (disk[0x1BE], disk[0x1C2]) = (0x80, 0x83);
        assert_eq!(name(&disk), Some("an image of a partitioned disk"));
        assert_eq!(name(b"\x7fELF"), None);
    }
}
