//! Disks, CDs and floppy disks: which file is in which drive, and what becomes of it. What a file is, and how it is written down:
//! `image`; the BIOS that boots one: `bios`.

mod bios;
mod image;

use self::bios::Firmware;
use self::image::{Access, disk_argument, drive_of, is_for_a_bios};
use super::failure::Failure;
use super::files::{self, FileId};
use clap::{Args, ValueEnum};
use esp0::boot::foreign::Drive;
use esp0::boot::{BootError, linux_disk, table_loader};
use esp0::devices::floppy::{self, FloppyDisk};
use esp0::devices::ide::{Cdrom, DRIVES, Disk, Medium, Unit, cdrom, disk};
use esp0::devices::{BootFrom, Devices};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the first CD goes: the second channel's first place, as on most PCs.
const USUAL_CDROM: usize = 2;

#[derive(Clone, Debug, Default, Args)]
pub(super) struct DriveOptions {
    /// A disk on the IDE channels, of sectors of 512 bytes; may be repeated, up to four drives. What the guest
    /// writes is forgotten at the end; with `,rw` the file gets it then, with `,ro` the drive refuses it.
    /// `,index=N` gives it the place N, 0 to 3; else it takes the first that is free
    #[arg(long = "disk", value_name = "FILE[,ro|,rw][,index=N]")]
    disks: Vec<String>,

    /// A CD in a drive on the second IDE channel
    #[arg(long, value_name = "FILE")]
    cdrom: Option<PathBuf>,

    /// A floppy disk, of 160 KB to 2.88 MB; may be repeated, up to two drives. What the guest writes is forgotten at
    /// the end; with `,rw` the file gets it then, with `,ro` the disk is write-protected
    #[arg(long = "floppy", value_name = "FILE[,ro|,rw]")]
    floppies: Vec<String>,

    /// Which drive is booted where no KERNEL is given: the first disk, the first CD, the first
    /// floppy disk, or whichever there is
    #[arg(long, value_name = "DRIVE", conflicts_with = "guest")]
    boot: Option<BootArgument>,

    /// The BIOS that boots a disk or a CD [default: SeaBIOS, where scripts/setup --bios put it, or where the
    /// distribution's packages seabios and qemu do]
    #[arg(long, value_name = "FILE")]
    bios: Option<PathBuf>,
}

/// Which drive is booted.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum BootArgument {
    /// The first disk
    Disk,
    /// The first CD
    Cdrom,
    /// The first floppy disk
    Floppy,
    /// The first disk, or else the first CD, or else the first floppy disk
    Any,
}

/// A file in a drive.
struct Placed {
    place: usize,
    name: String,
    unit: Unit,
    /// The file is to have at the end what the guest has written.
    written: bool,
}

/// A file in a floppy drive.
struct PlacedFloppy {
    name: String,
    disk: FloppyDisk,
    written: bool,
}

/// What is in the drives, and the BIOS if one is to boot it.
pub(super) struct Drives {
    placed: Vec<Placed>,
    floppies: Vec<PlacedFloppy>,
    /// The files that were opened, and what they are.
    pub(super) files: Vec<(FileId, String)>,
    /// Those of them that get what the guest writes.
    written: Vec<FileId>,
    /// The BIOS, if the image in this drive is to be booted.
    pub(super) firmware: Option<Firmware>,
    /// The image that `--boot` has found, if nobody named one.
    pub(super) booted: Option<PathBuf>,
    /// What is booted has been given the command line.
    pub(super) takes_command_line: bool,
}

impl Drives {
    /// Opens what the options name; and `kernel`, if it is no kernel but an image to be booted, or one that only a BIOS can
    /// load: then `command_line` is its.
    pub(super) fn open(
        kernel: Option<&Path>,
        options: &DriveOptions,
        command_line: &str,
    ) -> Result<Self, Failure> {
        let mut drives = Drives {
            placed: Vec::new(),
            floppies: Vec::new(),
            files: Vec::new(),
            written: Vec::new(),
            firmware: None,
            booted: None,
            takes_command_line: false,
        };
        let image = kernel.map(|path| (path, drive_of(path)));
        let mut boots = match image {
            Some((path, None)) if is_for_a_bios(path) => {
                drives.old_linux(path, command_line)?;
                Some(BootFrom::Disk)
            }
            Some((path, Some(Drive::Disk))) => {
                drives.disk(path, Access::Apart, Some(0))?;
                Some(BootFrom::Disk)
            }
            Some((path, Some(Drive::Cdrom))) => {
                drives.cdrom(path)?;
                Some(BootFrom::Cdrom)
            }
            Some((path, Some(Drive::Floppy))) => {
                drives.floppy(path, Access::Apart)?;
                Some(BootFrom::Floppy)
            }
            _ => None,
        };
        for text in &options.disks {
            let (path, access, index) = disk_argument("--disk", text)?;
            drives.disk(Path::new(path), access, index)?;
        }
        if let Some(path) = &options.cdrom {
            drives.cdrom(path)?;
        }
        for text in &options.floppies {
            let (path, access, index) = disk_argument("--floppy", text)?;
            if index.is_some() {
                return Err(Failure::Input(format!(
                    "--floppy {text}: the first is drive A and the second drive B, whatever their index"
                )));
            }
            drives.floppy(Path::new(path), access)?;
        }
        match (kernel, options.boot) {
            (None, Some(wanted)) => boots = Some(drives.find_booted(wanted)?),
            (Some(path), Some(_)) => {
                return Err(Failure::Input(format!(
                    "--boot is for a run without a KERNEL, and {} is to be booted here",
                    path.display()
                )));
            }
            (_, None) => {}
        }
        if let Some(from) = boots {
            drives.firmware =
                Some(Firmware::find(options.bios.as_deref(), &bios::folders(), from)?);
        } else if let Some(path) = &options.bios {
            return Err(Failure::Input(format!(
                "--bios {} is for an image of a disk or a CD, and what is to be booted here is a kernel",
                path.display()
            )));
        }
        Ok(drives)
    }

