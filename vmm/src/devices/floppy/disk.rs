//! A floppy disk: its form, and what is on it.

use super::command::Id;
use crate::devices::ide::Medium;

/// Bytes of a sector.
pub(super) const SECTOR: usize = 512;

/// The form of a disk, which its size tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u8,
    /// Heads.
    pub heads: u8,
    /// Sectors of a track.
    pub sectors: u8,
    /// The drive for it, by the CMOS memory's number: 1 360 KB, 2 1.2 MB, 3 720 KB, 4 1.44 MB, 5 2.88 MB.
    pub kind: u8,
}

impl Geometry {
    /// Bytes of the usual disk, one of 1.44 MB.
    pub const USUAL: u64 = 1440 * 1024;

    /// That of an image of so many bytes; none if no PC's floppy disk is that large.
    pub fn of(size: u64) -> Option<Self> {
        let (cylinders, heads, sectors, kind) = match size / 1024 {
            160 => (40, 1, 8, 1),
            180 => (40, 1, 9, 1),
            320 => (40, 2, 8, 1),
            360 => (40, 2, 9, 1),
            720 => (80, 2, 9, 3),
            1200 => (80, 2, 15, 2),
            1440 => (80, 2, 18, 4),
            2880 => (80, 2, 36, 5),
            _ => return None,
        };
        size.is_multiple_of(1024).then_some(Self { cylinders, heads, sectors, kind })
    }
}

/// A disk in a drive.
#[derive(Debug, Clone)]
pub struct FloppyDisk {
    medium: Medium,
    geometry: Geometry,
    read_only: bool,
    /// The drive has not been stepped since the disk was put in.
    changed: bool,
}

impl FloppyDisk {
    /// A disk with these bytes; none if they are too many or too few for any.
    pub fn new(medium: Medium) -> Option<Self> {
        let geometry = Geometry::of(medium.size())?;
        Some(Self { medium, geometry, read_only: false, changed: true })
    }

    /// The same, write-protected.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Whether it is write-protected.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Its form.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What is on it.
    pub fn medium(&self) -> &Medium {
        &self.medium
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn stepped(&mut self) {
        self.changed = false;
    }

    /// Where a sector lies in the image.
    pub(super) fn offset(&self, id: Id) -> Option<u64> {
        let Geometry { cylinders, heads, sectors, .. } = self.geometry;
        let there =
            id.cylinder < cylinders && id.head < heads && (1..=sectors).contains(&id.sector);
        let track = u64::from(id.cylinder) * u64::from(heads) + u64::from(id.head);
        let sector = || track * u64::from(sectors) + u64::from(id.sector) - 1;
        there.then(|| sector() * SECTOR as u64)
    }

    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> bool {
        self.medium.read(offset, bytes).is_ok()
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        // What cannot be kept was read from a file that has gone; the next read says so.
        let _ = self.medium.write(offset, bytes);
    }
}
