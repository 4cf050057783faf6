//! The "newc" cpio archive that Linux unpacks as its initramfs. Archives may follow one another.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

/// One regular file, or a folder where `bytes` is `None`.
pub(crate) fn entry(out: &mut Vec<u8>, name: &str, mode: usize, bytes: Option<&[u8]>) {
    let kind = if bytes.is_some() { 0o100_000 } else { 0o40_000 };
    let bytes = bytes.unwrap_or_default();
    out.extend(b"070701");
    let fields = [0, kind | mode, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len() + 1, 0];
    for field in fields {
        out.extend(format!("{field:08X}").bytes());
    }
    out.extend(name.bytes());
    out.push(0);
    pad(out);
    out.extend(bytes);
    pad(out);
}

pub(crate) fn trailer(out: &mut Vec<u8>) {
    entry(out, "TRAILER!!!", 0, Some(&[]));
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// `pack DIR` writes the archive of a folder and the folders in it to standard output.
pub(crate) fn pack(args: Vec<OsString>) -> io::Result<u8> {
    let [root] = args.as_slice() else {
        return Err(io::Error::other("pack takes one folder"));
    };
    let mut out = Vec::new();
    add_folder(&mut out, Path::new(root), "")?;
    trailer(&mut out);
    io::stdout().write_all(&out)?;
    Ok(0)
}

fn add_folder(out: &mut Vec<u8>, folder: &Path, prefix: &str) -> io::Result<()> {
    let mut entries: Vec<_> = folder.read_dir()?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for item in entries {
        let name = format!("{prefix}{}", item.file_name().to_string_lossy());
        if item.file_type()?.is_dir() {
            entry(out, &name, 0o755, None);
            add_folder(out, &item.path(), &format!("{name}/"))?;
        } else {
            entry(out, &name, 0o755, Some(&std::fs::read(item.path())?));
        }
    }
    Ok(())
}