    fn disk(&mut self, path: &Path, access: Access, index: Option<usize>) -> Result<(), Failure> {
        let medium = self.medium(path, access == Access::Written, disk::SECTOR, "disk")?;
        let unit = Disk::new(medium);
        let unit = if access == Access::ReadOnly { unit.read_only() } else { unit };
        let place = match index {
            Some(index) => self.is_free(index).then_some(index),
            None => (0..DRIVES).find(|place| self.is_free(*place)),
        };
        self.put(place, index, path, Unit::Disk(unit), access == Access::Written)
    }

    /// The disk of a bzImage that has to find a BIOS.
    fn old_linux(&mut self, path: &Path, command_line: &str) -> Result<(), Failure> {
        let name = path.display().to_string();
        let (bytes, id) = files::read(path)?;
        let disk = linux_disk::disk(&bytes, command_line)
            .map_err(|problem| BootError::Linux { name: name.clone(), problem })?;
        self.files.extend(id.map(|id| (id, "the kernel".to_owned())));
        self.takes_command_line = true;
        let unit = Unit::Disk(Disk::new(Medium::of_bytes(disk)));
        self.put(Some(0), None, path, unit, false)
    }

    fn floppy(&mut self, path: &Path, access: Access) -> Result<(), Failure> {
        let written = access == Access::Written;
        let name = path.display().to_string();
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        // A boot sector with a kernel behind it is the beginning of a disk.
        let is_beginning = floppy::Geometry::of(size).is_none() && size < floppy::Geometry::USUAL;
        let medium = if is_beginning && drive_of(path).is_some() {
            self.medium(path, written, 1, "floppy disk")?.padded(floppy::Geometry::USUAL)
        } else {
            self.medium(path, written, 512, "floppy disk")?
        };
        let disk = FloppyDisk::new(medium).ok_or_else(|| {
            Failure::Input(format!(
                "the floppy disk {name} has {size} bytes, and no floppy disk has: 1474560 are one of 1.44 MB"
            ))
        })?;
        let disk = if access == Access::ReadOnly { disk.read_only() } else { disk };
        if self.floppies.len() == floppy::DRIVES {
            return Err(Failure::Input(format!(
                "the floppy disk {name} finds no place: there are {} floppy drives",
                floppy::DRIVES
            )));
        }
        self.floppies.push(PlacedFloppy { name, disk, written });
        Ok(())
    }

    fn cdrom(&mut self, path: &Path) -> Result<(), Failure> {
        let medium = self.medium(path, false, cdrom::SECTOR, "CD")?;
        let mut places = [USUAL_CDROM, 3, 1, 0].into_iter();
        let place = places.find(|place| self.is_free(*place));
        self.put(place, None, path, Unit::Cdrom(Cdrom::new(medium)), false)
    }

    /// The drive that `--boot` means, which is remembered by its name.
    fn find_booted(&mut self, wanted: BootArgument) -> Result<BootFrom, Failure> {
        let first = |is_cdrom: bool, from: BootFrom| {
            let placed = self.placed.iter();
            placed
                .filter(|placed| matches!(placed.unit, Unit::Cdrom(_)) == is_cdrom)
                .min_by_key(|placed| placed.place)
                .map(|placed| (placed.name.clone(), from))
        };
        let disk = first(false, BootFrom::Disk);
        let cdrom = first(true, BootFrom::Cdrom);
        let floppy = self.floppies.first().map(|first| (first.name.clone(), BootFrom::Floppy));
        let (found, lacking) = match wanted {
            BootArgument::Disk => (disk, "--boot disk: there is no disk: --disk FILE"),
            BootArgument::Cdrom => (cdrom, "--boot cdrom: there is no CD: --cdrom FILE"),
            BootArgument::Floppy => {
                (floppy, "--boot floppy: there is no floppy disk: --floppy FILE")
            }
            BootArgument::Any => (
                disk.or(cdrom).or(floppy),
                "--boot any: there is no drive: --disk, --cdrom or --floppy FILE",
            ),
        };
        let (name, from) = found.ok_or_else(|| Failure::Input(lacking.into()))?;
        self.booted = Some(PathBuf::from(name));
        Ok(from)
    }

    fn is_free(&self, place: usize) -> bool {
        self.placed.iter().all(|placed| placed.place != place)
    }

