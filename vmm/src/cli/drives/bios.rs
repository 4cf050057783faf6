//! The BIOS that boots an image: where one is found, and the VGA's with it.

use super::super::failure::Failure;
use super::super::files;
use esp0::boot::firmware;
use esp0::devices::BootFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A BIOS, and what it is to find.
pub(in crate::cli) struct Firmware {
    pub(in crate::cli) name: String,
    pub(in crate::cli) bios: Vec<u8>,
    pub(super) video: Arc<[u8]>,
    pub(super) from: BootFrom,
}

impl Firmware {
    /// The BIOS at `path`, or else where packages put one; and the VGA's beside it.
    pub(super) fn find(
        path: Option<&Path>,
        folders: &[PathBuf],
        from: BootFrom,
    ) -> Result<Self, Failure> {
        let found = |folder: &PathBuf| {
            let names = ["bios.bin", "bios-256k.bin"];
            names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
        };
        let path = match path {
            Some(path) => path.to_owned(),
            None => folders.iter().find_map(found).ok_or_else(|| {
                Failure::Input(
                    "an image of a disk or a CD, or an old bzImage, is booted by a BIOS, and there is none: install the package seabios, \
                     or fetch it by scripts/setup --bios, or name one by --bios FILE"
                        .into(),
                )
            })?,
        };
        let (bios, _) = files::read(&path)?;
        let name = path.display().to_string();
        firmware::check(&bios)
            .map_err(|error| Failure::Input(format!("the BIOS {name} {error}")))?;
        let beside = path.parent().map(Path::to_owned);
        let video = beside
            .iter()
            .chain(folders)
            .flat_map(|folder| ["vgabios-isavga.bin", "vgabios.bin"].map(|name| folder.join(name)))
            .find(|path| path.is_file());
        let video = match video {
            Some(path) => files::read(&path)?.0,
            // Text is printed to the serial port alone.
            None => Vec::new(),
        };
        Ok(Firmware { name, bios, video: video.into(), from })
    }
}

/// Where a BIOS may be, in order.
pub(super) fn folders() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
    let mut folders = Vec::new();
    if let Some(cache) = cache {
        folders.push(cache.join("esp0/seabios"));
        folders.push(cache.join("esp0/qemu/usr/share/seabios"));
    }
    folders.extend(["/usr/share/seabios", "/usr/share/qemu"].map(PathBuf::from));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_bios_one_sentence_says_where_there_is_one() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let folders = [folder.path().join("none"), folder.path().to_owned()];
        let find = |path| Firmware::find(path, &folders, BootFrom::Disk).map(|found| found.name);
        let error = |path| find(path).expect_err("there is none").to_string();
        assert!(error(None).contains("there is none: install the package seabios"));
        let bios = folder.path().join("bios.bin");
        assert!(error(Some(&bios)).contains("cannot be read"), "it is not there");
        std::fs::write(&bios, []).expect("a file can be written");
        assert!(error(None).contains("has 0 bytes, and a BIOS has 64"));
        std::fs::write(&bios, vec![0xEA; 0x1_0001]).expect("a file can be written");
        assert!(error(None).contains("has 65537 bytes, and a BIOS has 64"));
        std::fs::write(&bios, vec![0; 0x1_0000]).expect("a file can be written");
        assert!(error(None).contains("does not begin with a jump"));
        std::fs::write(&bios, vec![0xEA; 0x1_0000]).expect("a file can be written");
        assert_eq!(find(None).ok().map(PathBuf::from), Some(bios));
    }
}
