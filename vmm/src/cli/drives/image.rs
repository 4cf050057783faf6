//! The file of an image: how it is named in an option, and what kind of drive it belongs in.

use super::super::failure::Failure;
use esp0::boot::foreign::{self, Drive};
use esp0::boot::linux_disk;
use esp0::devices::ide::DRIVES;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What happens to what the guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Apart,
    ReadOnly,
    Written,
}

/// The file, and what stands behind it.
pub(super) fn disk_argument<'a>(
    option: &str,
    text: &'a str,
) -> Result<(&'a str, Access, Option<usize>), Failure> {
    let (mut path, mut access, mut index) = (text, None, None);
    // A name may have commas.
    while let Some((front, word)) = path.rsplit_once(',') {
        let named = match word {
            "ro" => Access::ReadOnly,
            "rw" => Access::Written,
            _ => match word.strip_prefix("index=") {
                Some(number) => {
                    index = Some(
                        number.parse().ok().filter(|number| *number < DRIVES).ok_or_else(|| {
                            Failure::Input(format!(
                                "{option} {text}: index is a number from 0 to 3"
                            ))
                        })?,
                    );
                    path = front;
                    continue;
                }
                None => break,
            },
        };
        if access.replace(named).is_some_and(|other| other != named) {
            return Err(Failure::Input(format!("{option} {text}: it is either ro or rw")));
        }
        path = front;
    }
    if path.is_empty() {
        return Err(Failure::Input(format!("{option} needs a file")));
    }
    Ok((path, access.unwrap_or(Access::Apart), index))
}

/// The drive that this file belongs in, if it is no kernel.
pub(super) fn drive_of(path: &Path) -> Option<Drive> {
    head_of(path).and_then(|(head, size)| foreign::drive(&head, size))
}

/// Whether this file is a kernel that only a BIOS can load.
pub(super) fn is_for_a_bios(path: &Path) -> bool {
    head_of(path).is_some_and(|(head, _)| linux_disk::is_for_a_bios(&head))
}

/// A file's beginning, and its size; whoever reads the kernel says what is wrong with it.
fn head_of(path: &Path) -> Option<(Vec<u8>, u64)> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
    let mut head = vec![0; foreign::HEAD.min(metadata.len() as usize)];
    file.read_exact_at(&mut head, 0).ok()?;
    Some((head, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_disks_name_is_read_from_the_end() {
        let read = |text| disk_argument("--disk", text).map_err(|error| error.to_string());
        assert_eq!(read("a.img"), Ok(("a.img", Access::Apart, None)));
        assert_eq!(read("a,b.img,ro"), Ok(("a,b.img", Access::ReadOnly, None)));
        assert_eq!(read("a,index=3,rw"), Ok(("a", Access::Written, Some(3))));
        assert!(read("a,ro,rw").is_err() && read("a,index=4").is_err() && read(",rw").is_err());
    }
}