    fn put(
        &mut self,
        place: Option<usize>,
        wanted: Option<usize>,
        path: &Path,
        unit: Unit,
        written: bool,
    ) -> Result<(), Failure> {
        let name = path.display().to_string();
        let Some(place) = place else {
            return Err(Failure::Input(match wanted {
                Some(index) => format!("{name} wants place {index}, which another drive has"),
                None => {
                    format!("{name} finds no place: there are {DRIVES} drives, and all are taken")
                }
            }));
        };
        self.placed.push(Placed { place, name, unit, written });
        Ok(())
    }

    /// Opens an image of whole sectors.
    fn medium(
        &mut self,
        path: &Path,
        write: bool,
        sector: u64,
        what: &str,
    ) -> Result<Medium, Failure> {
        let name = path.display();
        let fail = |error: std::io::Error| {
            let how = if write { "opened for writing" } else { "read" };
            Failure::Input(format!("the {what} {name} cannot be {how}: {error}"))
        };
        let file = OpenOptions::new().read(true).write(write).open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Err(Failure::Input(format!("the {what} {name} is no file")));
        }
        let size = metadata.len();
        if size == 0 || !size.is_multiple_of(sector) {
            return Err(Failure::Input(format!(
                "the {what} {name} has {size} bytes, which is no whole number of sectors of {sector} bytes: it was cut off, or needs padding"
            )));
        }
        if what == "CD" {
            // ECMA-119, 8.4: the primary volume descriptor says how many sectors there are to be.
            let mut descriptor = [0; 84];
            let read = file.read_exact_at(&mut descriptor, 16 * sector);
            let [.., a, b, c, d] = descriptor;
            let told = u64::from(u32::from_le_bytes([a, b, c, d])) * sector;
            if read.is_ok() && descriptor.get(1..6) == Some(b"CD001") && told > size {
                return Err(Failure::Input(format!(
                    "the CD {name} has {size} bytes and says of itself that it has {told}: it was cut off"
                )));
            }
        }
        if let Some(id) = FileId::of(&metadata) {
            if (write || self.written.contains(&id))
                && self.files.iter().any(|(other, _)| *other == id)
            {
                return Err(Failure::Input(format!(
                    "the {what} {name} is in another drive as well, so it cannot be written"
                )));
            }
            self.written.extend(write.then_some(id));
            self.files.push((id, format!("the {what} {name}")));
        }
        Ok(Medium::of_file(file, size))
    }

    /// How many hard disks and how many floppy drives there are.
    pub(super) fn counts(&self) -> (u8, u8) {
        let disks = self.placed.iter().filter(|placed| matches!(placed.unit, Unit::Disk(_)));
        (disks.count() as u8, self.floppies.len() as u8)
    }

    /// Puts the drives into a machine, and with them what its BIOS wants.
    pub(super) fn attach(&self, devices: Devices) -> Devices {
        let mut units = [const { None }; DRIVES];
        for placed in &self.placed {
            units[placed.place] = Some(placed.unit.clone());
        }
        let mut disks = [const { None }; floppy::DRIVES];
        for (place, placed) in disks.iter_mut().zip(&self.floppies) {
            *place = Some(placed.disk.clone());
        }
        let devices = devices.with_drives(units).with_floppies(disks);
        match &self.firmware {
            Some(firmware) => {
                let mut files = table_loader::files();
                files.push(("vgaroms/vgabios.bin", Arc::clone(&firmware.video)));
                devices.with_firmware(&files, firmware.from)
            }
            None => devices,
        }
    }

    /// Gives those files what the guest has written that are to have it.
    pub(super) fn write_back(&self, devices: &Devices) -> Result<(), Failure> {
        for (drive, disk) in devices.floppy().disks() {
            let Some(placed) = self.floppies.get(drive).filter(|placed| placed.written) else {
                continue;
            };
            disk.medium().write_back().map_err(|error| {
                let name = &placed.name;
                Failure::Input(format!("the floppy disk {name} cannot be written: {error}"))
            })?;
        }
        for (place, drive) in devices.ide().drives() {
            let placed = self.placed.iter().find(|placed| placed.place == place && placed.written);
            let (Some(placed), Unit::Disk(disk)) = (placed, drive.unit()) else { continue };
            disk.medium().write_back().map_err(|error| {
                let name = &placed.name;
                Failure::Input(format!("the disk {name} cannot be written: {error}"))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_written_is_in_one_drive_only() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("disk");
        std::fs::write(&path, [0; 512]).expect("a file can be written");
        let (plain, written) = (path.display().to_string(), format!("{},rw", path.display()));
        let open = |disks: [&String; 2]| {
            let disks = disks.map(String::clone).to_vec();
            Drives::open(None, &DriveOptions { disks, ..DriveOptions::default() }, "").map(|_| ())
        };
        assert!(open([&plain, &plain]).is_ok());
        for disks in [[&plain, &written], [&written, &plain], [&written, &written]] {
            let error = open(disks).expect_err("it would be written").to_string();
            assert!(error.contains("is in another drive as well"), "{error}");
        }
    }
}
