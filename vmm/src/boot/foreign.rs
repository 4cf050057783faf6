//! Images of disks, CDs and floppies: told apart from kernels, and named as what they are. A BIOS boots them.

use super::{linux, multiboot, multiboot2};
use crate::devices::floppy::Geometry;

/// Bytes from a file's beginning that are enough to tell.
pub const HEAD: usize = 0x9000;

/// What kind of drive an image belongs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// A CD drive.
    Cdrom,
    /// A disk.
    Disk,
    /// A floppy drive.
    Floppy,
}

/// The drive that a file of so many bytes belongs in whose first ones are `head`; none if it is a kernel, or no
/// image.
pub fn drive(head: &[u8], size: u64) -> Option<Drive> {
    let elf = head.starts_with(b"\x7fELF");
    // A disk may hold a kernel whose header lies early enough to be found; one that says where all of the file
    // goes is the kernel itself.
    let carries_addresses = multiboot::find(head).is_ok_and(|header| header.addresses.is_some())
        || multiboot2::find(head).is_ok_and(|header| header.addresses.is_some());
    if elf || carries_addresses || linux::is_bzimage(head) {
        return None;
    }
    let what = name(head)?;
    let is_floppys = Geometry::of(size).is_some() || is_joined(size);
    Some(if what.contains("CD") {
        Drive::Cdrom
    } else if is_floppys && (is_fat(head) || !has_active_partition(head)) {
        Drive::Floppy
    } else {
        Drive::Disk
    })
}

/// A boot sector and a kernel, one behind the other and nothing behind both: it ends within a sector, and is booted as the
/// beginning of a floppy disk.
fn is_joined(size: u64) -> bool {
    !size.is_multiple_of(512) && size < Geometry::USUAL
}

/// FAT's boot sector: a jump, and 512 bytes to a sector.
fn is_fat(head: &[u8]) -> bool {
    matches!(head[0], 0xEB | 0xE9) && head.get(0x0B..0x0D) == Some(&[0x00, 0x02])
}

/// What a boot loader of a partitioned disk goes by.
fn has_active_partition(head: &[u8]) -> bool {
    head[0x1BE..0x1FE].chunks(16).any(|entry| entry[0] == 0x80 && entry[4] != 0)
}

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
    fn an_image_belongs_in_a_drive_and_a_kernel_does_not() {
        let mut iso = vec![0; HEAD];
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        assert_eq!(drive(&iso, iso.len() as u64), Some(Drive::Cdrom));
        let mut disk = vec![0; 512];
        disk[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(drive(&disk, disk.len() as u64), Some(Drive::Disk));
        // A boot sector on a disk of a floppy's size, and the same with a partition.
        let mut floppy = disk.clone();
        floppy.resize(1_474_560, 0);
        assert_eq!(drive(&floppy[..HEAD], 1_474_560), Some(Drive::Floppy));
        floppy[0x1BE..0x1C3].copy_from_slice(&[0x80, 0, 2, 0, 0x83]);
        assert_eq!(drive(&floppy[..HEAD], 1_474_560), Some(Drive::Disk));
        // A kernel behind a boot sector that ends within a sector.
        assert_eq!(drive(&floppy[..HEAD], 13_188), Some(Drive::Disk));
        floppy[0x1BE..0x1C3].fill(0);
        assert_eq!(drive(&floppy[..HEAD], 13_188), Some(Drive::Floppy));
        assert_eq!(drive(&floppy[..HEAD], 13_312), Some(Drive::Disk));
        assert_eq!(drive(&floppy[..HEAD], 1_500_001), Some(Drive::Disk));
        // A disk with a kernel behind its boot sector, and a kernel that says where it goes.
        let header = |flags: u32| {
            let sum = 0u32.wrapping_sub(0x1BAD_B002 + flags);
            [0x1BAD_B002, flags, sum].map(u32::to_le_bytes).concat()
        };
        disk.extend(header(0));
        assert_eq!(drive(&disk, 1024), Some(Drive::Disk));
        disk.truncate(512);
        disk.extend(header(1 << 16));
        disk.extend([0x10_0000u32, 0x10_0000, 0, 0, 0x10_0000].map(u32::to_le_bytes).concat());
        disk.resize(4096, 0);
        assert_eq!(drive(&disk, disk.len() as u64), None);
        disk[..4].copy_from_slice(b"\x7fELF");
        assert_eq!(drive(&disk, disk.len() as u64), None);
        assert_eq!(drive(b"text", 4), None);
    }

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
